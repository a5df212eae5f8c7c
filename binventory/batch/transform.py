"""Counts a list of photos by one transform job: makes the model, starts or finds the job, reads answers, cleans up."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from botocore.exceptions import ClientError

from binventory.batch.cleaning import delete_below, delete_model
from binventory.batch.estimate import limit_seconds
from binventory.batch.ordered_map import ordered_map
from binventory.batch.site import Site
from binventory.core.aws import DENIED, Aws, error_code, error_message
from binventory.core.contents import bucket_and_key
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names
from binventory.core.objects import read_at
from binventory.core.quick_objects import QuickObjects
from binventory.core.remains import Left
from binventory.core.words import counted
from stacks.names import TRANSFORM_GROUP

MANIFEST: Final = "manifest.json"
ANSWERS: Final = "answers/"
MAX_PHOTO_BYTES: Final = 6 * 1024 * 1024
"""The server's limit for a photo from Batch Transform; one larger photo would fail its job."""
_LOG_LINES: Final = 12
_READERS: Final = 16
_RUNNING: Final = {"InProgress", "Stopping"}
_STOP_SECONDS: Final = 600.0
_COUNTED_ONE_IN: Final = 20
"""Of so many seconds, one goes into counting the answers of a running job: it lists all of them each time."""

Heard = Callable[[str, int], None]
"""Called while a job runs: the job's name, and how many of its photos have been answered."""
Halted = Callable[[str, bool], None]
"""Called with the name of a job that is stopped because the block was left: before it is asked to stop (False), and
after that with whether it has ended."""


@dataclass(frozen=True)
class Photos:
    """The photos of one job."""

    prefix: str
    """`s3://bucket/prefix/`, or without a prefix."""
    paths: Sequence[str]
    """Keys below the prefix."""
    changed: Callable[[], datetime | None] = lambda: None
    """When the last of them was written, None where that is not known. Called where a run before has left a job."""

    @property
    def manifest(self) -> bytes:
        """SageMaker's manifest file."""
        return json.dumps([{"prefix": self.prefix}, *self.paths]).encode()


@dataclass(frozen=True)
class Answers:
    """The answers of one job: (path, the server's JSON answer) of the photos that have one, in any order, once."""

    found: Iterator[tuple[str, Any]]
    failure: str
    """How the job failed, as `the transform job NAME failed: REASON`; empty for one that completed."""

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return self.found

    def missing(self, lacking: int, photos: int, again: str) -> str:
        """A sentence about the photos that a failed job has no answer for; empty where there is nothing to say.

        again: what the same command does the next time.
        """
        if not (self.failure and lacking):
            return ""
        said = f"{self.failure[0].upper()}{self.failure[1:]}".removesuffix(".")
        return f"{said}. Without an answer: {lacking:,} of {counted(photos, 'photo')}; {again}."


class NoAnswersProblem(Problem):
    """A job gave no answers at all."""


