"""The audit against a local AWS: photos and records in S3, events on EventBridge."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from binventory.audit import job
from binventory.audit.database import Filters
from binventory.audit.events import DETAIL_TYPE, SOURCE, require_bus
from binventory.cli import run
from binventory.core.aws import Aws, connect
from binventory.core.errors import Exit, Problem
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


def test_a_bus_that_does_not_exist_is_refused_before_anything_is_asked(
    client: ClientFactory, signed_in: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """EventBridge would take its events, call them sent and drop them (github.com/aws/aws-cli/issues/9186)."""
    folder = write_folder(tmp_path / "bins", 4)
    answers = write_predictions(folder, tmp_path / "p.jsonl", 4)
    asked = ["audit", str(folder), "--predictions", str(answers), "--output", str(tmp_path / "out"), "--events"]
    arn = client("events").describe_event_bus(Name="default")["Arn"]
    for bus in ("invnetory", f"{arn}s"):
        assert run([*asked, bus]) == Exit.USAGE
        assert f"There is no event bus {bus}" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    other = arn.replace("123456789012", "210987654321")
    assert run([*asked, other, "--dry-run"]) == Exit.OK
    assert f"Whether the bus {other} exists is not known" in capsys.readouterr().err
    for bus in ("default", arn):
        assert run([*asked, bus]) == Exit.OK
        assert "not known" not in capsys.readouterr().err


def test_a_bus_that_may_not_be_looked_at_is_said_to_be_unknown() -> None:
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    with Stubber(aws.client("events")) as stub:
        stub.add_client_error("describe_event_bus", "AccessDeniedException", "no")
        assert "you may not look at it (events:DescribeEventBus)" in require_bus(aws, "inventory")


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


@pytest.fixture(scope="module")
def long_bus(client: ClientFactory) -> str:
    """A bus for long events."""
    client("events").create_event_bus(Name="long")
    return "long"


@pytest.fixture
def long_events(tmp_path: Path, long_bus: str) -> job.Request:
    """Twelve bins whose events have about 49 KB each, so that five fill a request."""
    folder = write_folder(tmp_path / "bins", 12)
    for number in range(12):
        quantity = number % 5 + 1
        names = [f"{sku:02d}" + "\U00020bb7" * 100 for sku in range(20)]
        items = {name: {"name": name, "quantity": quantity if name == names[0] else 0} for name in names}
        record = json.dumps({"BIN_FCSKU_DATA": items, "EXPECTED_QUANTITY": quantity}).encode()
        write_bin(folder, f"{number * 10:05d}", quantity, record=record)
    return job.Request(
        str(folder),
        tmp_path / "out",
        predictions=write_predictions(folder, tmp_path / "p.jsonl"),
        formats=(),
        bus=long_bus,
    )


def test_long_events_are_sent_in_requests_that_eventbridge_takes(
    client: ClientFactory, local_aws: LocalAws, long_events: job.Request
) -> None:
    own = connect(local_aws.environment())
    asked: list[int] = []
    own.client("events").meta.events.register(
        "provide-client-params.events.PutEvents", lambda params, **given: asked.append(len(params["Entries"]))
    )
    assert job.run_audit(long_events, lambda: own).events == 12
    assert asked == [5, 5, 2]


def test_events_that_a_busy_bus_refuses_are_sent_again_and_no_other(
    client: ClientFactory, local_aws: LocalAws, long_events: job.Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("binventory.audit.events._PAUSES", (0.0, 0.0))
    own = connect(local_aws.environment())
    codes = ["ThrottlingException"] * 2
    asked: list[list[str]] = []

    def answer(params: dict[str, Any], **given: Any) -> tuple[Any, dict[str, Any]]:
        entries = json.loads(params["body"])["Entries"]
        asked.append([json.loads(entry["Detail"])["image_id"] for entry in entries])
        first = {"ErrorCode": codes.pop(0), "ErrorMessage": "slow down"} if codes else {"EventId": "1"}
        taken = {
            "Entries": [first, *({"EventId": "1"} for _ in entries[1:])],
            "FailedEntryCount": int("ErrorCode" in first),
        }
        return SimpleNamespace(status_code=200), {**taken, "ResponseMetadata": {"HTTPStatusCode": 200}}

    own.client("events").meta.events.register("before-call.events.PutEvents", answer)
    assert job.run_audit(long_events, lambda: own).events == 12
    assert asked[0][0] == asked[1][0] == asked[2][0] and len(asked[1]) == len(asked[2]) == 1
    assert len({image_id for batch in asked for image_id in batch}) == 12

    codes += ["ThrottlingException"] * 3
    with pytest.raises(Problem, match="EventBridge refused 1 event: ThrottlingException: slow down") as caught:
        job.run_audit(replace(long_events, output=long_events.output / "busy"), lambda: own)
    assert "sends only what is missing" in caught.value.cure
    codes[:] = ["NotAuthorizedForSourceException"]
    before = len(asked)
    with pytest.raises(Problem, match="NotAuthorizedForSourceException"):
        job.run_audit(replace(long_events, output=long_events.output / "other"), lambda: own)
    assert len(asked) == before + 1, "it would be refused again"


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
