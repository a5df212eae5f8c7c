"""Prefixes counted and audited by transform jobs: through the command line, against a local AWS."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from binventory import cli
from binventory.audit import job
from binventory.batch.site import find_site
from binventory.batch.transform import Photos, TransformBatch, stop
from binventory.core.aws import Aws, connect
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names
from local_aws.server import LocalAws
from tests.audited import write_bin
from tests.conftest import NAMES
from tests.contract.batch_site import BUCKET, DATA, TAGS, photo_that_says, set_up
from tests.contract.conftest import ClientFactory
from tests.contract.jobs import until


@pytest.fixture(scope="module")
def package(local_aws: LocalAws, client: ClientFactory) -> str:
    return set_up(local_aws, client, seconds=0.03)


@pytest.fixture
def environment(local_aws: LocalAws, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account as the command line finds it."""
    for name, value in local_aws.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def aws(local_aws: LocalAws, package: str) -> Aws:
    return connect(local_aws.environment())


@pytest.fixture
def nothing_left(client: ClientFactory, package: str) -> Iterator[None]:
    """No model, no manifest, no answer and no running job is left behind."""
    yield
    assert client("sagemaker").list_models()["Models"] == []
    assert client("s3").list_objects_v2(Bucket=DATA)["KeyCount"] == 0
    assert client("sagemaker").list_transform_jobs(StatusEquals="InProgress")["TransformJobSummaries"] == []


def put(client: ClientFactory, prefix: str, counts: dict[str, int | None]) -> str:
    for name, count in counts.items():
        body = b"refuse" if count is None else photo_that_says(count)
        client("s3").put_object(Bucket=BUCKET, Key=f"{prefix}{name}", Body=body)
    return f"s3://{BUCKET}/{prefix}"


