"""The audit against a local AWS: photos and records in S3, events on EventBridge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from binventory.audit import job
from binventory.audit.database import Filters
from binventory.audit.events import DETAIL_TYPE, SOURCE
from binventory.cli import run
from binventory.core.aws import Aws, connect
from binventory.core.errors import Exit
from local_aws.server import LocalAws
from tests.audited import write_bin, write_folder, write_predictions
from tests.conftest import NAMES
from tests.contract.batch_site import photo_that_says
from tests.contract.conftest import ClientFactory
from tests.contract.serving import create_config, push_image, start_endpoint


@pytest.fixture(scope="module")
def aws(local_aws: LocalAws) -> Aws:
    return connect(local_aws.environment())


def upload(client: ClientFactory, folder: Path, bucket: str, prefix: str) -> None:
    s3 = client("s3")
    s3.create_bucket(Bucket=bucket)
    for path in folder.rglob("*.*"):
        s3.put_object(Bucket=bucket, Key=f"{prefix}{path.relative_to(folder).as_posix()}", Body=path.read_bytes())


def test_a_prefix_gives_what_its_folder_gives(client: ClientFactory, aws: Aws, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bins", 30)
    write_bin(folder, "six", 6)
    predictions = write_predictions(folder, tmp_path / "p.jsonl", 3)
    upload(client, folder, "audited", "some/where/")
    listed: list[list[dict[str, object]]] = []
    for source in (str(folder), "s3://audited/some/where"):
        output = tmp_path / f"out-{len(listed)}"
        request = job.Request(source, output, predictions=predictions)
        result = job.run_audit(request, lambda: aws)
        assert (result.summary.counted, result.summary.out_of_scope) == (30, 1)
        rows = [json.loads(line) for line in (output / "disagreements.jsonl").read_text().splitlines()]
        assert {row["photo"].startswith(f"{source}/bin-images/") for row in rows} == {True}
        listed.append([{**row, "photo": row["photo"].removeprefix(source)} for row in rows])
        photos = (output / "audit.html").read_text().split('class="photos">')[1]
        assert len([line for line in photos.split("</script>")[0].splitlines() if len(line) > 100]) == 30
    assert listed[0] == listed[1]


def test_flags_of_the_endpoint_choose_it_for_an_audit_of_any_size(
    client: ClientFactory,
    signed_in: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(job, "LARGE", 1)
    upload(client, write_folder(tmp_path / "bins", 3), "large", "bins/")
    asked = ["audit", "s3://large/bins/", "--output", str(tmp_path / "out"), "--dry-run"]
    assert run(asked) == Exit.NOT_READY, "transform jobs want a deployed stack"
    assert "serving" in capsys.readouterr().err
    for flag in (["--rate", "5"], ["--endpoint", "mine"], ["--instance", "ml.m5.xlarge"], ["--price-per-hour", "1"]):
        assert run([*asked, *flag]) == Exit.OK
        assert "3 bins at most" in capsys.readouterr().err


def test_events_reach_a_rule_once(client: ClientFactory, aws: Aws, tmp_path: Path) -> None:
    events, sqs = client("events"), client("sqs")
    events.create_event_bus(Name="inventory")
    queue = sqs.create_queue(QueueName="disagreements")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": [SOURCE], "detail-type": [DETAIL_TYPE]}
    events.put_rule(Name="disagreements", EventBusName="inventory", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="disagreements", EventBusName="inventory", Targets=[{"Id": "queue", "Arn": arn}])

    folder = write_folder(tmp_path / "bins", 40)
    write_bin(folder, "00000", 1, name="=1+1 <b>\x00é" * 200)
    request = job.Request(
        str(folder),
        tmp_path / "out",
        predictions=write_predictions(folder, tmp_path / "p.jsonl", 12),
        filters=Filters(top=12),
        formats=(),
        bus="inventory",
    )
    assert job.run_audit(request, lambda: aws).events == 12
    assert job.run_audit(request, lambda: aws).events == 0, "a repeated audit sends nothing twice"

    received = []
    while found := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        for message in found:
            received.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    assert {event["source"] for event in received} == {SOURCE}
    details = {event["detail"]["image_id"]: event["detail"] for event in received}
    assert sorted(details) == [f"{number * 10:05d}" for number in range(12)]
    first = details["00010"]
    assert first["schema"] == 1 and first["recorded"] == 2 and first["recorded_probability"] == 0.025
    assert first["model_package"] is None and first["model_beats_majority"] is None
    assert set(first) == {
        "schema",
        "audit",
        "model_beats_majority",
        "rank",
        "image_id",
        "recorded",
        "likely",
        "recorded_probability",
        "likely_probability",
        "wrong_probability",
        "expected_count",
        "probabilities",
        "photo",
        "model_package",
        "skus",
        "more_skus",
    }
    assert max(len(json.dumps(detail)) for detail in details.values()) < 8192


def test_an_audit_through_an_endpoint_finds_what_its_photos_contradict(
    client: ClientFactory, aws: Aws, local_aws: LocalAws, tmp_path: Path
) -> None:
    image = push_image(local_aws, client)
    start_endpoint(client, "asked", create_config(client, "asked", image, counts=[1, 2, 3, 4, 5]))
    folder = tmp_path / "bins"
    for number in range(20):
        recorded = number % 5 + 1
        write_bin(folder, f"{number * 10:05d}", recorded, photo=photo_that_says(1 if number == 13 else recorded))
    write_bin(folder, "refused", 2, photo=b"refuse")
    upload(client, folder, "asked-photos", "")
    request = job.Request(
        "s3://asked-photos/", tmp_path / "out", endpoint="asked", names=NAMES, formats=("jsonl",), rate=200
    )
    summary = job.run_audit(request, lambda: aws).summary
    assert (summary.counted, summary.not_audited) == (20, 1)
    worst = json.loads((tmp_path / "out" / "disagreements.jsonl").read_text().splitlines()[0])
    assert (worst["image_id"], worst["recorded"], worst["likely"]) == ("00130", 4, 1)
    assert [reason for _, reason, _ in summary.reasons] == ["refused"]
