"""Checkpoints: a job's folder, synchronised with its S3 prefix while the job runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from local_aws.core.objects import ObjectStore
from local_aws.jobs.channels import Downloader

_SYNC_SECONDS = 0.5
_State = tuple[int, int]


class CheckpointSync:
    """Synchronises `folder` with `uri`: downloads once at the start, then uploads what the job writes.

    As on AWS, what the job deletes in its folder is deleted in S3, and what others write to S3 meanwhile does not come.
    The prefix is plain text: without a `/` at its end it also matches the checkpoints of jobs whose names start the
    same. https://docs.aws.amazon.com/sagemaker/latest/dg/model-checkpoints.html

    Args:
        objects: S3, with the rights of the job's role.
        downloader: of objects.
        uri: of the prefix.
        folder: of the job.
    """

    def __init__(self, objects: ObjectStore, downloader: Downloader, uri: str, folder: Path) -> None:
        self._objects = objects
        self._downloader = downloader
        self._uri = uri
        self._folder = folder
        self._uploaded: dict[Path, _State] = {}
        self._seen: dict[Path, _State] = {}
        self._say: Callable[[str], None] = lambda line: None
        self._failed: dict[Path, str] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)

    def restore(self) -> int:
        """Download the checkpoints; returns the number of files."""
        self._folder.mkdir(parents=True, exist_ok=True)
        found = self._downloader.list(self._uri)
        for item in found:
            self._downloader.place_copy(item, self._folder)
        self._uploaded = self._states()
        return len(found)

    def start(self, say: Callable[[str], None]) -> None:
        """From now on upload every file that has not changed for one interval; `say` writes to the machine's log."""
        self._say = say
        self._thread.start()

    @property
    def problem(self) -> str:
        """Why a file that the job left is not in S3; "" if all are. Call it after `finish`."""
        return next(iter(self._failed.values()), "")

    def finish(self) -> None:
        """Stop watching and upload the rest; call it when the job has ended."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        left = self._states()
        self._failed = {path: why for path, why in self._failed.items() if path in left}
        self._upload(left)
        self._delete_all_but(left)

    def _run(self) -> None:
        while not self._ended.wait(_SYNC_SECONDS):
            now = self._states()
            # A file that is still written must not be uploaded in part, so it must look the same twice.
            self._upload({path: state for path, state in now.items() if self._seen.get(path) == state})
            self._delete_all_but(now)
            self._seen = now

    def _states(self) -> dict[Path, _State]:
        states: dict[Path, _State] = {}
        for path in self._folder.rglob("*"):
            try:
                if path.is_file():
                    stat = path.stat()
                    states[path] = (stat.st_size, stat.st_mtime_ns)
            except OSError:
                continue  # renamed or deleted since it was listed
        return states

    def _address(self, path: Path) -> str:
        return f"{self._uri.rstrip('/')}/{path.relative_to(self._folder).as_posix()}"

    def _delete_all_but(self, states: dict[Path, _State]) -> None:
        """Delete in S3 what was there and is no longer in the folder."""
        for path in [path for path in self._uploaded if path not in states]:
            del self._uploaded[path]
            try:
                self._objects.delete(self._address(path))
            except (ClientError, BotoCoreError) as error:
                # AWS does not document what it does then.
                self._say(f"checkpoint {path.relative_to(self._folder).as_posix()} was not deleted in S3: {error}")

    def _upload(self, states: dict[Path, _State]) -> None:
        for path, state in states.items():
            if self._uploaded.get(path) == state:
                continue
            name = path.relative_to(self._folder).as_posix()
            try:
                self._objects.upload_file(path, self._address(path))
                self._uploaded[path] = state
                self._failed.pop(path, None)
            except FileNotFoundError:
                continue
            except (ClientError, BotoCoreError, Boto3Error, OSError) as error:
                why = f"checkpoint {name} was not uploaded to {self._uri}: {error}"
                if self._failed.get(path) != why:
                    self._say(why)
                self._failed[path] = why
