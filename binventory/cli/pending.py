"""The model package that an approval is about, or why there is none."""

from __future__ import annotations

from botocore.exceptions import ClientError

from binventory import executions, serving
from binventory.core.aws import Aws
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names


def pending_package(aws: Aws, names: Names) -> str:
    """ARN of the newest package that waits for approval.

    Raises:
        Problem: there is none; where the newest execution has failed, with the reason of its failure.
    """
    try:
        return serving.latest_package(aws, names)
    except Problem as problem:
        if problem.code is not Exit.NOT_READY:
            raise
        why = _newest_failure(aws, names)
        if not why:
            raise
        raise Problem(problem.what, why, f"read it, then: {names.command('train')}", code=Exit.NOT_READY) from None


def _newest_failure(aws: Aws, names: Names) -> str:
    """Why the newest execution has registered no package; empty where it has not failed, or may not be read."""
    try:
        execution = executions.look(aws, executions.newest(aws, names))
        said = executions.reason(aws, execution)
    except (ClientError, Problem):
        return ""
    return (
        f"{executions.named(execution.arn, execution.started)} has {execution.status.lower()}: {said}" if said else ""
    )
