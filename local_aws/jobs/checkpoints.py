"""Checkpoints: a job's folder kept in step with its S3 prefix, both ways, while the job runs."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.core.objects import ObjectStore
from local_aws.jobs.channels import Downloader

_log = logging.getLogger("local_aws.checkpoints")
_SYNC_SECONDS = 0.5
_State = tuple[int, int]


class CheckpointSync:
    """Keeps `folder` and `uri` in step: what S3 has comes down at the start, what the job writes goes up.

    As on AWS nothing is ever deleted in S3, and the prefix is plain text: one that does not end with `/` also brings
    down the checkpoints of jobs whose name merely starts the same.
    """

    def __init__(self, objects: ObjectStore, downloader: Downloader, uri: str, folder: Path) -> None:
        self._objects = objects
        self._downloader = downloader
        self._uri = uri
        self._folder = folder
        self._sent: dict[Path, _State] = {}
        self._seen: dict[Path, _State] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)

    def restore(self) -> int:
        """Bring down what S3 has; returns the number of files."""
        self._folder.mkdir(parents=True, exist_ok=True)
        found = self._downloader.list(self._uri)
        for item in found:
            self._downloader.place_copy(item, self._folder)
        self._sent = self._states()
        return len(found)

    def start(self) -> None:
        """Send up, from now on, every file that has kept still for one interval."""
        self._thread.start()

    def finish(self) -> None:
        """Stop watching and send up the rest, whether it keeps still or not: the job has ended."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._send(self._states())

    def _run(self) -> None:
        while not self._ended.wait(_SYNC_SECONDS):
            now = self._states()
            # A file still being written would be sent in halves, so it must look the same twice.
            self._send({path: state for path, state in now.items() if self._seen.get(path) == state})
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

    def _send(self, states: dict[Path, _State]) -> None:
        for path, state in states.items():
            if self._sent.get(path) == state:
                continue
            name = path.relative_to(self._folder).as_posix()
            try:
                self._objects.upload_file(path, f"{self._uri.rstrip('/')}/{name}")
                self._sent[path] = state
            except FileNotFoundError:
                continue
            except (ClientError, BotoCoreError, OSError) as error:
                _log.warning("checkpoint %s was not sent to %s: %s", name, self._uri, error)
