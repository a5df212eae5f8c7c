"""Ingest as processes: start, share the work, are killed, are interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from benchmarks.object_server import LISTING, Fault, ObjectServer
from ingestion import workers as workers_module
from tests.unit.bin_bucket import bucket, files
from tests.unit.bin_ingest import forget_credentials, ingest, ingest_process

IN_SHARDS = ("--shard-photos", "60")


@pytest.fixture(autouse=True)
def without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket is public."""
    forget_credentials(monkeypatch)


def test_a_killed_worker_leaves_what_the_next_run_completes_to_the_same_bytes(tmp_path: Path) -> None:
    objects = bucket(blocks=10, photos=20)
    arguments = ["--shard-photos", "20", "--concurrency", "2"]
    marks = tmp_path / "out/report/units"

    def no_more(key: str, before: int) -> Fault | None:
        """The first finished shard is followed by no other."""
        return Fault.STALL if list(marks.glob("*.json")) else None

    with ObjectServer(objects, fault=no_more) as server:
        worker = ingest_process(server, tmp_path / "out", *arguments)
        while worker.poll() is None and not list(marks.glob("*.json")):
            time.sleep(0.005)
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
        assert worker.returncode == -signal.SIGKILL, "the worker was done before it could be killed"
        server.fault = None
        finished = len(list(marks.glob("*.json")))
        assert 0 < finished < 10
        assert ingest(server, tmp_path / "out", *arguments) == 0
        assert ingest(server, tmp_path / "clean", *arguments) == 0
    assert files(tmp_path / "out") == files(tmp_path / "clean")


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """Its worker processes; the resource tracker of multiprocessing is a child too, and no worker."""
    return [child for child in process.children() if "spawn_main" in " ".join(child.cmdline())]


def workers_once_started(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Two workers of an ingest, as soon as they run."""
    while True:
        assert process.poll() is None, "the ingest ended before it had started its workers"
        # A child may end between the list of children and a look at it.
        with suppress(psutil.NoSuchProcess):
            if len(workers := workers_of(psutil.Process(process.pid))) == 2:
                return workers
        time.sleep(0.02)  # a look at every process of the machine takes a few thousandths of a second


@pytest.fixture
def many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small buckets get a process for every core too."""
    monkeypatch.setattr(workers_module, "_WORTH_A_PROCESS", 1)


@pytest.mark.usefixtures("many_processes")
def test_any_number_of_processes_makes_the_same_bytes_and_one_outage_ends_them_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = bucket(blocks=9)

    def denied(key: str, before: int) -> Fault | None:
        return Fault.DENY if key == "bin-images/00504.jpg" else None

    with ObjectServer(objects, fault=denied, latency=0.01) as server:
        assert ingest(server, tmp_path / "two", "--shard-photos", "10", "--cores", "2") == 1
    assert "s3:GetObject" in capsys.readouterr().err
    with ObjectServer(objects) as server:
        assert ingest(server, tmp_path / "two", "--shard-photos", "10", "--cores", "2") == 0
        assert ingest(server, tmp_path / "one", "--shard-photos", "10", "--cores", "1") == 0
    assert files(tmp_path / "two") == files(tmp_path / "one")


@pytest.mark.usefixtures("many_processes")
@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (signal.SIGKILL, "was killed; if memory ran out, give a smaller --memory-mb"),
        (signal.SIGINT, "was interrupted; run again"),
    ],
)
def test_a_worker_that_is_killed_fails_the_job_with_the_likely_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sent: signal.Signals, said: str
) -> None:
    def kill(key: str, _: int) -> Fault | None:
        if key.startswith("bin-images/003"):
            # One of them asked for it, and is not idle.
            for worker in workers_of(psutil.Process()):
                worker.send_signal(sent)
        return None

    with ObjectServer(bucket(blocks=9), fault=kill) as server:
        assert ingest(server, tmp_path, "--shard-photos", "10", "--cores", "2") == 1
    assert said in capsys.readouterr().err


