"""The endpoint, its scaling and how it is replaced."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from stacks.settings.instances import ServingInstance
from stacks.settings.section import Section, wrong_setting

Mode = Literal["realtime", "serverless", "async"]
_TOPIC = re.compile(r"arn:[a-z-]+:sns:[a-z0-9-]+:\d{12}:[\w-]+")


def _topic(value: str) -> str:
    if value in {"none", "alerts"} or _TOPIC.fullmatch(value):
        return value
    raise wrong_setting("must be none, alerts (the alerts topic) or the ARN of an SNS topic")


Topic = Annotated[str, AfterValidator(_topic)]


class ServerlessSettings(Section):
    """Read with serving.mode serverless: capacity on demand, nothing bills between requests."""

    memory_mb: Literal[1024, 2048, 3072, 4096, 5120, 6144] = 4096
    """Memory of one environment; processors grow with it."""
    max_concurrency: int = Field(default=10, ge=1, le=200)
    """Requests answered at once; more are throttled (429)."""


class AsyncSettings(Section):
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


Percent = Annotated[int, Field(ge=0, le=100)]


class ServingSettings(Section):
    """The endpoint, its scaling and how it is replaced."""

    mode: Mode = "realtime"
    """realtime: machines that always run. serverless: capacity on demand. async: a queue, answers to S3."""
    serverless: ServerlessSettings = ServerlessSettings()
    """Read with mode serverless, which has no machines, canary, data capture or network isolation."""
    asynchronous: AsyncSettings = AsyncSettings()
    """Read with mode async."""
    instance_type: ServingInstance
    """The machine behind the endpoint; it bills by the hour while the endpoint is on."""
    min_instances: int = Field(ge=0, le=50)
    """Machines of an endpoint that is on; 0 in mode async only."""
    max_instances: int = Field(ge=1, le=50)
    """Most machines that autoscaling may add up to."""
    invocations_per_instance_minute: int = Field(ge=1)
    """Load that autoscaling aims at."""
    data_capture_percent: Percent
    """Share of requests and answers that is kept for audits; 0 keeps none."""
    data_capture_expire_days: int = Field(ge=1, le=3650)
    """Age at which captured requests and answers are deleted."""
    canary_percent: int = Field(ge=1, le=50)
    """Share of the fleet that gets the new model first. SageMaker allows at most half."""
    canary_minutes: int = Field(ge=1, le=60)
    """How long the canary must stay free of alarms before the rest follows."""
    server_errors_per_minute: int = Field(ge=1)
    """5xx answers in a minute that raise the alarm and roll a deployment back."""
    latency_p95_milliseconds: int = Field(ge=1, le=60_000)
    """Latency that one in twenty answers may reach before the alarm rings and a deployment is rolled back."""

    @field_validator("min_instances")
    @classmethod
    def _none_only_where_requests_can_wait(cls, value: int, info: ValidationInfo) -> int:
        if not value and info.data.get("mode") != "async":
            raise wrong_setting("must be at least 1: only with mode async can requests wait for a machine")
        return value

    @field_validator("data_capture_percent")
    @classmethod
    def _captured_where_that_exists(cls, value: int, info: ValidationInfo) -> int:
        mode = info.data.get("mode")
        if value and mode not in {None, "realtime"}:
            raise wrong_setting("must be 0 with mode {mode}: SageMaker captures realtime endpoints only", mode=mode)
        return value

    @field_validator("max_instances")
    @classmethod
    def _at_least_the_minimum(cls, value: int, info: ValidationInfo) -> int:
        minimum = info.data.get("min_instances")
        if minimum is not None and value < minimum:
            raise wrong_setting("must be at least min_instances ({minimum})", minimum=minimum)
        return value
