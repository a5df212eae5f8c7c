"""The state of ministack's services, saved as it changes: ministack itself saves it only when it is stopped in order.

A request that changes something is answered when its service is saved. What changes without a request, such
as the resources of a stack, log lines and metrics, is saved within seconds.

A stack is in one file and its resources are in others. So the state of several services is taken in one step of the
event loop, where stacks change too, and their files change together: a kill leaves all of them old or all of them new.

Uses these internals of version 1.5.33: in `app` `SERVICE_HANDLERS`, `SERVICE_REGISTRY`, `save_all`,
`_build_persistence_save_dict` and `_load_persisted_state`, in `core.persistence` `STATE_DIR` and
`_state_format_version`, `services.cloudformation._stacks` and `_change_sets`, and
`services.lambda_svc._prune_orphan_code_blobs`. tests/contract/test_hooks.py fails for one that moved when ministack is
upgraded.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from local_aws.ministack import hooks
from local_aws.ministack.copies import copies_to_save
from local_aws.ministack.hooks import Headers
from local_aws.ministack.state_json import Document, StateJson

_log = logging.getLogger(__name__)
_READS: Final = re.compile(
    r"(Describe|List|Get|Head|BatchGet|Lookup|Filter|Query|Scan|Search|Validate|Estimate|Preview)"
)
_STREAMS: Final = re.compile(
    r"(PutLogEvents|PutMetricData|PutEvents|Publish|Send|Receive|DeleteMessage|ChangeMessage|Invoke)"
)
"""Operations that come many times a second and change what is saved within seconds anyway."""
_INVOCATIONS: Final = re.compile(r"/(invocations|invoke-async|response-streaming-invocations)$")
_SWEEP_SECONDS: Final = 1.0
_SHARE: Final = 20  # at most a twentieth of the time goes into sweeps
_TRIES: Final = 50
_LOOK_SECONDS: Final = 0.1
_TOGETHER: Final = "together"
"""The file that names the drafts of one write, from the moment when all of them are complete."""


class Saver:
    """Writes each service's state into its file when it has changed; safe to use from any thread."""

    def __init__(self) -> None:
        self._writing = threading.Lock()
        self._wanted: defaultdict[str, int] = defaultdict(int)
        self._done: defaultdict[str, int] = defaultdict(int)
        self._written: dict[str, Document] = {}
        self._json = StateJson()
        self._counting = threading.Lock()
        self._ending = threading.Event()
        self.after: dict[str, Callable[[], None]] = {}
        """What follows when the state of a service is in its file."""
        self.loop: asyncio.AbstractEventLoop | None = None
        """Where stacks change; None where nothing else runs."""
        self.stacks: frozenset[tuple[str, str]] = frozenset()
        """The status of each stack when every service was saved last."""

    def save(self, key: str, state: Callable[[], Any]) -> None:
        """Returns when the state that `state` gives now is in the file `key`; those who wait together share a write."""
        self._save({key: state})

    def sweep(self, services: Mapping[str, Callable[[], Any]]) -> None:
        """Save every service that has changed, all in one step; one that fails does not stop the others."""
        try:
            self._save(services)
        except OSError:
            _log.exception("the state was not saved")

    def last_sweep(self, services: Mapping[str, Callable[[], Any]]) -> None:
        """The same, on the event loop, before it ends."""
        self._ending.set()
        self.sweep(services)

    def _save(self, services: Mapping[str, Callable[[], Any]]) -> None:
        with self._counting:
            for key in services:
                self._wanted[key] += 1
            mine = {key: self._wanted[key] for key in services}
        with self._writing:
            due = {key: state for key, state in services.items() if self._done[key] < mine[key]}
            if not due:
                return
            upto = {key: self._wanted[key] for key in due}
            written = self._write(self._in_one_step(lambda: _snapshots(due)))
            for key in written:
                self.after.get(key, _nothing)()
                self._done[key] = upto[key]

    def _in_one_step(self, take: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `take` returns, while no stack changes."""
        loop = self.loop
        if loop is None or self._ending.is_set():
            return take()
        taken: Future[dict[str, Any]] = Future()

        def run() -> None:
            if taken.set_running_or_notify_cancel():
                try:
                    taken.set_result(take())
                except Exception as error:
                    taken.set_exception(error)

        try:
            loop.call_soon_threadsafe(run)
        except RuntimeError:  # the event loop has ended, and nothing changes any more
            return take()
        while True:
            try:
                return taken.result(_LOOK_SECONDS)
            except TimeoutError:
                # At the end the event loop itself waits for this write.
                if self._ending.is_set() and taken.cancel():
                    return take()

    def _write(self, found: Mapping[str, Any]) -> list[str]:
        """Write the states that differ from those in the files; returns the keys of all that are in files now."""
        from ministack.core import persistence

        folder = Path(persistence.STATE_DIR)
        folder.mkdir(parents=True, exist_ok=True)
        _finish(folder)  # what a full disk has stopped
        safe: list[str] = []
        changed: dict[str, Document] = {}
        for key, state in found.items():
            try:
                document = self._json.document(key, persistence._state_format_version(key), state)
            except Exception:
                _log.exception("the state of %s was not saved", key)
                continue
            if self._written.get(key) is not document:
                changed[key] = document
                _draft(folder, key).write_bytes(document.text())
            safe.append(key)
        if len(changed) > 1:
            listed = folder / f"{_TOGETHER}.tmp"
            listed.write_text(json.dumps(list(changed)))
            listed.replace(folder / _TOGETHER)
        _put_in_place(folder, list(changed))
        self._written.update(changed)
        return safe


def _draft(folder: Path, key: str) -> Path:
    return folder / f"{key}.json.tmp"


def _put_in_place(folder: Path, keys: Iterable[str]) -> None:
    for key in keys:
        with suppress(FileNotFoundError):  # it is in place since before a kill
            _draft(folder, key).replace(folder / f"{key}.json")
    (folder / _TOGETHER).unlink(missing_ok=True)


def finish_write(folder: Path) -> None:
    """Finish a write of several files that a kill has cut, or forget it if its files were not all written."""
    _finish(folder)
    for draft in folder.glob("*.tmp"):
        draft.unlink()


def _finish(folder: Path) -> None:
    together = folder / _TOGETHER
    if together.is_file():
        _put_in_place(folder, json.loads(together.read_text()))


@dataclass(frozen=True)
class MadeResource:
    """A resource of a service that is not ministack's, and the stack that has made it."""

    stack_id: str
    logical_id: str
    type_name: str
    physical_id: str


def save_as_it_changes(
    stopping: threading.Event, made: Callable[[], Iterable[MadeResource]] = tuple
) -> Callable[[], None]:
    """Have every service saved as it changes; returns the work of a thread, which sweeps until `stopping` is set.

    made: finds what stacks have made in services that save for themselves.
    """
    from ministack import app
    from ministack.core import persistence

    saver, active = Saver(), threading.Event()
    for name, handler in list(app.SERVICE_HANDLERS.items()):
        # The resources of a stack are in other services, so all are saved.
        keys = None if name == "cloudformation" else _keys(name)
        app.SERVICE_HANDLERS[name] = _saved(saver, active, keys, name == "s3", handler)
    app.save_all = saver.last_sweep
    load = app._load_persisted_state

    def load_and_settle() -> None:
        finish_write(Path(persistence.STATE_DIR))
        load()
        _fail_interrupted_stacks(list(made()))

    app._load_persisted_state = load_and_settle
    hooks.on_stack_status(_record_resources_as_they_are_made)
    _prune_after_writing(saver)

    def sweep() -> None:
        pause = _SWEEP_SECONDS
        while not stopping.wait(pause):
            if active.is_set():
                active.clear()
                began = time.monotonic()
                saver.sweep(app._build_persistence_save_dict())
                pause = max(_SWEEP_SECONDS, _SHARE * (time.monotonic() - began))

    return sweep


def _saved(saver: Saver, active: threading.Event, keys: list[str] | None, is_s3: bool, handler: Any) -> Any:
    """A service's handler that answers a change when it is saved, with every other service if `keys` is None."""

    async def handle(method: str, path: str, headers: Headers, body: bytes, query: dict[str, list[str]]) -> Any:
        saver.loop = asyncio.get_running_loop()
        reply = await handler(method, path, headers, body, query)
        active.set()
        if reply[0] < 400 and _changes(method, path, headers, body, query, is_s3):
            from ministack import app

            states, stacks = app._build_persistence_save_dict(), _statuses()
            # A stack changes between requests too, and with it the resources that it has not recorded yet.
            everything = keys is None or stacks != saver.stacks or _changing(stacks)
            changed = states if everything else {key: states[key] for key in keys or () if key in states}
            await asyncio.to_thread(saver.sweep, changed)
            if everything:
                saver.stacks = stacks
        return reply

    return handle


def _changes(
    method: str, path: str, headers: Headers, body: bytes, query: Mapping[str, list[str]], is_s3: bool
) -> bool:
    """Whether a request may have changed what its service must not forget."""
    if is_s3:  # objects have files of their own
        return method not in {"GET", "HEAD"} and not path.strip("/").partition("/")[2]
    named = headers.get("x-amz-target", "").rpartition(".")[2] or query.get("Action", [""])[0]
    if not named and headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        named = parse_qs(body.decode(errors="replace")).get("Action", [""])[0]
    if not named:
        return method not in {"GET", "HEAD"} and not _INVOCATIONS.search(path)
    return not _READS.match(named) and not _STREAMS.match(named)


def _keys(service: str) -> list[str]:
    """The names of the files with a service's state; none for the services that are not ministack's."""
    from ministack import app

    config: Any = app.SERVICE_REGISTRY.get(service)
    return [] if config is None else [config.get("state_key", config["module"]), *config.get("sub_modules", ())]


def _statuses() -> frozenset[tuple[str, str]]:
    """Id and status of each stack."""
    from ministack.services import cloudformation

    stacks = list(cloudformation._stacks._data.values())
    return frozenset((str(stack.get("StackId", "")), str(stack.get("StackStatus", ""))) for stack in stacks)


def _changing(stacks: frozenset[tuple[str, str]]) -> bool:
    return any(status.endswith("_IN_PROGRESS") for _, status in stacks)


def _snapshots(services: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """The state of each service; not of one that fails, nor of a module that could not be imported."""
    found = {}
    for key, state in services.items():
        try:
            found[key] = _snapshot(state)
        except Exception:
            _log.exception("the state of %s was not saved", key)
    return {key: state for key, state in found.items() if state is not None}


def _snapshot(state: Callable[[], Any]) -> Any:
    """A service's state; a dictionary that grows while it is copied is copied again."""
    for _ in range(_TRIES):
        try:
            with copies_to_save():
                return state()
        except RuntimeError as error:
            if "changed" not in str(error):
                raise
            time.sleep(0.002)
    return state()


def _prune_after_writing(saver: Saver) -> None:
    """Remove the code that no function has only when the file that no longer names it is written."""
    from ministack.services import lambda_svc

    prune = lambda_svc._prune_orphan_code_blobs
    referenced: list[set[str]] = []

    def prune_all_but_the_last() -> None:
        if referenced:
            prune(referenced.pop())
            referenced.clear()

    lambda_svc._prune_orphan_code_blobs = referenced.append
    saver.after["lambda"] = prune_all_but_the_last


def _nothing() -> None:
    """For services after whose write nothing follows."""


def _record_resources_as_they_are_made(stack_id: str, status: str, reason: str) -> None:
    """ministack records a new stack's resources when all are made: those of an interrupted one would be nobody's."""
    from ministack.services import cloudformation

    if status == "CREATE_IN_PROGRESS":
        for stack in list(cloudformation._stacks._data.values()):
            if stack.get("StackId") == stack_id:
                stack.setdefault("_resources", {})


def _fail_interrupted_stacks(made: Sequence[MadeResource]) -> None:
    """A stack that was changing when the local AWS ended says so, and can be rolled back or deleted."""
    from ministack.services import cloudformation

    for stack in cloudformation._stacks._data.values():
        status = str(stack.get("StackStatus", ""))
        if not status.endswith("_IN_PROGRESS") or status.startswith("REVIEW"):
            continue
        done = status.removesuffix("_CLEANUP_IN_PROGRESS")
        stack["StackStatus"] = done if done != status else f"{status.removesuffix('_IN_PROGRESS')}_FAILED"
        stack["StackStatusReason"] = "The local AWS ended while the stack changed"
        recorded = stack.setdefault("_resources", {})
        for found in made:
            if found.stack_id == stack["StackId"] and found.logical_id not in recorded:
                recorded[found.logical_id] = {
                    "PhysicalResourceId": found.physical_id,
                    "ResourceType": found.type_name,
                    "ResourceStatus": "CREATE_COMPLETE",
                    "LogicalResourceId": found.logical_id,
                    "Properties": {},
                    "Attributes": {},
                    "Timestamp": stack["LastUpdatedTime"],
                }
    for change_set in cloudformation._change_sets._data.values():
        if change_set.get("ExecutionStatus") == "EXECUTE_IN_PROGRESS":
            change_set["ExecutionStatus"] = "EXECUTE_FAILED"
