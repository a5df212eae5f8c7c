"""The whole system, end to end, through `binventory rehearse`. Takes minutes: `make test-rehearsal` runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from binventory.executions import STEPS
from binventory.rehearsal import leftovers, source
from binventory.rehearsal.agreement import TOLERANCE
from binventory.rehearsal.defaults import DEFAULT_PHOTOS
from tests.browser.conftest import Watched
from tests.rehearsal.kept import COMMAND, WATCHFUL, binventory, cdk, client

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(1200)]
STACKS = ("Storage", "Money", "Training", "Serving", "Monitoring")


def test_from_an_empty_machine_to_counted_photos_and_back(repository: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    page = tmp_path / "run.html"
    bins = source.render(tmp_path / "bins", DEFAULT_PHOTOS)
    for number, photo in enumerate(sorted((bins / source.PHOTOS).glob("*.jpg"))):
        photo.rename(photo.with_suffix((".jpg", ".JPEG", ".png")[number % 3]))  # the content decides, not the name
    flags = ("--photos", str(bins), "--reclaim", "--json", "--report", str(page), "--state-dir", str(state))
    said = json.loads(binventory(repository, "rehearse", *flags))
    assert [step["name"] for step in said["steps"] if step["seconds"] is None] == []
    assert {step["name"] for step in said["steps"]} >= set(STEPS)
    assert len(said["trials"]) == 5
    assert all(trial["objective"] is not None for trial in said["trials"])
    assert 0 < said["evaluation"]["multiclass_classification_metrics"]["accuracy"]["value"] < 1
    assert said["counted"]
    for item in said["counted"]:
        assert 1 <= item["answer"]["count"] <= 5
        assert sum(item["answer"]["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert said["agreement"]["photos"] == said["evaluation"]["binventory"]["photos"] > len(said["counted"])
    assert said["agreement"]["largest_difference"] <= TOLERANCE
    assert {item["image_id"] for item in said["audited"]} == {item["image_id"] for item in said["counted"]}
    statuses = [transition["status"] for transition in said["transitions"]]
    assert "Interrupted" in statuses
    assert statuses.index("Interrupted") < len(statuses) - 1 - statuses[::-1].index("Training")
    assert statuses[-1] == "Completed"
    assert said["execution"].rsplit("/", 1)[-1] in page.read_text()
    assert not state.exists()
    assert leftovers.on_machine(state, 0, "binventory-dev").found["processes"] == ()


def test_a_run_becomes_a_page_that_a_browser_shows(
    kept: dict[str, Any], repository: Path, tmp_path: Path, watched: Watched
) -> None:
    page = tmp_path / "run.html"
    binventory(repository, "report", "--output", str(page), environment=kept["kept"])
    watched.open(page)
    assert watched.page.locator("h1").inner_text().endswith("Succeeded")
    bars = watched.page.locator("svg rect.bar").count()
    assert bars == len(STEPS) + len(kept["trials"])
    assert watched.page.locator("svg polyline").count() > len(kept["trials"])
    assert watched.page.locator("svg circle.dot").count() == len(kept["trials"])
    watched.assert_quiet()


def test_plain_boto3_works_against_a_kept_rehearsal(kept: dict[str, Any]) -> None:
    sagemaker = client(kept, "sagemaker")
    executions = sagemaker.list_pipeline_executions(PipelineName="binventory-dev")["PipelineExecutionSummaries"]
    assert [item["PipelineExecutionStatus"] for item in executions] == ["Succeeded"]
    packages = sagemaker.list_model_packages(ModelPackageGroupName="binventory-dev")["ModelPackageSummaryList"]
    assert [item["ModelApprovalStatus"] for item in packages] == ["Approved"]
    photo_id = kept["counted"][0]["image_id"]
    photo = client(kept, "s3").get_object(Bucket="aft-vbi-pds", Key=f"bin-images/{photo_id}.jpg")["Body"].read()
    answer = client(kept, "sagemaker-runtime").invoke_endpoint(
        EndpointName="binventory-dev", Body=photo, ContentType="image/jpeg"
    )
    assert json.loads(answer["Body"].read())["count"] == kept["counted"][0]["answer"]["count"]


def test_a_second_deploy_changes_nothing(kept: dict[str, Any], repository: Path, tmp_path: Path) -> None:
    deploy = ("deploy", "--all", "--require-approval", "never")
    said = cdk(repository, *deploy, assembly=tmp_path, environment={**WATCHFUL, **kept["kept"]})
    assert said.count("(no changes)") == len(STACKS), said


def test_the_endpoint_goes_off_and_comes_back_with_the_same_model(kept: dict[str, Any], repository: Path) -> None:
    def status() -> Any:
        return json.loads(binventory(repository, "endpoint", "status", "--json", environment=kept["kept"]))

    before = status()
    binventory(repository, "endpoint", "off", environment=kept["kept"])
    off = status()
    assert (off["status"], off["switched_on"], off["package"]) == ("absent", False, before["package"])
    assert client(kept, "sagemaker").list_endpoint_configs()["EndpointConfigs"] == []
    binventory(repository, "endpoint", "on", "--yes", environment=kept["kept"])
    assert status() == before


def test_an_interrupted_rehearsal_leaves_no_process(repository: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    process = subprocess.Popen(
        [*COMMAND, "rehearse", "--state-dir", str(state), "--photos-count", "60"],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "Deploy ..." in line:
            break
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == 130, rest
    assert leftovers.on_machine(state, 0, "binventory-dev").found["processes"] == ()
    assert [path.name for path in state.iterdir()] == ["logs"]
