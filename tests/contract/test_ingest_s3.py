"""Ingest against a real S3 server: signed requests, its listing and its ETags, and a retry that continues."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingest import launch, main
from ingestion import work as work_module
from ingestion.intake import Workbench, take_in
from local_aws.server import LocalAws
from tests.unit.bin_bucket import bucket, files, write

PHOTOS = "aft-vbi-pds"
DATA = "ingest-data"
OUTPUTS = ("train", "validation", "test", "report")


@pytest.fixture
def s3(local_aws: LocalAws, client: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """S3 of the local AWS with the bins in it, and the environment of a job."""
    for name, value in local_aws.environment().items():
        monkeypatch.setenv(name, value)
    # Where this computer has an /opt/ml, the reasons of failures do not belong there.
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path / "opt-ml"))
    s3 = client("s3")
    for name in (PHOTOS, DATA):
        s3.create_bucket(Bucket=name)
    for key, data in bucket(blocks=8, photos=10).items():
        s3.put_object(Bucket=PHOTOS, Key=key, Body=data)
    return s3


def config(folder: Path, *, machines: int = 1) -> str:
    """The configuration of a job's first machine as SageMaker writes it; gives the path of resourceconfig.json."""
    outputs = [
        {
            "OutputName": name,
            "S3Output": {
                "S3Uri": f"s3://{DATA}/executions/1/ingest/{name}",
                "LocalPath": f"/opt/ml/processing/output/{name}",
                "S3UploadMode": "EndOfJob",
            },
        }
        for name in OUTPUTS
    ]
    folder.mkdir()
    (folder / "processingjobconfig.json").write_text(json.dumps({"ProcessingOutputConfig": {"Outputs": outputs}}))
    hosts = [f"algo-{number + 1}" for number in range(machines)]
    (folder / "resourceconfig.json").write_text(json.dumps({"current_host": "algo-1", "hosts": hosts}))
    return str(folder / "resourceconfig.json")


def flags(output: Path, *arguments: str) -> list[str]:
    return ["--photos-uri", f"s3://{PHOTOS}/", "--output", str(output), "--cores", "1", *arguments]


def ingest(output: Path, *arguments: str) -> int:
    return launch(flags(output, *arguments))


def photos_of(shard: Path) -> set[bytes]:
    """The photos of a shard as they are in the bucket."""
    objects = bucket(blocks=8, photos=10)
    with tarfile.open(shard) as archive:
        names = [name for name in archive.getnames() if name.endswith(".jpg")]
    return {objects[f"bin-images/{name}"] for name in names}


def test_a_retried_job_goes_on_where_the_lost_machine_was(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = config(tmp_path / "config")
    arguments = ("--shard-photos", "10", "--resource-config", job)
    assert ingest(tmp_path / "clean", "--shard-photos", "10") == 0
    # Photos are taken in any order, shards are finished in theirs: the three before this one.
    never_finished = photos_of(tmp_path / "clean/train/train-00003.tar")

    def until_lost(data: bytes, md5: str, bench: Workbench, *, as_sent: bool) -> Any:
        if data in never_finished:
            raise RuntimeError("the machine is lost")
        return take_in(data, md5, bench, as_sent=as_sent)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="lost"):
        patch.setattr(work_module, "take_in", until_lost)
        main(flags(tmp_path / "lost", *arguments))
    shutil.rmtree(tmp_path / "lost")
    saved = [entry["Key"] for entry in s3.list_objects_v2(Bucket=DATA)["Contents"]]
    marks = [key for key in saved if "/report/units/" in key]
    assert len(marks) == 3
    # One that was damaged on its way is done again.
    s3.put_object(Bucket=DATA, Key=next(key for key in saved if key.endswith(".tar")), Body=b"cut")
    with caplog.at_level("INFO"):
        assert ingest(tmp_path / "retried", *arguments) == 0
    assert f"{len(marks) - 1} of 8 shards were finished by an earlier attempt" in caplog.text
    assert files(tmp_path / "retried") == files(tmp_path / "clean")
    for folder, name in (("train", "train-00000.tar"), ("report", "units/train-00000.json")):
        body = s3.get_object(Bucket=DATA, Key=f"executions/1/ingest/{folder}/{name}")["Body"].read()
        assert body == (tmp_path / "clean" / folder / name).read_bytes()


def test_a_failed_job_leaves_its_report_where_its_output_would_be(
    s3: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SageMaker uploads no output of a failed job."""
    job = config(tmp_path / "config")
    (tmp_path / "labels.csv").write_text("image_id,count\n100,1\n101,2\n")
    with caplog.at_level("INFO"):
        labels = ("--labels-uri", str(tmp_path / "labels.csv"))
        assert ingest(tmp_path / "out", "--resource-config", job, *labels) == 1
    prefix = "executions/1/ingest/report/"
    assert f"the report is in s3://{DATA}/{prefix.rstrip('/')}" in caplog.text
    for name in ("books.json", "exploration.html", "quarantine-plan.jsonl"):
        body = s3.get_object(Bucket=DATA, Key=prefix + name)["Body"].read()
        assert body == (tmp_path / "out" / "report" / name).read_bytes()
    assert b"a spreadsheet removes zeros" in body


def test_a_job_that_cannot_save_for_a_retry_still_finishes(
    s3: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = config(tmp_path / "config")
    path = tmp_path / "config" / "processingjobconfig.json"
    path.write_text(path.read_text().replace(DATA, "no-such-bucket"))
    assert ingest(tmp_path / "out", "--resource-config", job) == 0
    assert "could not be saved for a retry" in caplog.text


def test_several_machines_fail_when_they_cannot_meet(
    s3: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = config(tmp_path / "config", machines=2)
    path = tmp_path / "config" / "processingjobconfig.json"
    path.write_text(path.read_text().replace(DATA, "no-such-bucket"))
    assert ingest(tmp_path / "out", "--resource-config", job) == 1
    assert "grant s3:GetObject and s3:PutObject" in capsys.readouterr().err
    assert "grant s3:GetObject and s3:PutObject" in (tmp_path / "opt-ml/output/failure").read_text()


@pytest.mark.parametrize("machines", [1, 2])
def test_several_machines_of_a_job_need_outputs_in_which_they_meet(
    s3: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], machines: int
) -> None:
    """Without them, each would wait for the others to write the whole report. One machine writes it by itself."""
    job = config(tmp_path / "config", machines=machines)
    path = tmp_path / "config" / "processingjobconfig.json"
    path.write_text(path.read_text().replace('"report"', '"books"'))
    assert ingest(tmp_path / "out", "--resource-config", job) == machines - 1
    said = "give it those named train, validation, test and report, each with an s3:// address, or one machine"
    assert (said in capsys.readouterr().err) is (machines == 2)
    assert (tmp_path / "out/train/digests.json").exists() is (machines == 1)


def test_a_folder_makes_the_same_shards_as_the_bucket(s3: Any, tmp_path: Path) -> None:
    assert ingest(tmp_path / "bucket") == 0
    photos = str(write(tmp_path / "in", bucket(blocks=8, photos=10)))
    assert launch(["--photos-uri", photos, "--output", str(tmp_path / "folder"), "--cores", "1"]) == 0
    shards = [{n: d for n, d in files(tmp_path / name).items() if n.endswith(".tar")} for name in ("bucket", "folder")]
    assert shards[0] == shards[1]
