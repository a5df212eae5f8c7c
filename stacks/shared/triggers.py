"""Schedules and events that invoke a Lambda function."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from aws_cdk import Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from constructs import Construct

from stacks.shared.permissions import allow

EVENT_RETRY_WINDOW = Duration.hours(6)
"""How long EventBridge and Lambda retry an event that could not be handled."""


def every(minutes: float) -> str:
    """A schedule expression for this interval, rounded down: EventBridge Scheduler takes whole minutes from 1."""
    whole = max(1, math.floor(minutes))
    return f"rate({whole} {'minute' if whole == 1 else 'minutes'})"


def call_on_schedule(
    scope: Construct,
    construct_id: str,
    function: lambda_.IFunction,
    expression: str,
    description: str,
    *,
    time_zone: str = "UTC",
    event: Mapping[str, str] | None = None,
) -> None:
    """Lets EventBridge Scheduler invoke a function, with a role that may do only that."""
    role = iam.Role(
        scope,
        f"{construct_id}Role",
        assumed_by=iam.ServicePrincipal(
            "scheduler.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": Stack.of(scope).account}}
        ),
    )
    policy = iam.Policy(
        scope,
        f"{construct_id}Policy",
        roles=[role],
        statements=[allow(["lambda:InvokeFunction"], [function.function_arn])],
    )
    schedule = scheduler.CfnSchedule(
        scope,
        construct_id,
        description=description,
        schedule_expression=expression,
        schedule_expression_timezone=time_zone,
        flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
        target=scheduler.CfnSchedule.TargetProperty(
            arn=function.function_arn,
            role_arn=role.role_arn,
            input=json.dumps(dict(event or {})),
            retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                maximum_retry_attempts=3, maximum_event_age_in_seconds=3600
            ),
        ),
    )
    schedule.node.add_dependency(policy)


def call_on_event(
    scope: Construct,
    construct_id: str,
    function: lambda_.IFunction,
    *,
    name: str,
    description: str,
    source: str,
    detail_type: str,
    detail: Mapping[str, Any],
) -> None:
    """Lets EventBridge invoke a function for every matching event; failed deliveries are retried for six hours.

    Args:
        name: the rule's name.
        source: the service that sends the event, for example `aws.sagemaker`.
        detail_type: the kind of event, for example `SageMaker Training Job State Change`.
        detail: pattern that the event's detail must match.
    """
    events.Rule(
        scope,
        construct_id,
        rule_name=name,
        description=description,
        event_pattern=events.EventPattern(source=[source], detail_type=[detail_type], detail=detail),
        targets=[targets.LambdaFunction(function, retry_attempts=10, max_event_age=EVENT_RETRY_WINDOW)],
    )
