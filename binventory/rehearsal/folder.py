"""The folder of a rehearsal: it belongs to one rehearsal, from the first step until `--end` or the last step."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from binventory.core.errors import Exit, Problem
from local_aws.server import LocalAws, LocalAwsError

EXPORTS = "environment.sh"
"""File of a kept rehearsal with the exports, for `source`."""
_RECORD = "rehearsal.json"
LOGS = "logs"
"""Folder that stays after a failure."""
LOCAL_LOG = "local_aws.log"
"""File in it: what the local AWS has written."""
_SDK = "sagemaker.yaml"
SDK_CONFIGURATION = "SAGEMAKER_USER_CONFIG_OVERRIDE"
"""Variable of the SageMaker SDK that names a file with its configuration."""
FORGET = "unset AWS_PROFILE AWS_DEFAULT_PROFILE AWS_SESSION_TOKEN AWS_SECURITY_TOKEN"
"""What a shell may have from another account: tools would look for the profile, and sign with the token."""


@dataclass(frozen=True)
class Record:
    """What ends a rehearsal, and starts its local AWS again.

    Args:
        port: of its local AWS, the same after every start: exports stay valid.
        prefix: of the names of its resources.
        enforce_iam: whether its local AWS enforces policies.
    """

    port: int
    prefix: str
    enforce_iam: bool


def claim(state_dir: Path, record: Record) -> None:
    """Make the folder this rehearsal's; of two that begin at once, one is refused.

    Raises:
        Problem: a rehearsal lives there, or the folder holds files of somebody else, which the end of a rehearsal
            would remove. Nothing is changed.
    """
    if state_dir.is_dir() and not (state_dir / _RECORD).exists():
        others = sorted(path.name for path in state_dir.iterdir() if path.name != LOGS)
        if others:
            raise Problem(
                f"{state_dir} holds other files",
                f"there is {', '.join(others[:3])} in it, and a rehearsal removes its folder at its end",
                "name a new folder with --state-dir",
                code=Exit.USAGE,
            )
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(state_dir / _RECORD, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        place = shlex.quote(str(state_dir))
        raise Problem(
            f"A rehearsal lives in {state_dir}",
            f"its local AWS {'runs' if _local(state_dir, read(state_dir)).running else 'does not run at the moment'}; "
            "a second one would destroy it",
            f"end it with: binventory rehearse --end {place}, go on with it: binventory rehearse --resume {place}, "
            "or name another folder",
            code=Exit.USAGE,
        ) from None
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(record), file, indent=2)


def read(state_dir: Path) -> Record:
    """The record of the rehearsal that lives in a folder; raises `Problem` where none does."""
    try:
        return Record(**json.loads((state_dir / _RECORD).read_text()))
    except FileNotFoundError:
        why = f"there is no {_RECORD} in it"
    except (ValueError, TypeError):
        why = f"its {_RECORD} cannot be read"
    raise Problem(
        f"No kept rehearsal in {state_dir}",
        why,
        "name the folder that `binventory rehearse --keep` printed",
        code=Exit.USAGE,
    )


def resume(state_dir: Path) -> dict[str, str]:
    """Start the local AWS of a rehearsal again, where its state was saved; returns the exports.

    Nothing happens to one that runs.
    """
    record = read(state_dir)
    local = _local(state_dir, record)
    if not local.running:
        try:
            local.start()
        except LocalAwsError as error:
            why = str(error).splitlines()[-1]
            taken = os.strerror(errno.EADDRINUSE) in why
            raise Problem(
                f"The local AWS of {state_dir} did not start",
                f"its port {record.port} is in use by another program" if taken else why,
                f"{'end that program, and run this again; ' if taken else ''}its whole log is {local.log_path}",
                code=Exit.NOT_READY,
            ) from error
    return write_exports(state_dir, local.environment())


def write_exports(state_dir: Path, exports: Mapping[str, str]) -> dict[str, str]:
    """Write `environment.sh`, which only the owner may read, because it holds keys; returns the exports.

    The configuration of the SageMaker SDK names the bucket that the SDK would name after a call to the real AWS, and
    sends nothing about its use.
    """
    configuration = state_dir / _SDK
    bucket = f"sagemaker-{exports.get('AWS_REGION')}-{exports.get('CDK_DEFAULT_ACCOUNT')}"
    modules = {"Session": {"DefaultS3Bucket": bucket}, "TelemetryOptOut": True}
    document = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": modules}}}
    configuration.write_text(json.dumps(document, indent=2))
    exports = {**exports, SDK_CONFIGURATION: str(configuration)}
    lines = [FORGET, *(f"export {name}={shlex.quote(value)}" for name, value in exports.items())]
    path = state_dir / EXPORTS
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n")
    return dict(exports)


def clear(state_dir: Path, *, keep_logs: bool) -> None:
    """Removes the files of a rehearsal; after a failure the logs stay."""
    if not keep_logs:
        shutil.rmtree(state_dir, ignore_errors=True)
        return
    server_log = state_dir / "aws" / "server.log"
    if server_log.is_file():
        shutil.copy(server_log, state_dir / LOGS / LOCAL_LOG)
    for path in _children(state_dir):
        if path.name != LOGS:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _children(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from folder.iterdir()


def _local(state_dir: Path, record: Record) -> LocalAws:
    return LocalAws(state_dir / "aws", record.port, keep=True, enforce_iam=record.enforce_iam)