def test_workers_end_with_a_parent_that_is_killed_while_it_lists(tmp_path: Path) -> None:
    """They wait for work then, and no photo makes them look."""

    def stalled_metadata(key: str, before: int) -> Fault | None:
        """The photos are listed, whatever is asked for first; their metadata never is."""
        return Fault.STALL if key == LISTING and server.listing.startswith("metadata/") else None

    with ObjectServer(bucket(blocks=12, photos=60), latency=0.02, fault=stalled_metadata) as server:
        process = ingest_process(server, tmp_path / "out", "--cores", "2")
        workers = workers_once_started(process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not psutil.wait_procs(workers, timeout=60)[1]


def test_a_second_ingest_into_the_same_output_says_so_and_leaves_the_first_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, refused = threading.Event(), threading.Event()

    def hold(key: str, before: int) -> Fault | None:
        """No answer until the second ingest has been refused."""
        asked.set()
        refused.wait(60)
        return None

    with ObjectServer(bucket(), fault=hold) as server:
        process = ingest_process(server, tmp_path / "out", "--concurrency", "2")
        assert asked.wait(60), "the first ingest asked for nothing"
        assert ingest(server, tmp_path / "out") == 1
        assert "another ingest writes to" in capsys.readouterr().err
        refused.set()
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert ingest(server, tmp_path / "clean") == 0
    assert files(tmp_path / "out") == files(tmp_path / "clean")


def test_an_error_with_requests_under_way_ends_with_status_1(tmp_path: Path) -> None:
    def denied(key: str, before: int) -> Fault | None:
        return Fault.DENY if key == "metadata/00304.json" else None

    with ObjectServer(bucket(), fault=denied, latency=0.1) as server:
        for number in range(3):
            process = ingest_process(server, tmp_path / str(number), "--limit-per-class", "5", "--cores", "1")
            _, said = process.communicate(timeout=60)
            assert (process.returncode, said.count("\n")) == (1, 1), said


@pytest.mark.parametrize("file", ["train/train-00000.tar", "report/units/test-00000.json", "report/books.json"])
def test_a_full_disk_is_named_and_the_next_run_makes_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    """/dev/full answers every write as a full disk does."""
    with ObjectServer(bucket()) as server:
        part = tmp_path / "out" / f"{file}.part"
        part.parent.mkdir(parents=True)
        part.symlink_to("/dev/full")
        assert ingest(server, tmp_path / "out") == 1
        error = capsys.readouterr().err
        assert "no space is left on the disk" in error and error.count("\n") == 1
        assert not list((tmp_path / "out").rglob("*.part"))
        assert ingest(server, tmp_path / "out") == 0
        assert ingest(server, tmp_path / "clean") == 0
    assert files(tmp_path / "out") == files(tmp_path / "clean")


@pytest.mark.usefixtures("many_processes")
def test_processes_are_ready_when_the_listing_ends(tmp_path: Path) -> None:
    seen: list[int] = []

    def count(key: str, _: int) -> Fault | None:
        if key != LISTING and not seen:
            seen.append(len(workers_of(psutil.Process())))
        return None

    with ObjectServer(bucket(blocks=9), fault=count) as server:
        assert ingest(server, tmp_path) == 0
    # The first request after the listing is one of the probes, before anything is planned.
    assert seen == [2]


@pytest.fixture(scope="module")
def large() -> dict[str, bytes]:
    """A bucket that takes some seconds."""
    return bucket(blocks=12, photos=60)


@pytest.fixture(scope="module")
def clean(large: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an ingest of it makes that nothing interrupts, by one process, since their number shows nowhere."""
    output = tmp_path_factory.mktemp("ingest") / "clean"
    with pytest.MonkeyPatch.context() as patch, ObjectServer(large) as server:
        forget_credentials(patch)
        assert ingest(server, output, *IN_SHARDS, "--cores", "1") == 0
    return files(output)


@pytest.mark.parametrize("when", ["while listing", "at work", "at work, twice"])
def test_ctrl_c_ends_all_processes_in_one_line_and_the_next_run_goes_on(
    large: dict[str, bytes], clean: dict[str, bytes], tmp_path: Path, when: str
) -> None:
    arguments = [*IN_SHARDS, "--cores", "2"]
    marks = tmp_path / "out/report/units"
    with ObjectServer(large, latency=0.02) as server:
        process = ingest_process(server, tmp_path / "out", *arguments)
        if when == "while listing":
            workers_once_started(process)
        else:
            while not list(marks.glob("*.json")):
                assert process.poll() is None, "the ingest ended before it could be interrupted"
                time.sleep(0.005)
        children = psutil.Process(process.pid).children()
        os.killpg(process.pid, signal.SIGINT)
        if when.endswith("twice"):
            time.sleep(0.03)
            os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130, said
        assert said.count("\n") == 1 and "finished shards are kept" in said
        assert not any(child.is_running() for child in psutil.wait_procs(children, timeout=10)[1])
        assert not list((tmp_path / "out").rglob("*.part"))
        assert len(list(marks.glob("*.json"))) < 12
        server.latency = 0.0
        assert ingest(server, tmp_path / "out", *arguments) == 0
    assert files(tmp_path / "out") == clean
