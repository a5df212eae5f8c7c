"""What the shell offers for a value: executions and model packages of the account; nothing where it may not look."""

from __future__ import annotations

import os
from datetime import UTC
from typing import Any, Final

import typer

_OFFERED: Final = 20


def executions(ctx: typer.Context) -> list[tuple[str, str]]:
    """The newest executions of the pipeline: the id, and how and when it ended."""
    return _read(ctx, _executions)


def packages(ctx: typer.Context) -> list[tuple[str, str]]:
    """The newest model packages: the ARN, and whether it is approved."""
    return _read(ctx, _packages)


def _read(ctx: typer.Context, reader: Any) -> list[tuple[str, str]]:
    from binventory.cli.look import environments
    from binventory.cli.settings import settings_of
    from binventory.core.aws import connect
    from binventory.core.names import Names

    environment = ctx.params.get("env") or os.environ.get("BINVENTORY_ENV") or "dev"
    if environment not in environments():
        return []
    try:
        found: list[tuple[str, str]] = reader(connect(os.environ), Names(environment, settings_of(environment).project))
    except Exception:  # not signed in, not deployed, no network: the person is typing, so nothing may be printed
        return []
    return found


def _executions(aws: Any, names: Any) -> list[tuple[str, str]]:
    listed = aws.client("sagemaker").list_pipeline_executions(
        PipelineName=names.prefix, SortBy="CreationTime", SortOrder="Descending", MaxResults=_OFFERED
    )
    return [
        (
            item["PipelineExecutionArn"].rsplit("/", 1)[-1],
            f"{item['PipelineExecutionStatus']}, {item['StartTime'].astimezone(UTC):%Y-%m-%d %H.%M} UTC",
        )
        for item in listed["PipelineExecutionSummaries"]
    ]


def _packages(aws: Any, names: Any) -> list[tuple[str, str]]:
    from binventory.core.deployed import model_package_group

    listed = aws.client("sagemaker").list_model_packages(
        ModelPackageGroupName=model_package_group(aws, names),
        SortBy="CreationTime",
        SortOrder="Descending",
        MaxResults=_OFFERED,
    )
    return [(item["ModelPackageArn"], item["ModelApprovalStatus"]) for item in listed["ModelPackageSummaryList"]]
