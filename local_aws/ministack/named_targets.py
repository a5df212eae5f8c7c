"""A policy, permission or subscription of a stack needs what it names; ministack makes it for nothing.

Uses these internals of version 1.5.33: `services.cloudformation.provisioners._lambda_function_for_cfn_ref`,
`services.s3._buckets` and `services.sns._topic_by_arn_any_scope`.
tests/contract/test_hooks.py fails for one that moved when ministack is upgraded.
"""

from __future__ import annotations

from local_aws.ministack.stack_resources import Problem, Properties, refuse


def require_named_targets() -> None:
    """Refuse to create a policy of a bucket or topic, a permission or a subscription where that does not exist."""
    from ministack.services import s3, sns
    from ministack.services.cloudformation import provisioners

    def bucket(properties: Properties) -> str:
        name = properties.get("Bucket")
        return f"The specified bucket does not exist: {name}" if name and name not in s3._buckets else ""

    def function(properties: Properties) -> str:
        name = properties.get("FunctionName")
        found = provisioners._lambda_function_for_cfn_ref(name or "")[0]
        return f"Function not found: {name}" if name and not found else ""

    def topics(properties: Properties) -> str:
        named = [*(properties.get("Topics") or ()), *filter(None, [properties.get("TopicArn")])]
        missing = [arn for arn in named if sns._topic_by_arn_any_scope(arn) is None]
        return f"Topic does not exist: {', '.join(missing)}" if missing else ""

    _check("AWS::S3::BucketPolicy", bucket)
    _check("AWS::Lambda::Permission", function)
    _check("AWS::Lambda::EventInvokeConfig", function)
    _check("AWS::SNS::TopicPolicy", topics)
    _check("AWS::SNS::Subscription", topics)


def _check(kind: str, missing: Problem) -> None:
    def problem(properties: Properties) -> str:
        found = missing(properties)
        return found and f"{found} (Status Code: 404, HandlerErrorCode: NotFound)"

    refuse(kind, problem, "create")
