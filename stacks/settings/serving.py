"""The endpoint: its machines, its scaling, and how a new model replaces the old one."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from stacks.settings.instances import ServingInstance, is_burstable
from stacks.settings.section import Section, wrong_setting

Mode = Literal["realtime", "serverless", "async"]
_TOPIC = re.compile(r"arn:aws:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}", re.ASCII)


def _topic(value: str) -> str:
    if value in {"none", "alerts"} or _TOPIC.fullmatch(value):
        return value
    raise wrong_setting("must be none, alerts (the alerts topic) or the ARN of an SNS topic")


Topic = Annotated[str, AfterValidator(_topic)]


class ServerlessSettings(Section):
    """For serving.mode serverless: capacity on demand, no cost between requests."""

    memory_mb: Literal[1024, 2048, 3072, 4096, 5120, 6144] = 3072
    """Memory of one execution environment, and so its vCPUs. New accounts may be limited to 3072, which is enough."""
    max_concurrency: int = Field(default=10, ge=1, le=200)
    """Concurrent requests. Further ones are throttled (429)."""


class AsyncSettings(Section):
    """For serving.mode async: requests queue, answers go to S3, and machines are removed while the queue is empty."""

    requests_per_instance: int = Field(default=4, ge=1, le=64)
    """Concurrent requests of one machine. Its server holds 64 and refuses more."""
    backlog_per_instance: int = Field(default=50, ge=1)
    """Target of autoscaling: waiting requests per machine."""
    idle_minutes: int = Field(default=10, ge=1, le=24 * 60)
    """Minutes with a short queue after which machines are removed, down to serving.min_instances, which may be 0."""
    expire_days: int = Field(default=7, ge=1, le=3650)
    """Age at which requests and answers in the data bucket are deleted."""
    success_topic: Topic = "none"
    """Topic of a message for each answer: none, alerts, or the ARN of a topic. SageMaker also sends tests there."""
    error_topic: Topic = "alerts"
    """Topic of a message for each failure: none, alerts, or the ARN of a topic. SageMaker also sends tests there."""


Percent = Annotated[int, Field(ge=0, le=100)]


class ServingSettings(Section):
    """The endpoint: its machines, its scaling, and how a new model replaces the old one."""

    mode: Mode = "realtime"
    """realtime: machines that always run. serverless: capacity on demand. async: a queue, and answers in S3."""
    serverless: ServerlessSettings = ServerlessSettings()
    """For mode serverless, which has no machines, canary, data capture or network isolation."""
    asynchronous: AsyncSettings = AsyncSettings()
    """For mode async."""
    instance_type: ServingInstance
    """Instance type of the endpoint. Its machines bill while the endpoint is on."""
    min_instances: int = Field(ge=0, le=50)
    """Smallest number of machines while the endpoint is on; 0 is allowed in mode async only."""
    max_instances: int = Field(ge=1, le=50)
    """Largest number of machines."""
    invocations_per_instance_minute: int = Field(ge=1)
    """Target of autoscaling: invocations per machine and minute."""
    data_capture_percent: Percent
    """Share of requests and answers, in percent, that is stored for audits; 0: none."""
    data_capture_expire_days: int = Field(ge=1, le=3650)
    """Age at which captured requests and answers are deleted."""
    canary_percent: int = Field(ge=1, le=50)
    """Share of the machines, in percent, that runs the new model first. SageMaker allows at most half."""
    canary_minutes: int = Field(ge=3, le=60)
    """Minutes without an alarm after which the other machines follow the canary. An alarm needs up to three."""
    server_errors_per_minute: int = Field(ge=1)
    """5xx answers in a minute; two such minutes of three raise the alarm and roll back a deployment."""
    latency_p95_milliseconds: int = Field(ge=1, le=60_000)
    """95th percentile of the model's latency in a minute; two such minutes of three raise the alarm and roll back a
    deployment."""

    @property
    def scales(self) -> bool:
        """Whether autoscaling changes the number of machines."""
        return self.mode != "serverless" and self.max_instances > self.min_instances

    @field_validator("min_instances")
    @classmethod
    def _check_zero_instances(cls, value: int, info: ValidationInfo) -> int:
        if not value and info.data.get("mode") != "async":
            raise wrong_setting("must be at least 1: only with mode async can requests wait for a machine")
        return value

    @field_validator("data_capture_percent")
    @classmethod
    def _check_capture(cls, value: int, info: ValidationInfo) -> int:
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

    @field_validator("max_instances")
    @classmethod
    def _unscaled_if_burstable(cls, value: int, info: ValidationInfo) -> int:
        minimum, machine = info.data.get("min_instances"), info.data.get("instance_type")
        if info.data.get("mode") == "serverless" or minimum is None or machine is None or value <= minimum:
            return value
        # https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling-add-console.html
        if is_burstable(machine):
            raise wrong_setting(
                "must be min_instances ({minimum}) with instance_type {machine}: SageMaker scales no burstable type; "
                "or choose another type",
                minimum=minimum,
                machine=machine,
            )
        return value