@pytest.mark.usefixtures("environment", "nothing_left")
def test_a_prefix_is_counted_at_its_price_and_nothing_is_left(
    client: ClientFactory, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    uri = put(client, "count/", {"a.jpg": 3, "deep/b.JPG": 5, "c.png": None, "d.json": 1})
    answers = tmp_path / "answers.jsonl"
    assert cli.run(["count", uri, "--yes", "--output", str(answers)]) == Exit.FAILED, "one photo has no count"
    shown = capsys.readouterr().out
    assert "Count 3 photos" in shown and "1 x ml.m5.xlarge" in shown
    found = {row["photo"].removeprefix(uri): row for row in map(json.loads, answers.read_text().splitlines())}
    assert {name: row["count"] for name, row in found.items()} == {"a.jpg": 3, "deep/b.JPG": 5, "c.png": None}
    assert found["c.png"]["error"] == "refused, it is no photo"
    (job_run,) = client("sagemaker").list_transform_jobs(NameContains="count")["TransformJobSummaries"]
    assert job_run["TransformJobStatus"] == "Completed", "a bad photo fails no job"
    tags = client("sagemaker").list_tags(ResourceArn=job_run["TransformJobArn"])["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == TAGS, "the budget counts by one of them"
    assert cli.run(["count", uri, "--yes", "--json"]) == Exit.FAILED
    assert [row["count"] for row in json.loads(capsys.readouterr().out)] == [3, None, 5]


@pytest.mark.usefixtures("environment", "nothing_left")
def test_nothing_is_started_unasked_or_for_nothing(
    client: ClientFactory, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    uri = put(client, "unasked/", {"a.jpg": 3})
    before = len(client("sagemaker").list_transform_jobs()["TransformJobSummaries"])
    assert cli.run(["count", uri]) == Exit.USAGE
    assert "--yes" in capsys.readouterr().err
    assert cli.run(["count", f"s3://{BUCKET}/no-such-prefix/", "--yes"]) == Exit.USAGE
    assert cli.run(["count", "s3://another-bucket/", "--yes"]) == Exit.NOT_READY
    assert "batch.photos_uris" in capsys.readouterr().err
    assert cli.run(["count", "s3://elsewhere/bins/", "--yes"]) == Exit.NOT_READY
    assert cli.run(["count", uri, "photo.jpg"]) == Exit.USAGE
    assert cli.run(["audit", "photos/", "--batch"]) == Exit.USAGE
    assert cli.run(["count", uri, "--env", "prod"]) == Exit.NOT_READY
    capsys.readouterr()
    kept = tmp_path / "answers.jsonl"
    kept.write_text("of an earlier count\n")
    assert cli.run(["count", uri, "--dry-run", "--output", str(kept)]) == Exit.OK
    assert "Count 1 photo\n" in capsys.readouterr().out and kept.read_text() == "of an earlier count\n"
    put(client, "unasked/", {"bin-images/a.jpg": 3})
    client("s3").put_object(Bucket=BUCKET, Key="unasked/metadata/a.json", Body=b"{}")
    audit = tmp_path / "audit"
    assert cli.run(["audit", uri, "--batch", "--dry-run", "--json", "--output", str(audit)]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["started"] is False and not audit.exists()
    assert cli.run(["audit", uri, "--batch", "--output", str(audit)]) == Exit.USAGE
    put(client, "another/", {"bin-images/a.jpg": 3})
    client("s3").put_object(Bucket=BUCKET, Key="another/metadata/a.json", Body=b"{}")
    capsys.readouterr()
    assert cli.run(["audit", f"s3://{BUCKET}/another/", "--batch", "--output", str(audit)]) == Exit.USAGE
    assert "--yes" in capsys.readouterr().err, "the first audit was not agreed to, so it is not another one"
    assert len(client("sagemaker").list_transform_jobs()["TransformJobSummaries"]) == before


@pytest.mark.usefixtures("environment", "signed_in")
def test_a_bucket_may_be_named_without_its_slash(client: ClientFactory, capsys: pytest.CaptureFixture[str]) -> None:
    """The role reads `s3://bucket/`; a prefix that only begins alike is not its own."""
    put(client, "slash/", {"a.jpg": 1})
    assert cli.run(["count", f"s3://{BUCKET}", "--dry-run"]) == Exit.OK
    assert "Count " in capsys.readouterr().out
    assert cli.run(["count", "s3://elsewhere/binsecret/", "--dry-run"]) == Exit.NOT_READY
    assert "may not read s3://elsewhere/binsecret/" in capsys.readouterr().err


@pytest.mark.usefixtures("environment", "nothing_left")
@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("hall1", ["hall1/1.jpg", "hall1/deep/2.jpg"]),
        ("hall1/", ["hall1/1.jpg", "hall1/deep/2.jpg"]),
        ("hall1/deep", ["hall1/deep/2.jpg"]),
        ("hall1/1.jpg", ["hall1/1.jpg"]),
        ("halls.jpg", ["halls.jpg/4.jpg"]),
    ],
)
def test_a_folder_is_no_beginning_of_a_name_and_a_photo_is_itself(
    client: ClientFactory, capsys: pytest.CaptureFixture[str], address: str, expected: list[str]
) -> None:
    names = ("hall1/1.jpg", "hall1/deep/2.jpg", "hall10/3.jpg", "hall1.jpg", "hall1/1.jpg.png", "halls.jpg/4.jpg")
    put(client, "", dict.fromkeys(names, 2))
    client("s3").delete_object(Bucket=BUCKET, Key="hall1/1.jpg.png" if address != "hall1/1.jpg" else "hall1.jpg")
    assert cli.run(["count", f"s3://{BUCKET}/{address}", "--yes", "--json"]) == Exit.OK
    assert [row["photo"].removeprefix(f"s3://{BUCKET}/") for row in json.loads(capsys.readouterr().out)] == expected


@pytest.mark.usefixtures("environment", "nothing_left")
def test_the_beginning_of_names_is_refused_with_its_cure(
    client: ClientFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    put(client, "begins/", {"2024-1.jpg": 1, "2024-2.jpg": 1})
    for beginning in ("2024-", "2024-1.jp", "2024-1.jpg/"):
        assert cli.run(["count", f"s3://{BUCKET}/begins/{beginning}", "--yes"]) == Exit.USAGE
        said = capsys.readouterr().err
        assert f"There are no photos in s3://{BUCKET}/begins/{beginning.removesuffix('/')}/" in said
        assert f"aws s3 ls s3://{BUCKET}/begins/{beginning.removesuffix('/')}\n" in said


@pytest.mark.usefixtures("nothing_left")
def test_an_interruption_stops_the_job(client: ClientFactory, aws: Aws, tmp_path: Path) -> None:
    put(client, "long/", {f"{number:03d}.jpg": 1 for number in range(99)})
    stopped = tmp_path / "stopped"
    client("s3").put_object(Bucket=BUCKET, Key="long/099.jpg", Body=b"count 1 until %s" % bytes(stopped))

    def interrupted(name: str, done: int) -> None:
        if done:
            raise KeyboardInterrupt

    said: list[tuple[str, bool]] = []
    batch = TransformBatch(aws, find_site(aws, NAMES), "count", halted=lambda name, ended: said.append((name, ended)))
    photos = Photos(f"s3://{BUCKET}/long/", [f"{number:03d}.jpg" for number in range(100)])
    with pytest.raises(KeyboardInterrupt), batch.answers(photos, interrupted):
        raise AssertionError("there must be no answers")
    (run,) = [each for each in jobs(client, "count") if each["TransformJobStatus"] == "Stopped"]
    assert said == [(run["TransformJobName"], False), (run["TransformJobName"], True)], "before it stops, and after"
    stopped.touch()
    with batch.answers(photos) as answers:
        assert len(dict(answers)) == 100
    assert run["TransformJobName"].removesuffix("-1") + "-2" in {
        each["TransformJobName"] for each in jobs(client, "count")
    }


@pytest.mark.usefixtures("environment", "nothing_left")
def test_a_count_that_runs_elsewhere_has_left_nothing_over(
    client: ClientFactory, aws: Aws, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command to remove its model would end it."""
    seen = tmp_path / "seen"
    client("s3").put_object(Bucket=BUCKET, Key="elsewhere/a.jpg", Body=b"count 1 until %s" % bytes(seen))
    said: list[str] = []

    def look(name: str, done: int) -> None:
        if not said:
            cli.run(["leftovers", "--json"])
            said.extend(stray["name"] for stray in json.loads(capsys.readouterr().out)["strays"])
            assert "binventory-dev" in said, "the group of the packages, which no stack holds here"
            seen.touch()

    with TransformBatch(aws, find_site(aws, NAMES), "count").answers(
        Photos(f"s3://{BUCKET}/elsewhere/", ["a.jpg"]), look
    ) as answers:
        assert len(dict(answers)) == 1
    names = [each["TransformJobName"] for each in jobs(client, "count")]
    assert not set(names) & set(said)


@pytest.mark.usefixtures("nothing_left")
def test_a_run_that_was_cut_off_finds_its_job_again(client: ClientFactory, aws: Aws) -> None:
    names = [f"{number}.jpg" for number in range(30)]
    put(client, "cut/", dict.fromkeys(names, 2))
    batch = TransformBatch(aws, find_site(aws, NAMES), "cut")
    photos = Photos(f"s3://{BUCKET}/cut/", names)
    lost = threading.Thread(target=batch._started_or_found, args=(photos,))  # a computer that dies after the start
    lost.start()
    lost.join()
    with batch.answers(photos) as answers:
        assert len(dict(answers)) == 30
    assert len(jobs(client, "cut")) == 1


@pytest.mark.usefixtures("nothing_left")
def test_an_audit_by_transform_jobs_equals_one_by_answers_and_goes_on_where_it_stopped(
    client: ClientFactory, aws: Aws, tmp_path: Path
) -> None:
    folder = tmp_path / "bins"
    for number in range(24):
        recorded = number % 5 + 1
        shown = recorded if number % 7 else (recorded + 1) % 5 + 1
        write_bin(folder, f"{number * 10:05d}", recorded, photo=photo_that_says(shown))
    write_bin(folder, "six", 6, photo=photo_that_says(5))
    write_bin(folder, "unreadable", 2, photo=b"refuse")
    write_bin(folder, "no-record", 2)
    (folder / "metadata" / "no-record.json").unlink()
    for path in folder.rglob("*.*"):
        key = f"audit/{path.relative_to(folder).as_posix()}"
        client("s3").put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
    request = job.Request(
        f"s3://{BUCKET}/audit/", tmp_path / "out", batch=True, names=NAMES, formats=("jsonl",), photos_a_job=10
    )
    heard: list[int] = []

    def cut_off(name: str, done: int) -> None:
        if len({each["TransformJobName"] for each in jobs(client, "audit")}) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.run_audit(request, lambda: aws, job.Progress(transformed=cut_off))
    result = job.run_audit(request, lambda: aws, job.Progress(audited=heard.append))
    assert sum(heard) == 27
    assert (result.summary.counted, result.summary.out_of_scope, result.summary.not_audited) == (24, 1, 2)
    names = sorted(each["TransformJobName"] for each in jobs(client, "audit"))
    assert len(names) == 4, "three groups of ten; only the one that was stopped ran twice"
    listed = [json.loads(line) for line in (tmp_path / "out" / "disagreements.jsonl").read_text().splitlines()]
    assert {row["image_id"] for row in listed[:4]} == {"00000", "00070", "00140", "00210"}
    assert not list(tmp_path.glob("out/*.sqlite-wal"))
    package = find_site(aws, NAMES).package
    assert {row["model_package"] for row in listed} == {package} and result.summary.model.package == package
    assert "no evaluation is registered" in result.summary.model.verdict


@pytest.mark.usefixtures("nothing_left")
def test_records_of_a_csv_may_name_photos_that_are_not_there(client: ClientFactory, aws: Aws, tmp_path: Path) -> None:
    put(client, "csv/", {"a.jpg": 3, "b.jpg": 4})
    client("s3").put_object(Bucket=BUCKET, Key="csv/huge.jpg", Body=b"x" * (6 * 1024 * 1024 + 1))
    records = tmp_path / "stock.csv"
    records.write_text("image_id,count\na,3\nb,2\ngone,1\nhuge,2\n")
    request = job.Request(
        f"s3://{BUCKET}/csv/", tmp_path / "out", records=records, batch=True, names=NAMES, formats=("jsonl",)
    )
    summary = job.run_audit(request, lambda: aws).summary
    assert summary.counted == 2
    assert {reason for _, reason, _ in summary.reasons} == {"no_photo", "photo_too_large"}


@pytest.mark.usefixtures("environment", "nothing_left")
def test_photos_of_a_csv_are_found_in_a_folder_that_a_console_made(
    client: ClientFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A console makes a folder as an object without content, whose key S3 lists before the photos."""
    client("s3").put_object(Bucket=BUCKET, Key="console/bin-images/", Body=b"")
    uri = put(client, "console/", {"bin-images/7.jpg": 3}).rstrip("/")
    records = tmp_path / "records.csv"
    records.write_text("image_id,count\n7,3\n")
    audit = ["audit", uri, "--records", str(records), "--batch", "--yes", "--output", str(tmp_path / "out"), "--json"]
    assert cli.run(audit) == Exit.OK
    said = json.loads(capsys.readouterr().out)
    assert (said["counted"], said["not_audited"]) == (1, 0), said["reasons"]


@pytest.mark.usefixtures("environment", "nothing_left")
def test_a_listed_photo_above_the_limit_is_named_and_fails_no_job(
    client: ClientFactory, aws: Aws, tmp_path: Path
) -> None:
    large = photo_that_says(2) + bytes(6 * 1024 * 1024)
    for number, data in enumerate((photo_that_says(1), large, photo_that_says(3)), start=1):
        client("s3").put_object(Bucket=BUCKET, Key=f"large/bin-images/{number}.jpg", Body=data)
        record = json.dumps({"EXPECTED_QUANTITY": number}).encode()
        client("s3").put_object(Bucket=BUCKET, Key=f"large/metadata/{number}.json", Body=record)
    request = job.Request(f"s3://{BUCKET}/large/", tmp_path / "out", batch=True, names=NAMES, formats=("jsonl",))
    summary = job.run_audit(request, lambda: aws).summary
    assert (summary.counted, [reason for _, reason, _ in summary.reasons]) == (2, ["photo_too_large"])
    answers = tmp_path / "answers.jsonl"
    assert cli.run(["count", f"s3://{BUCKET}/large/", "--yes", "--output", str(answers)]) == Exit.FAILED
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [row["count"] for row in rows] == [1, None, 3]
    assert "SageMaker lets 6291456 reach a transform job" in rows[1]["error"]
    statuses = {each["TransformJobStatus"] for each in jobs(client, "audit") + jobs(client, "count")}
    assert statuses <= {"Completed", "Stopped"}, "one that another test has stopped"


@pytest.mark.usefixtures("nothing_left")
def test_a_job_without_any_answer_is_a_failure_with_its_log(client: ClientFactory, aws: Aws) -> None:
    put(client, "broken/", {"a.jpg": 3})
    client("s3").put_object(Bucket=BUCKET, Key="broken/die.jpg", Body=b"count many")
    batch = TransformBatch(aws, find_site(aws, NAMES), "broken")
    with (
        pytest.raises(Problem, match="gave no answers") as caught,
        batch.answers(Photos(f"s3://{BUCKET}/broken/", ["die.jpg"])),
    ):
        raise AssertionError("there must be no answers")
    assert caught.value.log


@pytest.mark.usefixtures("environment", "nothing_left")
def test_a_count_says_that_its_job_failed_and_why(client: ClientFactory, capsys: pytest.CaptureFixture[str]) -> None:
    """A job that fails midway has some answers; the other photos are not called unreadable."""
    uri = put(client, "midway/", {"a.jpg": 3})
    client("s3").put_object(Bucket=BUCKET, Key="midway/b.jpg", Body=b"count many")
    assert cli.run(["count", uri, "--yes", "--json"]) == Exit.FAILED
    shown = capsys.readouterr()
    good, bad = json.loads(shown.out)
    assert good["count"] == 3 and bad["count"] is None
    assert (
        bad["error"].startswith("the transform job binventory-dev-count-") and " failed: AlgorithmError" in bad["error"]
    )
    said = " ".join(shown.err.split())
    assert "failed: AlgorithmError" in said and "Without an answer: 1 of 2 photos; " in said
    assert "the same command counts all photos again" in said


@pytest.mark.usefixtures("environment", "nothing_left")
def test_an_audit_says_that_its_job_failed_and_its_second_run_asks_for_the_rest(
    client: ClientFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(number: int, body: bytes) -> None:
        client("s3").put_object(Bucket=BUCKET, Key=f"halves/bin-images/{number}.jpg", Body=body)

    for number in (1, 2, 3):
        say(number, b"count many" if number == 2 else photo_that_says(number))
        record = json.dumps({"EXPECTED_QUANTITY": number}).encode()
        client("s3").put_object(Bucket=BUCKET, Key=f"halves/metadata/{number}.json", Body=record)
    audit = ["audit", f"s3://{BUCKET}/halves/", "--batch", "--yes", "--json", "--output", str(tmp_path / "out")]

    assert cli.run(audit) == Exit.FAILED
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert (found["counted"], found["not_audited"]) == (2, 1)
    assert found["reasons"] == [{"state": "not_audited", "reason": "job_failed", "bins": 1}]
    assert "failed: AlgorithmError" in shown.err and "Without an answer: 1 of 3 photos; " in shown.err
    assert "the same command asks for them again" in shown.err

    assert cli.run(audit) == Exit.FAILED, "the photo fails again, and keeps no other bin from being reported"
    shown = capsys.readouterr()
    assert json.loads(shown.out)["counted"] == 2 and "gave no answers" in shown.err and "--restart" in shown.err

    say(2, photo_that_says(2))
    assert cli.run(audit) == Exit.OK
    found = json.loads(capsys.readouterr().out)
    assert (found["counted"], found["not_audited"]) == (3, 0)


@dataclass
class Refusing:
    """A connection of an account that does not delete some of what it is asked to."""

    aws: Aws
    models: bool = True
    keys: str = ".out"
    whole: bool = False

    def connect(self, environment: object) -> Aws:
        """In place of `connect`."""
        events = self.aws.client("s3").meta.events
        events.register("provide-client-params.s3.DeleteObjects", self._keep)
        events.register("after-call.s3.DeleteObjects", self._name)
        events.register("before-call.s3.DeleteObjects", lambda **given: _denied() if self.whole else None)
        self.aws.client("sagemaker").meta.events.register(
            "before-call.sagemaker.DeleteModel", lambda **given: _denied() if self.models else None
        )
        return self.aws

    def _keep(self, params: dict[str, Any], **given: Any) -> dict[str, Any]:
        objects = params["Delete"]["Objects"]
        self._kept = [item for item in objects if self.keys and item["Key"].endswith(self.keys)]
        return {**params, "Delete": {"Objects": [item for item in objects if item not in self._kept], "Quiet": True}}

    def _name(self, parsed: dict[str, Any], **given: Any) -> None:
        refused = [{**item, "Code": "AccessDenied", "Message": "Access Denied"} for item in self._kept]
        parsed.update({"Errors": refused} if refused else {})


def _denied() -> tuple[Any, dict[str, Any]]:
    error = {"Code": "AccessDeniedException", "Message": "it may not delete"}
    return SimpleNamespace(status_code=403), {"Error": error, "ResponseMetadata": {"HTTPStatusCode": 403}}


@pytest.fixture
def refusing(local_aws: LocalAws, package: str, client: ClientFactory) -> Iterator[Refusing]:
    yield Refusing(connect(local_aws.environment()))
    for model in client("sagemaker").list_models()["Models"]:
        client("sagemaker").delete_model(ModelName=model["ModelName"])
    for item in client("s3").list_objects_v2(Bucket=DATA).get("Contents", []):
        client("s3").delete_object(Bucket=DATA, Key=item["Key"])


@pytest.mark.usefixtures("environment")
def test_what_cannot_be_deleted_is_named_and_no_later_count_reads_it(
    client: ClientFactory, refusing: Refusing, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = put(client, "stays/", {"a.jpg": 3, "b.jpg": 5})
    monkeypatch.setattr("binventory.cli.count.connect", refusing.connect)
    refusing.keys = "a.jpg.out"
    assert cli.run(["count", uri, "--yes", "--json"]) == Exit.OK
    shown = capsys.readouterr()
    assert [row["count"] for row in json.loads(shown.out)] == [3, 5]
    names = [each["TransformJobName"] for each in jobs(client, "count")]
    (name,) = [each for each in names if f"/batch/{each}/" in shown.err]
    folder = f"s3://{DATA}/batch/{name}/"
    assert f"Left behind: the model {name} (AccessDeniedException: it may not delete)." in shown.err
    assert f"Remove it: aws sagemaker delete-model --model-name {name}" in shown.err
    assert f"Left behind: 1 object below {folder} (batch/{name}/answers/stays/a.jpg.out: AccessDenied" in shown.err
    assert f"Remove it: aws s3 rm --recursive {folder}" in shown.err
    refusing.keys, refusing.models = "", False
    assert cli.run(["count", uri, "--yes", "--json"]) == Exit.OK
    assert [row["count"] for row in json.loads(capsys.readouterr().out)] == [3, 5], "not half of the first job's"


@pytest.mark.usefixtures("environment")
def test_an_audit_names_what_its_jobs_leave_behind(
    client: ClientFactory,
    refusing: Refusing,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_bin(tmp_path / "bins", "00010", 2, photo=photo_that_says(2))
    for path in (tmp_path / "bins").rglob("*.*"):
        key = f"left/{path.relative_to(tmp_path / 'bins').as_posix()}"
        client("s3").put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
    monkeypatch.setattr("binventory.cli.audit.connect", refusing.connect)
    output = str(tmp_path / "out")
    command = ["audit", f"s3://{BUCKET}/left/", "--batch", "--yes", "--format", "jsonl", "--output", output]
    assert cli.run(command) == Exit.OK
    said = capsys.readouterr().err
    assert "Left behind: the model binventory-dev-audit-" in said and "Left behind: 1 object below s3://" in said


@pytest.mark.usefixtures("environment")
def test_a_failure_is_shown_though_nothing_can_be_deleted_after_it(
    client: ClientFactory, refusing: Refusing, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = put(client, "unmade/", {"a.jpg": 3})
    refusing.whole = True
    found = refusing.connect({})
    found.client("sagemaker").meta.events.register(
        "before-call.sagemaker.CreateTransformJob", lambda **given: _denied()
    )
    monkeypatch.setattr("binventory.cli.count.connect", lambda environment: found)
    assert cli.run(["count", uri, "--yes"]) == Exit.FAILED
    said = capsys.readouterr().err
    assert "The transform job was not started" in said
    assert f"Left behind: what is below s3://{DATA}/batch/" in said and "Left behind: the model " in said


@pytest.mark.usefixtures("environment", "nothing_left")
def test_a_job_that_may_not_be_stopped_is_said_listed_before(aws: Aws, local_aws: LocalAws) -> None:
    own = connect(local_aws.environment())
    own.client("sagemaker").meta.events.register("before-call.sagemaker.StopTransformJob", lambda **given: _denied())
    with pytest.raises(Problem, match="was not stopped: AccessDeniedException") as caught:
        list(stop(own, Names("prod", "binventory"), "binventory-prod-count-0123456789ab-1"))
    assert "it bills until it ends" in caught.value.cure
    assert caught.value.cure.endswith("binventory stop binventory-prod-count-0123456789ab-1 --env prod")


def jobs(client: ClientFactory, purpose: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = until(
        lambda: client("sagemaker").list_transform_jobs(NameContains=f"dev-{purpose}-")["TransformJobSummaries"]
    )
    return found


@pytest.mark.usefixtures("environment", "nothing_left")
def test_a_model_that_was_rejected_while_the_endpoint_is_off_counts_nothing(
    client: ClientFactory, aws: Aws, package: str, tmp_path: Path
) -> None:
    """The stack keeps the package that it served last, and no rollout replaces that one while the endpoint is off."""
    uri = put(client, "rejected/bin-images/", {"00010.jpg": 2}).removesuffix("bin-images/")
    client("s3").put_object(Bucket=BUCKET, Key="rejected/metadata/00010.json", Body=b'{"EXPECTED_QUANTITY": 3}')
    sagemaker, cloudformation = client("sagemaker"), client("cloudformation")
    inference = sagemaker.describe_model_package(ModelPackageName=package)["InferenceSpecification"]
    (container,) = inference["Containers"]
    inference["Containers"] = [{name: container[name] for name in ("Image", "ModelDataUrl")}]
    newer = sagemaker.create_model_package(ModelPackageGroupName="binventory-dev", InferenceSpecification=inference)
    served = newer["ModelPackageArn"]
    sagemaker.update_model_package(ModelPackageArn=served, ModelApprovalStatus="Rejected")
    stack = {"StackName": "binventory-dev-serving"}
    before = json.dumps(cloudformation.get_template(**stack)["TemplateBody"])

    def switch(state: str) -> None:
        given = {"EndpointState": state, "ModelPackageArn": served}
        template = {**json.loads(before), "Parameters": {name: {"Type": "String"} for name in given}}
        values = [{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()]
        cloudformation.update_stack(**stack, TemplateBody=json.dumps(template), Parameters=values)
        cloudformation.get_waiter("stack_update_complete").wait(**stack, WaiterConfig={"Delay": 1})

    switch("on")
    assert find_site(aws, NAMES).package == served, "it is what the endpoint serves"
    switch("off")
    out = tmp_path / "out"
    assert cli.run(["audit", uri, "--batch", "--yes", "--format", "jsonl", "--output", str(out)]) == Exit.OK
    (row,) = [json.loads(line) for line in (out / "disagreements.jsonl").read_text().splitlines()]
    assert row["model_package"] == package
    cloudformation.update_stack(**stack, TemplateBody=before)
    cloudformation.get_waiter("stack_update_complete").wait(**stack, WaiterConfig={"Delay": 1})


def wait_until_ended(client: ClientFactory, name: str) -> None:
    describe = client("sagemaker").describe_transform_job
    until(lambda: describe(TransformJobName=name)["TransformJobStatus"] == "Completed")


@pytest.mark.usefixtures("environment", "nothing_left")
@pytest.mark.parametrize("listed_before", [True, False])
def test_answers_that_another_run_deletes_meanwhile_are_not_taken_for_none(
    client: ClientFactory, aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed_before: bool
) -> None:
    """Two people audit the same prefix at the same time: the bins of the slower one stood as without a prediction."""
    place = f"taken-{listed_before}".lower()
    names = [f"{number:05d}" for number in range(10, 50, 10)]
    uri = put(client, f"{place}/", {f"bin-images/{name}.jpg": 2 for name in names})
    for name in names:
        client("s3").put_object(Bucket=BUCKET, Key=f"{place}/metadata/{name}.json", Body=b'{"EXPECTED_QUANTITY": 2}')
    listing = TransformBatch._answer_keys
    seen: list[str] = []

    def meanwhile(batch: TransformBatch, name: str) -> Iterator[str]:
        """The answers as they are listed after the other has deleted some; with `listed_before`, all of them."""
        found = list(listing(batch, name))
        if len(found) == len(names):
            seen[:] = found
            keys = [f"batch/{name}/manifest.json", *found[:2]]
            client("s3").delete_objects(Bucket=DATA, Delete={"Objects": [{"Key": key} for key in keys]})
        return iter(seen if listed_before else listing(batch, name))

    audit = ["audit", uri, "--batch", "--yes", "--json", "--output", str(tmp_path / "out")]
    with monkeypatch.context() as patch, pytest.raises(Problem, match="were deleted while they were read") as caught:
        patch.setattr(TransformBatch, "_answer_keys", meanwhile)
        request = job.Request(uri, tmp_path / "out", batch=True, names=NAMES, formats=("jsonl",))
        job.run_audit(request, lambda: aws)
    assert "run the same command again" in caught.value.cure
    assert cli.run([*audit, "--format", "jsonl"]) == Exit.OK
    rows = [json.loads(line) for line in (tmp_path / "out" / "disagreements.jsonl").read_text().splitlines()]
    assert sorted(row["image_id"] for row in rows) == names
    for each in jobs(client, "audit"):
        TransformBatch(aws, find_site(aws, NAMES), "audit")._clean(each["TransformJobName"])


@pytest.mark.usefixtures("nothing_left")
def test_answers_for_photos_that_have_changed_since_are_not_taken(
    client: ClientFactory, aws: Aws, tmp_path: Path, environment: None
) -> None:
    """Of a job that a computer which died has left, for photos of the same names: they may be two weeks old."""
    uri = put(client, "retaken/bin-images/", {"00001.jpg": 2, "00002.jpg": 3, "other.txt": 1})
    for name in ("00001", "00002"):
        client("s3").put_object(Bucket=BUCKET, Key=f"retaken/metadata/{name}.json", Body=b'{"EXPECTED_QUANTITY": 2}')
    keys = ["retaken/bin-images/00001.jpg", "retaken/bin-images/00002.jpg"]
    left = {
        "count": Photos(f"s3://{BUCKET}/", keys),
        "audit": Photos(f"s3://{BUCKET}/retaken/", [key.removeprefix("retaken/") for key in keys]),
    }
    for purpose, photos in left.items():
        batch = TransformBatch(aws, find_site(aws, NAMES), purpose)
        wait_until_ended(client, batch._started_or_found(photos))
    time.sleep(1.1)  # S3 writes whole seconds
    put(client, "retaken/bin-images/", {"00001.jpg": 5})
    assert cli.run(["count", uri, "--yes", "--output", str(tmp_path / "counts.jsonl")]) == Exit.OK
    counted = [json.loads(line) for line in (tmp_path / "counts.jsonl").read_text().splitlines()]
    assert [row["count"] for row in counted] == [5, 3]
    audit = [
        "audit",
        f"s3://{BUCKET}/retaken/",
        "--batch",
        "--yes",
        "--format",
        "jsonl",
        "--output",
        str(tmp_path / "a"),
    ]
    assert cli.run(audit) == Exit.OK
    rows = [json.loads(line) for line in (tmp_path / "a" / "disagreements.jsonl").read_text().splitlines()]
    assert {row["image_id"]: row["likely"] for row in rows} == {"00001": 5, "00002": 3}
    for purpose in left:
        for each in jobs(client, purpose):
            TransformBatch(aws, find_site(aws, NAMES), purpose)._clean(each["TransformJobName"])
