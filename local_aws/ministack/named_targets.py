"""A policy, permission or subscription of a stack needs what it names; ministack makes it for nothing.

Uses these internals of version 1.5.33: in `services.cloudformation.provisioners` `_RESOURCE_HANDLERS` and
`_lambda_function_for_cfn_ref`, `services.s3._buckets` and `services.sns._topic_by_arn_any_scope`.
tests/contract/test_hooks.py fails for one that moved when ministack is upgraded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

Problem = Callable[[Mapping[str, Any]], str]
"""What the properties of a resource name that does not exist, in AWS's words; empty if everything exists."""


def require_named_targets() -> None:
    """Refuse to create a policy of a bucket or topic, a permission or a subscription where that does not exist."""
    from ministack.services import s3, sns
    from ministack.services.cloudformation import provisioners

    def bucket(properties: Mapping[str, Any]) -> str:
        name = properties.get("Bucket")
        return f"The specified bucket does not exist: {name}" if name and name not in s3._buckets else ""

    def function(properties: Mapping[str, Any]) -> str:
        name = properties.get("FunctionName")
        found = provisioners._lambda_function_for_cfn_ref(name or "")[0]
        return f"Function not found: {name}" if name and not found else ""

    def topics(properties: Mapping[str, Any]) -> str:
        named = [*(properties.get("Topics") or ()), *filter(None, [properties.get("TopicArn")])]
        missing = [arn for arn in named if sns._topic_by_arn_any_scope(arn) is None]
        return f"Topic does not exist: {', '.join(missing)}" if missing else ""

    _check("AWS::S3::BucketPolicy", bucket)
    _check("AWS::Lambda::Permission", function)
    _check("AWS::Lambda::EventInvokeConfig", function)
    _check("AWS::SNS::TopicPolicy", topics)
    _check("AWS::SNS::Subscription", topics)


def _check(kind: str, problem: Problem) -> None:
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS[kind]
    create = handlers["create"]

    @wraps(create)
    def create_checked(logical_id: str, properties: Mapping[str, Any], *more: Any) -> Any:
        if missing := problem(properties):
            raise ValueError(f"{missing} (Status Code: 404, HandlerErrorCode: NotFound)")
        return create(logical_id, properties, *more)

    handlers["create"] = create_checked
