"""Jobs that faults are injected into: a fresh start, a run that continues where an earlier one stopped, and a result.

They run in processes that are forked from one which has imported everything, so that a run takes no time for imports.
"""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Final

import boto3

from benchmarks.damaging.stages import (
    Made,
    Refused,
    run_embed,
    run_evaluate,
    run_ingest_again,
    run_train_everything,
    run_train_head,
    stages,
)
from benchmarks.object_server import BUCKET
from binventory.audit.job import Request, run_audit
from binventory.core.aws import Aws
from binventory.core.errors import Problem
from binventory.core.names import Names
from binventory.render import render_bucket
from jobs.container import run_job

_CONTEXT: Final = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["benchmarks.faulting.jobs"])
AUDITED: Final = ("disagreements.csv", "disagreements.jsonl", "disagreements.parquet", "set_aside.csv")
S3, ENDPOINT, SAGEMAKER = "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", "AWS_ENDPOINT_URL_SAGEMAKER"


@dataclass(frozen=True)
class Job:
    """`run(place, out)` works in a folder that survives, writes to another, and gives what it made."""

    name: str
    run: Callable[[Path, Path], Made]
    source: Path | None = None
    """What is in `place` before the first attempt; None: nothing."""
    forget: tuple[str, ...] = ()
    """Patterns, under `source`, of what an earlier attempt left."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of its process."""

    def prepare(self, place: Path) -> None:
        """Make `place` as the first attempt finds it."""
        if self.source is None:
            place.mkdir(parents=True)
            return
        shutil.copytree(self.source, place)
        for pattern in self.forget:
            for path in place.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def steps(world: Path, photos: int) -> list[Job]:
    """The steps of the pipeline, over the files of a small bucket of rendered bins."""
    bucket, files = world / "bucket", world / "files"
    render_bucket(bucket, photos=photos, seed=0)
    stages(files, bucket)
    return [
        Job("ingest", partial(_ingest, bucket)),
        Job("embed", partial(_embed, files / "ingest")),
        Job("train a head", _train_head, files / "trained", ("checkpoints",)),
        Job("train everything", run_train_everything, files / "ingest"),
        Job("evaluate", run_evaluate, files / "evaluated"),
    ]


def _ingest(bucket: Path, place: Path, out: Path) -> Made:
    return run_ingest_again(bucket, place)


def _embed(shards: Path, place: Path, out: Path) -> Made:
    return run_embed(shards, place / "model")


def _train_head(place: Path, out: Path) -> Made:
    return run_train_head(place, out, checkpoints=place / "checkpoints")


def over_the_network(environment: Mapping[str, str]) -> list[Job]:
    """Ingest and audit of the bins in the bucket, by the endpoint; the environment says where both are."""
    return [
        Job("ingest", _ingest_bucket, environment=environment),
        Job("audit", _audit, environment=environment),
    ]


def _ingest_bucket(place: Path, out: Path) -> Made:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.pop(name, None)
    return run_ingest_again(f"s3://{BUCKET}/", place)


def _audit(place: Path, out: Path) -> Made:
    """The ledger and the lists are in `place`: an audit continues where its output is."""
    aws = Aws(boto3.Session("test", "test", region_name="us-east-1"))
    request = Request(f"s3://{BUCKET}/", place / "audit", endpoint="e", batch=False, names=Names("dev", "binventory"))
    run_audit(request, lambda: aws)
    return {name: (place / "audit" / name).read_bytes() for name in AUDITED}


class Attempt:
    """One attempt at a job, in another process."""

    def __init__(self, work: Job, place: Path, out: Path, before: Sequence[Callable[[], None]] = ()) -> None:
        self._result = out.with_name(out.name + ".made")
        self._said = out.with_name(out.name + ".said")
        self._result.unlink(missing_ok=True)
        arguments = (work, place, out, str(self._result), str(self._said), tuple(before))
        self._process: ForkServerProcess = _CONTEXT.Process(target=_run, args=arguments)
        self._process.start()

    def kill_after(self, seconds: float) -> None:
        """SIGKILL, unless it has ended by then."""
        self._process.join(seconds)
        self._process.kill()

    def status(self) -> int:
        """The exit status, minus the signal that ended it."""
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    @property
    def said(self) -> str:
        """Standard error."""
        return self._said.read_text() if self._said.exists() else ""

    @property
    def named(self) -> bool:
        """Whether an attempt that failed says why, in words: it was not ended by a signal, and not by a traceback."""
        words = self.said
        errors = any(line.startswith("error: ") for line in words.splitlines())
        return self.status() > 0 and errors and "Traceback" not in words

    @property
    def made(self) -> Made | None:
        """What it made; None if it did not end well."""
        return pickle.loads(self._result.read_bytes()) if self._result.exists() else None


def _run(work: Job, place: Path, out: Path, result: str, said: str, before: Any) -> None:
    for descriptor, name in ((1, os.devnull), (2, said)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.environ.update(work.environment)
    for each in before:
        each()

    def do() -> None:
        made = work.run(place, out)
        part = Path(result + ".part")
        part.write_bytes(pickle.dumps(made))
        part.replace(result)

    sys.stderr = os.fdopen(2, "w", closefd=False)
    os._exit(run_job(partial(_as_the_command_line_does, do)))


def _as_the_command_line_does(do: Callable[[], None]) -> None:
    try:
        do()
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr, flush=True)
        os._exit(problem.code)
    except Refused as refused:
        words = str(refused).strip()
        print(words if words.startswith("error: ") else f"error: {words}", file=sys.stderr, flush=True)
        os._exit(1)


@contextmanager
def folders(parent: Path, work: Job) -> Iterator[tuple[Path, Path]]:
    """`place` and `out` of one trial."""
    place, out = parent / "place", parent / "out"
    parent.mkdir(exist_ok=True)
    work.prepare(place)
    try:
        yield place, out
    finally:
        for path in parent.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