@dataclass(frozen=True)
class TransformBatch:
    """Runs transform jobs of one environment. `purpose` becomes part of their names: count, audit."""

    aws: Aws
    site: Site
    purpose: str
    poll_seconds: float = 15.0
    halted: Halted = lambda name, ended: None
    left: Left = lambda remains: None

    @contextmanager
    def answers(self, photos: Photos, heard: Heard = lambda name, done: None) -> Iterator[Answers]:
        """Counts the photos and yields the answers, and how the job failed that has only some of them.

        The job's name follows from photos and model, so a run that lost its connection finds its job again and pays for
        no answer twice, unless a photo has changed since the job began. Ctrl-C and every other exception stop the job.
        After a block that succeeds, model, manifest and answers are deleted; `left` is called with what could not be.

        Raises Problem; NoAnswersProblem when the job gives no answers at all.
        """
        name = self._started_or_found(photos)
        try:
            failure = self._wait(name, len(photos.paths), heard)
        except BaseException:
            self.halted(name, False)
            ended = self._stop(name)
            self._clean(name)
            self.halted(name, ended)
            raise
        yield Answers(self._read(name, photos), failure)
        self._clean(name)

    def _started_or_found(self, photos: Photos) -> str:
        identity = hashlib.sha256(photos.manifest + self.site.package.encode()).hexdigest()[:12]
        for attempt in itertools.count(1):
            name = f"{self.site.names.prefix}-{self.purpose}-{identity}-{attempt}"
            status = self._status(name)
            if status is None:
                self._start(name, photos)
                return name
            left = status["TransformJobStatus"] in _RUNNING or self._has_all_its_answers(name)
            if left and ((changed := photos.changed()) is None or changed <= status["CreationTime"]):
                return name
        raise AssertionError("unreachable: attempts do not end")

    def _start(self, name: str, photos: Photos) -> None:
        site = self.site
        sagemaker = self.aws.client("sagemaker")
        bucket, folder = self._place(name)
        tags = [{"Key": key, "Value": value} for key, value in site.tags.items()]
        try:
            self.aws.client("s3").put_object(Bucket=bucket, Key=folder + MANIFEST, Body=photos.manifest)
            network = {"Subnets": list(site.subnets), "SecurityGroupIds": list(site.security_groups)}
            sagemaker.create_model(
                ModelName=name,
                ExecutionRoleArn=site.role,
                EnableNetworkIsolation=True,
                Containers=[
                    {
                        "ModelPackageName": site.package,
                        "Environment": {"MODEL_PACKAGE_ARN": site.package, "BINVENTORY_MODEL_DIGEST": site.digest},
                    },
                ],
                Tags=tags,
                **({"VpcConfig": network} if site.subnets else {}),
            )
            sagemaker.create_transform_job(
                TransformJobName=name,
                ModelName=name,
                TransformInput={
                    "DataSource": {
                        "S3DataSource": {"S3DataType": "ManifestFile", "S3Uri": f"s3://{bucket}/{folder}{MANIFEST}"}
                    },
                    # The server looks at the bytes, so this does for PNG as well.
                    "ContentType": "image/jpeg",
                    "SplitType": "None",
                },
                TransformOutput={
                    "S3OutputPath": f"s3://{bucket}/{folder}{ANSWERS}",
                    "Accept": "application/json",
                    **({"KmsKeyId": site.key} if site.key else {}),
                },
                TransformResources={
                    "InstanceType": site.instance_type,
                    "InstanceCount": site.instance_count,
                    **({"VolumeKmsKeyId": site.key} if site.key else {}),
                },
                ModelClientConfig={"InvocationsTimeoutInSeconds": 60, "InvocationsMaxRetries": 3},
                Tags=tags,
            )
        except ClientError as error:
            self._clean(name)
            raise Problem(
                "The transform job was not started",
                f"{error_code(error)}: {error_message(error)}",
                "check that you may create models and transform jobs, pass the role, and write below "
                f"s3://{bucket}/{folder.split('/')[0]}/",
            ) from error

    def _wait(self, name: str, photos: int, heard: Heard) -> str:
        """Returns when the job has ended and has answers; the text is empty, or says how it failed."""
        deadline = time.monotonic() + limit_seconds(photos, self.site)
        every = 0.3 if self.aws.is_local else self.poll_seconds
        count_again = 0.0
        while True:
            status = self._status(name)
            running = status is not None and status["TransformJobStatus"] in _RUNNING
            began = time.monotonic()
            if began >= count_again or not running:
                heard(name, sum(1 for _ in self._answer_keys(name)))
                count_again = began + (time.monotonic() - began) * _COUNTED_ONE_IN
            if not running:
                break
            if time.monotonic() > deadline:
                raise Problem(
                    f"The transform job {name} was stopped",
                    f"it was still running after {limit_seconds(photos, self.site) / 60:.0f} minutes",
                    f"look at its logs in {TRANSFORM_GROUP}, then run the same command again",
                )
            time.sleep(every)
        ended = "gone" if status is None else str(status["TransformJobStatus"])
        reason = (status or {}).get("FailureReason") or f"it is {ended}"
        # One photo that fails makes SageMaker call a job failed whose other answers are all there.
        if status is None or not any(True for _ in self._answer_keys(name)):
            raise NoAnswersProblem(
                f"The transform job {name} gave no answers",
                reason,
                f"look at its logs in {TRANSFORM_GROUP}, then run the same command again",
                log=self._log(name),
            )
        return "" if ended == "Completed" else f"the transform job {name} failed: {reason}"

    def _read(self, name: str, photos: Photos) -> Iterator[tuple[str, Any]]:
        known = set(photos.paths)
        s3 = self.aws.client("s3")
        bucket, folder = self._place(name)
        quick = QuickObjects(self.aws, bucket)
        above = bucket_and_key(photos.prefix)[1]

        def read(key: str) -> tuple[str, Any]:
            path = key.removeprefix(folder + ANSWERS).removesuffix(".out")
            body = quick.read(key)
            if body is None:
                try:
                    body = read_at(s3, f"s3://{bucket}/{key}")
                except ClientError as error:
                    raise (_taken_away(name) if error_code(error) == "NoSuchKey" else error) from error
            # SageMaker puts answers below the input's path relative to the prefix, or with it.
            return path if path in known else path.removeprefix(above), json.loads(body)

        for path, answer in ordered_map(read, self._answer_keys(name), threads=_READERS):
            if path in known:
                yield path, answer
        if not self._is_whole(name):
            raise _taken_away(name)

    def _has_all_its_answers(self, name: str) -> bool:
        """Whether an ended job has answers, as it wrote them."""
        return self._is_whole(name) and any(True for _ in self._answer_keys(name))

    def _is_whole(self, name: str) -> bool:
        """Whether none of a job's answers has been deleted: its manifest is deleted before the first of them."""
        bucket, folder = self._place(name)
        return any(key == folder + MANIFEST for key in self._keys(bucket, folder + MANIFEST))

    def _answer_keys(self, name: str) -> Iterator[str]:
        bucket, folder = self._place(name)
        return self._keys(bucket, folder + ANSWERS, ".out")

    def _keys(self, bucket: str, prefix: str, ending: str = "") -> Iterator[str]:
        pages = self.aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return (entry["Key"] for page in pages for entry in page.get("Contents", []) if entry["Key"].endswith(ending))

    def _place(self, name: str) -> tuple[str, str]:
        """Bucket and folder of a job's manifest and answers."""
        bucket, prefix = bucket_and_key(self.site.output)
        return bucket, f"{prefix}{name}/"

    def _status(self, name: str) -> dict[str, Any] | None:
        return _described(self.aws, name)

    def _stop(self, name: str) -> bool:
        """Returns when the job no longer runs: its bill ends then, and only then its model may go."""
        try:
            for _ in stop(self.aws, self.site.names, name):
                pass
        except Problem as problem:
            return problem.code is Exit.USAGE  # it is gone
        return True

    def _clean(self, name: str) -> None:
        bucket, folder = self._place(name)
        for remains in itertools.chain(
            delete_model(self.aws.client("sagemaker"), name),
            delete_below(self.aws.client("s3"), bucket, folder, folder + MANIFEST),
        ):
            self.left(remains)

    def _log(self, name: str) -> tuple[str, ...]:
        logs = self.aws.client("logs")
        try:
            streams = logs.describe_log_streams(logGroupName=TRANSFORM_GROUP, logStreamNamePrefix=f"{name}/")[
                "logStreams"
            ]
            lines = [
                event["message"]
                for stream in streams
                for event in logs.get_log_events(
                    logGroupName=TRANSFORM_GROUP, logStreamName=stream["logStreamName"], limit=_LOG_LINES
                )["events"]
            ]
        except ClientError:
            return ()
        return tuple(lines[-_LOG_LINES:])


