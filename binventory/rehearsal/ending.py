"""Ends a rehearsal: keeps or deletes what it made, and later ends a kept one."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from botocore.exceptions import ClientError

from binventory.core.aws import Aws, error_code
from binventory.core.errors import Exit, Problem
from binventory.rehearsal import leftovers
from binventory.rehearsal.result import Options
from local_aws.server import LocalAws, stop_running

EXPORTS = "environment.sh"
"""File of a kept rehearsal with the exports, for `source`."""


def empty(aws: Aws, bucket: str) -> None:
    """Deletes a bucket with everything in it, versions included; nothing happens where there is none."""
    s3 = aws.client("s3")
    try:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            doomed = [
                {"Key": item["Key"], "VersionId": item["VersionId"]}
                for item in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
            ]
            if doomed:
                s3.delete_objects(Bucket=bucket, Delete={"Objects": doomed, "Quiet": True})
        s3.delete_bucket(Bucket=bucket)
    except ClientError as error:
        if error_code(error) not in {"NoSuchBucket", "404"}:
            raise


def unbootstrap(aws: Aws) -> None:
    """Deletes the bootstrap stack and what it retains: its bucket and its image repository."""
    cloudformation = aws.client("cloudformation")
    resources = cloudformation.describe_stack_resources(StackName="CDKToolkit")["StackResources"]
    held = {item["ResourceType"]: item["PhysicalResourceId"] for item in resources}
    with contextlib.suppress(aws.client("ecr").exceptions.RepositoryNotFoundException):
        if "AWS::ECR::Repository" in held:
            aws.client("ecr").delete_repository(repositoryName=held["AWS::ECR::Repository"], force=True)
    if "AWS::S3::Bucket" in held:
        empty(aws, held["AWS::S3::Bucket"])
    cloudformation.delete_stack(StackName="CDKToolkit")
    cloudformation.get_waiter("stack_delete_complete").wait(
        StackName="CDKToolkit", WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )


def keep(options: Options, local: LocalAws) -> dict[str, str]:
    """Writes what is needed to use a kept local AWS (`environment.sh`) and to end it; returns the exports."""
    exports = local.environment()
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    (options.state_dir / EXPORTS).write_text("\n".join(lines) + "\n")
    record = {"port": local.port, "environment": exports, "prefix": options.names.prefix}
    (options.state_dir / "rehearsal.json").write_text(json.dumps(record, indent=2))
    return exports


def end(state_dir: Path) -> leftovers.Leftovers:
    """Ends a kept rehearsal: stops its local AWS, removes its state, and looks for leftovers."""
    record = state_dir / "rehearsal.json"
    if not record.is_file():
        raise Problem(
            f"No kept rehearsal in {state_dir}",
            "there is no rehearsal.json in it",
            "name the folder that `binventory rehearse --keep` printed",
            code=Exit.USAGE,
        )
    port = int(json.loads(record.read_text())["port"])
    stop_running(state_dir / "aws")
    found = leftovers.on_machine(state_dir, port)
    if not found.none:
        raise left(found)
    shutil.rmtree(state_dir)
    return found


def clear(state_dir: Path, *, keep_logs: bool) -> None:
    """Removes the files of a rehearsal; after a failure the logs stay."""
    if not keep_logs:
        shutil.rmtree(state_dir, ignore_errors=True)
        return
    server_log = state_dir / "aws" / "server.log"
    if server_log.is_file():
        shutil.copy(server_log, state_dir / "logs" / "local_aws.log")
    for path in _children(state_dir):
        if path.name != "logs":
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _children(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from folder.iterdir()


def left(found: leftovers.Leftovers) -> Problem:
    return Problem("Something is left", str(found), "this is a fault of the stacks or of the local AWS: see the logs")
