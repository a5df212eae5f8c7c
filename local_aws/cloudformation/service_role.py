"""What CloudFormation may do with the service role of a stack, where policies are enforced.

The resource types of `RESOURCE_TYPES` send requests as the role, and so do those of SageMaker and autoscaling. For
alarms and log groups the actions are those of the handlers in CloudFormation's schemas. Which actions other types need
is not listed here: a role must be allowed the action that is named after the type on every resource, as the role is
with which the CDK deploys. That is stricter than AWS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from local_aws.core.context import Context
from local_aws.core.protocol import Document
from local_aws.ministack import iam, stack_roles


class _Family(NamedTuple):
    """A type of ministack's: how its ARN is made of its name, and the actions of each handler."""

    arn: str
    name: str
    list: str
    create: tuple[str, ...]
    update: tuple[str, ...]
    delete: tuple[str, ...]


_FAMILIES: Mapping[str, _Family] = {
    "AWS::CloudWatch::Alarm": _Family(
        "arn:aws:cloudwatch:{region}:{account}:alarm:{name}",
        "AlarmName",
        "cloudwatch:DescribeAlarms",
        ("cloudwatch:PutMetricAlarm", "cloudwatch:TagResource", "cloudwatch:ListTagsForResource"),
        (
            *("cloudwatch:PutMetricAlarm", "cloudwatch:TagResource"),
            *("cloudwatch:UntagResource", "cloudwatch:ListTagsForResource"),
        ),
        ("cloudwatch:DeleteAlarms",),
    ),
    "AWS::Logs::LogGroup": _Family(
        "arn:aws:logs:{region}:{account}:log-group:{name}:*",
        "LogGroupName",
        "logs:DescribeLogGroups",
        ("logs:CreateLogGroup", "logs:PutRetentionPolicy", "logs:TagResource"),
        ("logs:PutRetentionPolicy", "logs:TagResource"),
        ("logs:DeleteLogGroup",),
    ),
}


def enforce(context: Context, own: frozenset[str]) -> None:
    """Hold every change of a resource to the rights of its stack's service role.

    Args:
        own: the types that send requests, which are checked themselves.
    """

    def guard(kind: str, verb: str, properties: Mapping[str, Any], work: stack_roles.Work) -> Any:
        role = stack_roles.service_role()
        if not role:
            return work()
        with context.acting(role, stack_roles.PRINCIPAL):
            if kind in own:
                return work()
            _check(context, kind, verb, dict(properties))
        return work()

    stack_roles.guard_resources(guard)


def _check(context: Context, kind: str, verb: str, properties: Document) -> None:
    """Raise PermissionError unless the acting role may do what a handler of this type does."""
    needs: list[tuple[str, str]]
    if family := _FAMILIES.get(kind):
        arn, every = (
            family.arn.format(region=context.region, account=context.account, name=name)
            for name in (properties.get(family.name, "*"), "*")
        )
        needs = [(family.list, every), *((action, arn) for action in getattr(family, verb))]
    else:
        _, service, noun = kind.split("::") if kind.count("::") == 2 else ("", kind.partition("::")[0], "Resource")
        needs = [(f"{service.lower()}:{verb.title()}{noun}", "*")]
    key = context.credentials()["AWS_ACCESS_KEY_ID"]
    for action, resource in needs:
        if denied := iam.denial(key, action, resource, {}, account=context.account, region=context.region):
            raise PermissionError(f"{denied} (Status Code: 403, HandlerErrorCode: AccessDenied)")
