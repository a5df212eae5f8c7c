"""The drift monitor as it is deployed: photos like those of the evaluation leave it calm, dark and blurred ones do not.

Named to run after the tests that look at the first execution: the alarm starts another one.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageEnhance, ImageFilter

from binventory.render import render_bucket
from tests.rehearsal.kept import client

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]
NAME = "binventory-dev"


def photos(folder: Path, wanted: int, change: Callable[[Image.Image], Image.Image]) -> Iterable[bytes]:
    """JPEG bytes of rendered photos, changed by the camera's owner."""
    found = sorted((folder / "bin-images").glob("*.jpg"))
    sent = 0
    for path in found:
        try:
            with Image.open(path) as image:
                changed = change(image.convert("RGB"))
        except OSError:
            continue  # one of the defects that are rendered on purpose
        stream = io.BytesIO()
        changed.save(stream, "JPEG", quality=90)
        yield stream.getvalue()
        sent += 1
        if sent == wanted:
            return
    raise AssertionError(f"only {sent} usable photos in {folder}")


def ask(kept: dict[str, Any], stream: Iterable[bytes]) -> None:
    """Sends photos, as a warehouse's cameras would."""
    runtime = client(kept, "sagemaker-runtime")
    for photo in stream:
        runtime.invoke_endpoint(EndpointName=NAME, Body=photo, ContentType="image/jpeg")["Body"].read()


def looked(kept: dict[str, Any], metric: str) -> list[float]:
    """The metrics that the monitor has published, oldest first."""
    now = datetime.now(UTC)
    points = client(kept, "cloudwatch").get_metric_statistics(
        Namespace="Binventory/Monitoring",
        MetricName=metric,
        Dimensions=[{"Name": "Endpoint", "Value": NAME}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=1),
        Period=60,
        Statistics=["Maximum"],
    )["Datapoints"]
    return [point["Maximum"] for point in sorted(points, key=lambda point: point["Timestamp"])]


def alarm(kept: dict[str, Any]) -> str:
    """The drift alarm's state."""
    (found,) = client(kept, "cloudwatch").describe_alarms(AlarmNames=[f"{NAME}-drift"])["MetricAlarms"]
    return str(found["StateValue"])


def until(what: Callable[[], object], seconds: float, why: str) -> None:
    """Waits for something to become true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"{why} did not happen in {seconds:.0f} s"
        time.sleep(1)


def executions(kept: dict[str, Any]) -> list[str]:
    """Descriptions of all executions of the pipeline."""
    found = client(kept, "sagemaker").list_pipeline_executions(PipelineName=NAME)["PipelineExecutionSummaries"]
    return [item.get("PipelineExecutionDescription", "") for item in found]


def test_dark_and_blurred_photos_ring_the_alarm_and_start_the_pipeline(kept: dict[str, Any], tmp_path: Path) -> None:
    render_bucket(tmp_path, photos=420, seed=7)
    ask(kept, photos(tmp_path, 100, lambda image: image))
    until(lambda: looked(kept, "Drift"), 150, "a look at usual photos")
    assert set(looked(kept, "Drift")) == {0}
    assert max(looked(kept, "Photos")) >= 100
    assert alarm(kept) != "ALARM"
    before = executions(kept)
    assert not any(said.startswith("Drift:") for said in before)

    def at_night(image: Image.Image) -> Image.Image:
        return ImageEnhance.Brightness(image).enhance(0.08).filter(ImageFilter.GaussianBlur(6))

    for _ in range(2):  # most of what the window holds
        ask(kept, photos(tmp_path, 250, at_night))
    until(lambda: looked(kept, "Drift")[-1] == 1, 150, "a look at shifted photos")
    until(lambda: alarm(kept) == "ALARM", 90, "the alarm")
    until(lambda: len(executions(kept)) > len(before), 60, "a new execution")
    assert any(said.startswith(f"Drift: {NAME}-drift since") for said in executions(kept))


def test_the_dashboard_is_there_and_what_it_draws_has_values(kept: dict[str, Any]) -> None:
    cloudwatch = client(kept, "cloudwatch")
    assert "Should it be retrained?" in cloudwatch.get_dashboard(DashboardName=NAME)["DashboardBody"]
    names = {metric["MetricName"] for metric in cloudwatch.list_metrics(Namespace="Binventory/Endpoint")["Metrics"]}
    assert {"PredictedCount", "Confidence", "Latency", "Photos"} <= names
