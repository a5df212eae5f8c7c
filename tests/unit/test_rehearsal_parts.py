"""Parts of the rehearsal: uploads, the proof that nothing is left, the CDK process, the screen."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from binventory import executions
from binventory.cli.look import bars, duration
from binventory.cli.screen import show
from binventory.core.aws import Aws, connect
from binventory.core.beside import StoppedError
from binventory.core.errors import Problem
from binventory.core.journal import Journal
from binventory.core.names import Names
from binventory.deployment.cdk import Cdk, progress
from binventory.executions.watching import StepWatcher, epoch_note
from binventory.rehearsal import ending, leftovers, source
from binventory.rehearsal.result import Options, Result
from binventory.rehearsal.steps import Steps
from binventory.render import render_bucket
from binventory.render.claim import MARK
from binventory.report.record import curve_of
from binventory.serving import EndpointAnswer
from local_aws.core.host import free_port
from tests.forked import ForkedAws


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with ForkedAws(tmp_path_factory.mktemp("aws")) as started:
        yield connect(started.environment())


def test_every_file_arrives_under_the_public_buckets_keys(aws: Aws, tmp_path: Path) -> None:
    folder = source.render(tmp_path, 30)
    (folder / "labels.csv").write_text("image_id,count\n00100,3\n")
    drawn = len(list((folder / "bin-images").iterdir()))
    (folder / "bin-images" / "Thumbs.db").write_bytes(b"x")
    said: list[tuple[int, int]] = []
    found = source.fill(aws, folder, lambda done, total: said.append((done, total)), bucket="bins")
    pages = aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket="bins")
    stored = {item["Key"]: item["Size"] for page in pages for item in page["Contents"]}
    local = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    assert stored == local
    assert said[-1] == (found.files, found.files) == (len(local), len(local))
    assert found.photos == drawn
    assert found.labels_uri == "s3://bins/labels.csv"
    assert "bins" in leftovers.in_account(aws).found["buckets"]
    ending.empty(aws, "bins")
    ending.empty(aws, "bins")
    assert leftovers.in_account(aws).none


def test_a_report_has_every_epoch_of_a_long_training(aws: Aws) -> None:
    logs, group = aws.client("logs"), "/aws/sagemaker/TrainingJobs"
    logs.create_log_group(logGroupName=group)
    try:
        logs.create_log_stream(logGroupName=group, logStreamName="long/algo-1")
        said = [
            {"timestamp": number, "message": line}
            for number in range(1, 1001)
            for line in (f"epoch={number} train:loss=1.5", f"watch epoch={number} watch:fired=none")
        ]
        logs.put_log_events(logGroupName=group, logStreamName="long/algo-1", logEvents=said)
        assert [epoch.number for epoch in curve_of(aws, "long").epochs] == list(range(1, 1001))
    finally:
        logs.delete_log_group(logGroupName=group)


def test_photos_are_found_whatever_they_end_with_as_ingest_takes_them(tmp_path: Path) -> None:
    photos = tmp_path / "bin-images"
    photos.mkdir()
    for name in ("00001.jpg", "00002.PNG", "00003.JPEG", "00003.png", "00004.png", "00004.jpg", "Thumbs.db"):
        (photos / name).write_bytes(b"x")
    assert source.photo_keys(tmp_path) == {
        "00001": "bin-images/00001.jpg",
        "00002": "bin-images/00002.PNG",
        "00003": "bin-images/00003.JPEG",
        "00004": "bin-images/00004.jpg",
    }


def test_a_bucket_whose_objects_stay_is_named_with_the_first_of_them(aws: Aws) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="held")
    s3.put_object(Bucket="held", Key="kept", Body=b"x")

    def refuse(parsed: dict[str, object], **given: object) -> None:
        parsed["Errors"] = [{"Key": "kept", "Code": "AccessDenied", "Message": "Access Denied"}]

    s3.meta.events.register("after-call.s3.DeleteObjects", refuse)
    try:
        with pytest.raises(Problem, match="kept first: AccessDenied Access Denied") as caught:
            ending.empty(aws, "held")
        assert "s3:DeleteObjectVersion" in caught.value.cure
    finally:
        s3.meta.events.unregister("after-call.s3.DeleteObjects", refuse)
    ending.empty(aws, "held")


def test_without_labels_the_metadata_counts(aws: Aws, tmp_path: Path) -> None:
    found = source.fill(aws, source.render(tmp_path, 3), lambda done, total: None, bucket="few")
    assert found.labels_uri == "none"
    ending.empty(aws, "few")


def filling(aws: Aws, folder: Path, bucket: str) -> Steps:
    options = Options(repository=folder, state_dir=folder, names=Names("dev", "binventory"), photos_count=300)
    steps = Steps(options, Journal(), Result())
    steps.aws, steps.bucket = aws, bucket
    return steps


def stops_at(look: int) -> Callable[[], None]:
    looks = count(1)

    def check() -> None:
        if next(looks) == look:
            raise StoppedError

    return check


def test_rendering_stops_when_the_deployment_beside_it_fails(aws: Aws, tmp_path: Path) -> None:
    steps = filling(aws, tmp_path, "not-begun")
    with pytest.raises(StoppedError):
        steps.fill(stops_at(3))
    (entry,) = steps.journal.entries
    assert (entry.state, entry.note) == ("failed", "3 of 300 bins rendered")
    assert len(list((tmp_path / "photos" / "metadata").iterdir())) < 100
    assert "not-begun" not in leftovers.in_account(aws).found["buckets"]


def test_storing_stops_when_the_deployment_beside_it_fails(aws: Aws, tmp_path: Path) -> None:
    steps = filling(aws, tmp_path, "begun")
    with pytest.raises(StoppedError):
        steps.fill(stops_at(303))
    (entry,) = steps.journal.entries
    assert entry.state == "failed" and entry.note.startswith("3 of ") and entry.note.endswith(" files")
    assert 3 <= len(aws.client("s3").list_objects_v2(Bucket="begun")["Contents"]) < 300
    ending.empty(aws, "begun")


@pytest.mark.parametrize(
    ("variables", "arguments"),
    [
        ({"SAGEMAKER_USER_CONFIG_OVERRIDE": "kept/sagemaker.yaml"}, ()),
        ({"PWD": "kept/aws"}, ()),
        ({"STATE": "kept-too/aws"}, ()),
        ({}, ("kept-too/aws",)),
    ],
    ids=["its exports", "its folder", "a neighbour", "an argument of a neighbour"],
)
def test_what_a_person_runs_beside_it_is_not_left_over(
    variables: dict[str, str], arguments: tuple[str, ...], tmp_path: Path
) -> None:
    given = {name: str(tmp_path / value) for name, value in variables.items()}
    command = [sys.executable, "-c", "input()", *(str(tmp_path / argument) for argument in arguments)]
    beside = subprocess.Popen(command, env={**os.environ, **given}, stdin=subprocess.PIPE)
    try:
        assert leftovers.on_machine(tmp_path / "kept", free_port(), "binventory-dev").none
    finally:
        beside.kill()
        beside.wait()


def test_a_forgotten_process_and_an_open_port_are_found(tmp_path: Path) -> None:
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, "STATE": str(tmp_path / "aws")}
    )
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        found = leftovers.on_machine(tmp_path, port, "binventory-dev")
    sleeper.kill()
    sleeper.wait()
    assert found.found["ports"] == (str(port),)
    assert [text.split()[0] for text in found.found["processes"]] == [str(sleeper.pid)]
    assert leftovers.on_machine(tmp_path, free_port(), "binventory-dev").none


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose `cdk` is a script, to see how its failure and its interruption are handled."""
    script = tmp_path / "node_modules" / ".bin" / "cdk"
    script.parent.mkdir(parents=True)
    script.write_text(
        f"#!{sys.executable}\n"
        "import os, sys, time\n"
        "print('\\x1b[31mcolour\\x1b[0m', os.environ.get('AWS_PROFILE'), os.environ['AWS_REGION'], flush=True)\n"
        "print('telemetry off:', os.environ['CDK_DISABLE_CLI_TELEMETRY'], flush=True)\n"
        "if 'destroy' in sys.argv: time.sleep(60)\n"
        "print('Error: the account is full'); sys.exit(3)\n"
    )
    script.chmod(0o755)
    return tmp_path


