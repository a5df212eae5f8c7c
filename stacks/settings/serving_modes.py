"""Settings of the ways to serve other than instances that always run: serverless and asynchronous."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

Mode = Literal["realtime", "serverless", "async"]
_TOPIC = re.compile(r"arn:[a-z-]+:sns:[a-z0-9-]+:\d{12}:[\w-]+")


def _topic(value: str) -> str:
    if value in {"none", "alerts"} or _TOPIC.fullmatch(value):
        return value
    raise PydanticCustomError("wrong_setting", "must be none, alerts (the alerts topic) or the ARN of an SNS topic", {})


Topic = Annotated[str, AfterValidator(_topic)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ServerlessSettings(_Section):
    """Read with serving.mode serverless: capacity on demand, nothing bills between requests."""

    memory_mb: Literal[1024, 2048, 3072, 4096, 5120, 6144] = 4096
    """Memory of one environment; processors grow with it."""
    max_concurrency: int = Field(default=10, ge=1, le=200)
    """Requests answered at once; more are throttled (429)."""


class AsyncSettings(_Section):
    """Read with serving.mode async: requests queue, answers go to S3, machines go away when nothing waits."""

    requests_per_instance: int = Field(default=4, ge=1, le=1000)
    """Requests that one machine works on at once."""
    backlog_per_instance: int = Field(default=50, ge=1)
    """Waiting requests a machine that autoscaling aims at."""
    idle_minutes: int = Field(default=10, ge=1, le=24 * 60)
    """Quiet time after which machines are taken away, down to serving.min_instances, which may be 0."""
    expire_days: int = Field(default=7, ge=1, le=3650)
    """Age at which requests and answers in the data bucket are deleted."""
    success_topic: Topic = "none"
    """Who hears of each answer: none, alerts, or a topic's ARN."""
    error_topic: Topic = "alerts"
    """Who hears of each failure."""
