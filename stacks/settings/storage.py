"""How long data, models and logs are kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from stacks.settings.section import Section

Retention = Annotated[
    # Values of environment variables are text.
    Literal[1, 3, 7, 14, 30, 90, 180, 365, 731],
    BeforeValidator(lambda days: int(days) if isinstance(days, str) and days.isdecimal() else days),
]


class StorageSettings(Section):
    """How long data, models and logs are kept."""

    retain: bool
    """Keep buckets and their contents when the stack is destroyed."""
    executions_expire_days: int = Field(ge=1, le=3650)
    """Age at which the shards and features of a pipeline execution are deleted; they can be computed again. At least as
    long as the time limits allow an execution to take."""
    checkpoints_expire_days: int = Field(ge=1, le=365)
    """Age at which checkpoints of training jobs are deleted."""
    models_infrequent_access_days: int = Field(ge=30, le=3650)
    """Age at which model artefacts move to a cheaper storage class. S3 requires at least 30 days."""
    previous_versions_expire_days: int = Field(ge=1, le=3650)
    """Age at which overwritten and deleted models are deleted for good."""
    logs_expire_days: int = Field(ge=1, le=3650)
    """Age at which the buckets' access logs are deleted."""
    log_retention_days: Retention
    """Retention of the CloudWatch log groups of these stacks, in days."""