def _taken_away(name: str) -> Problem:
    """Two runs for the same photos at the same time find the same job; the first to end deletes its answers."""
    return Problem(
        f"The answers of the transform job {name} were deleted while they were read",
        "another run for the same photos found the same job, read it first and cleaned up",
        "take its results, or run the same command again: it counts these photos anew",
    )


def stop(aws: Aws, names: Names, name: str) -> Iterator[str]:
    """Stops a transform job and yields its status; returns when it no longer runs.

    Raises:
        Problem: there is no such job, it may not be stopped, or it still runs when the time is up.
    """
    try:
        aws.client("sagemaker").stop_transform_job(TransformJobName=name)
    except ClientError as error:
        if error_code(error) in DENIED:
            raise Problem(
                f"The transform job {name} was not stopped",
                f"{error_code(error)}: {error_message(error)}",
                f"it bills until it ends: let somebody who may stop it run: {names.command(f'stop {name}')}",
                code=Exit.NOT_READY,
            ) from error
        # It may have ended by itself.
    deadline = time.monotonic() + _STOP_SECONDS
    while True:
        found = _described(aws, name)
        if found is None:
            raise Problem(
                f"There is no transform job {name}",
                f"SageMaker does not know it in {aws.place}, with these credentials",
                "list those that run: aws sagemaker list-transform-jobs --status-equals InProgress",
                code=Exit.USAGE,
            )
        status = str(found["TransformJobStatus"])
        yield status.lower()
        if status not in _RUNNING:
            return
        if time.monotonic() > deadline:
            raise Problem(
                f"The transform job {name} has not stopped yet",
                f"it is {status}, and may still bill",
                f"stop it again: {names.command(f'stop {name}')}",
            )
        time.sleep(0.2 if aws.is_local else 5.0)


def _described(aws: Aws, name: str) -> dict[str, Any] | None:
    try:
        return dict(aws.client("sagemaker").describe_transform_job(TransformJobName=name))
    except ClientError as error:
        if error_code(error) in {"ResourceNotFound", "ValidationException"}:
            return None
        raise
