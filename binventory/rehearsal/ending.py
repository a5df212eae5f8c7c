"""Ends a rehearsal: deletes what it made in the account, and ends a kept one."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from botocore.exceptions import ClientError

from binventory.core.aws import Aws, error_code
from binventory.core.errors import Problem
from binventory.rehearsal import folder, leftovers
from local_aws.server import stop_running


def empty(aws: Aws, bucket: str) -> None:
    """Deletes a bucket with everything in it, versions included; nothing happens where there is none.

    Raises:
        Problem: S3 does not delete some of its objects.
    """
    s3 = aws.client("s3")
    try:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            doomed = [
                {"Key": item["Key"], "VersionId": item["VersionId"]}
                for item in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
            ]
            if doomed:
                reply = s3.delete_objects(Bucket=bucket, Delete={"Objects": doomed, "Quiet": True})
                if errors := reply.get("Errors"):
                    first = errors[0]
                    raise Problem(
                        f"The bucket {bucket} was not emptied",
                        f"{len(errors)} objects stay, {first['Key']} first: {first['Code']} {first.get('Message', '')}",
                        "allow s3:DeleteObjectVersion on the bucket, and run this again",
                    )
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


def end(state_dir: Path) -> leftovers.Leftovers:
    """Ends a kept rehearsal: stops its local AWS, removes its state, and looks for leftovers."""
    record = folder.read(state_dir)
    stop_running(state_dir / "aws")
    found = leftovers.on_machine(state_dir, record.port, record.prefix)
    if not found.none:
        raise left(found)
    shutil.rmtree(state_dir)
    return found


def left(found: leftovers.Leftovers) -> Problem:
    return Problem("Something is left", str(found), "this is a fault of the stacks or of the local AWS: see the logs")