def test_a_failing_cdk_shows_its_reason_and_the_whole_log(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    cdk = Cdk(checkout, checkout / "out", checkout / "cdk.log", {"AWS_REGION": "us-east-1"})
    with pytest.raises(Problem) as caught:
        cdk.deploy("env=dev", lambda line: None)
    assert "exit code 3" in caught.value.what
    assert caught.value.why == "Error: the account is full"
    assert caught.value.log[0] == "colour None us-east-1", "a profile of the caller must not reach a rehearsal"
    assert caught.value.log[1] == "telemetry off: true"
    assert "the account is full" in (checkout / "cdk.log").read_text()


def test_an_interrupted_cdk_leaves_no_process(checkout: Path) -> None:
    cdk = Cdk(checkout, checkout / "out", checkout / "cdk.log", {"AWS_REGION": "us-east-1"})

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cdk.destroy(interrupt)
    left: list[psutil.Process] = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # one of another test that has just ended
            if "cdk" in " ".join(child.cmdline()):
                left.append(child)
    assert left == []


def test_a_missing_cdk_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        Cdk(tmp_path, tmp_path, tmp_path / "log", {}).deploy("env=dev", lambda line: None)
    assert caught.value.cure == "run: make setup"


def test_progress_of_a_deploy_fits_a_status_column() -> None:
    line = "binventory-dev-storage |  3/15 | 6:14:27 AM | CREATE_COMPLETE      | AWS::S3::Bucket | DataBucket"
    assert progress(line) == "binventory-dev-storage DataBucket create complete"
    assert progress("Trusted accounts for lookup: (none)") is None


def test_steps_end_as_their_block_ends() -> None:
    journal = Journal()
    journal.plan("first", "second", "third")
    with journal.step("first") as entry:
        journal.note(entry, "well")
    with pytest.raises(ValueError, match="broken"), journal.step("second"):
        raise ValueError("broken")
    journal.skip_waiting()
    assert [(entry.name, entry.state) for entry in journal.snapshot()] == [
        ("first", "done"),
        ("second", "failed"),
        ("third", "skipped"),
    ]
    assert all((entry.seconds(0) or 0) >= 0 for entry in journal.snapshot())


def test_a_pipe_gets_a_line_when_a_step_begins_and_when_it_ends() -> None:
    text = io.StringIO()
    journal = Journal()
    with show(journal, Console(file=text, force_terminal=False)), journal.step("Deploy") as entry:
        for number in range(50):
            journal.note(entry, f"resource {number}")
    lines = text.getvalue().splitlines()
    assert len(lines) == 2
    assert "Deploy ..." in lines[0]
    assert lines[1].endswith("resource 49")


@pytest.mark.parametrize("width", [80, 200])
def test_a_terminal_gets_one_row_a_step_that_fits(width: int) -> None:
    text = io.StringIO()
    journal = Journal()
    journal.plan("Deploy", "Destroy")
    console = Console(file=text, force_terminal=True, width=width, color_system=None, _environ={"TERM": "xterm"})
    with show(journal, console), journal.step("Deploy") as entry:
        journal.note(entry, "[bold]x" * 100)
    last = text.getvalue().rsplit("\x1b[2K", 1)[-1]
    rows = [row for row in last.splitlines() if "Deploy" in row or "Destroy" in row]
    assert len(rows) == 2
    assert all(len(row) <= width for row in rows)
    assert "Deploy " in rows[0]
    assert "✓" in rows[0]
    assert "[bold]x" in rows[0], "notes are text, not markup"


def test_the_journal_may_be_read_while_it_is_written() -> None:
    journal = Journal()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            for entry in journal.snapshot():
                entry.seconds(journal.now())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(300):
        with journal.step(f"step {number}"):
            pass
    stop.set()
    reader.join()
    assert len(journal.snapshot()) == 300


def test_an_epoch_is_noted_in_words() -> None:
    line = (
        "epoch=3 train:loss=0.1 train:accuracy=0.5 validation:loss=1.25e+00 validation:accuracy=0.4 validation:rmse=1.1"
    )
    assert epoch_note(line) == "epoch 3, validation loss 1.250, accuracy 0.400"
    assert epoch_note("epoch=7") == "epoch 7"


LOG = [
    "epoch=1 validation:loss=1.5 validation:accuracy=0.3",
    "epoch=2 validation:loss=1.25 validation:accuracy=0.4",
    "epoch=3 validation:loss=1.375 validation:accuracy=0.5",
]
KEPT = "best epoch=2 validation:loss=1.25 validation:accuracy=0.4"
EMBEDDING = ["embedding photos=512 of=2048 rate=210.4 left=7", "embedding photos=1024 of=2048 rate=1210.4 left=1"]
LAST = ["embedding photos=2048 of=2048 rate=1500 left=0", "embedded photos=2048 parts=4 seconds=1.4 engine=OpenVINO"]


@pytest.mark.parametrize(
    ("step", "log", "note"),
    [
        ("Train", [], "a-job"),
        ("Train", LOG, "epoch 3, validation loss 1.375, accuracy 0.500"),
        ("Train", [*LOG, KEPT], "kept epoch 2, validation loss 1.250, accuracy 0.400 (last: epoch 3)"),
        ("Embed", [], "a-job"),
        ("Embed", EMBEDDING[:1], "512 of 2,048 photos, 210/s, 7.0 s left"),
        ("Embed", EMBEDDING, "1,024 of 2,048 photos, 1,210/s, 1.0 s left"),
        ("Embed", [*EMBEDDING, *LAST], "2,048 photos, 1,500/s"),
    ],
)
def test_a_jobs_log_becomes_the_note_of_its_step(
    step: str, log: list[str], note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executions, "job_log", lambda aws, kind, job: tuple(log))
    journal = Journal()
    watcher = StepWatcher(Aws(session=None), journal)  # type: ignore[arg-type]  # the log is all that is read
    running = executions.ExecutionStep(step, "Executing", None, None, "", "TrainingJob", "arn:x/a-job")
    watcher.update(executions.Execution("arn:p/execution/1", "Executing", "", (running,)))
    assert journal.entry(step).note == note


@pytest.mark.parametrize(("drawn", "kind"), [(True, "rendered"), (False, "real")])
def test_drawn_photos_are_not_called_real(drawn: bool, kind: str, tmp_path: Path) -> None:
    """Also where they come from a folder, as in the README."""
    folder = tmp_path / "bins"
    render_bucket(folder, photos=2)
    if drawn:
        (folder / MARK).write_text('{"photos": 2}')
    assert source.kind_of(folder) == kind
    assert source.kind_of(None) == "rendered"


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.04, "0.0 s"), (9.94, "9.9 s"), (12.3, "12 s"), (90, "1:30"), (725.9, "12:05")]
)
def test_times_read_well(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_probabilities_fit_one_cell() -> None:
    answer = EndpointAnswer(2, {1: 0.1, 2: 0.895, 3: 0.005}, 1.9, 4.0)
    assert bars(answer) == "1 .10  2 .90  3 .01"
    assert answer.confidence == 0.895
