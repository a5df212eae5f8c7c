"""What EventBridge, its Scheduler, SNS and alarms deliver: asynchronously to functions, and only where they may.

ministack runs the function of a rule, a schedule or a topic once and forgets its failure, and asks no policy whether
the service may call it or publish to a topic.

Uses these internals of version 1.5.33: in `services.eventbridge` `_dispatch_to_lambda` and `_invoke_target`,
`services.cloudwatch._dispatch_alarm_actions`, in `services.lambda_svc` `_get_func_record_for_ref`,
`_get_base_func_record_for_ref`, `_execution_record_for_config` and `invoke_async_with_retry`, in `services.sns`
`topic_policy_for_arn` and `_deliver_to_lambda`, `services.sqs.queue_policy_for_arn`, and in `core.iam_evaluator`
`EvalContext` and `evaluate_resource_policy`. tests/contract/test_hooks.py fails for one that moved when ministack is
upgraded.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from local_aws.ministack import iam

_log = logging.getLogger(__name__)
_ACTIONS_OF_STATE: Final = {
    "ALARM": "AlarmActions",
    "OK": "OKActions",
    "INSUFFICIENT_DATA": "InsufficientDataActions",
}
_ACTIONS: Final = {"lambda": "lambda:InvokeFunction", "sns": "sns:Publish", "sqs": "sqs:SendMessage"}


def invoke_functions_asynchronously() -> None:
    """Have Lambda repeat events of rules, schedules and topics that a function fails on, and send on what it gives up.

    A function is invoked asynchronously by all three.
    """
    from ministack.services import eventbridge, lambda_svc, sns

    def invoke(arn: str, event: Any) -> None:
        function, config, name = lambda_svc._get_func_record_for_ref(arn)
        if not function or not config:
            _log.warning("an event was not delivered: there is no function %s", name)
            return
        lambda_svc.invoke_async_with_retry(lambda_svc._execution_record_for_config(function, config), event)

    def dispatch(arn: str, payload: str) -> None:
        try:
            event = json.loads(payload)
        except ValueError:
            event = {"body": payload}
        invoke(arn, event)

    def deliver(arn: str, envelope: str, topic: str, subscription: str, *more: Any) -> None:
        record = {"EventVersion": "1.0", "EventSubscriptionArn": subscription, "EventSource": "aws:sns"}
        invoke(arn, {"Records": [{**record, "Sns": json.loads(envelope)}]})

    eventbridge._dispatch_to_lambda = dispatch
    sns._deliver_to_lambda = deliver


def deliver_what_policies_allow(*, account: str, region: str) -> None:
    """Drop what a target's policy keeps a rule, topic or alarm from delivering, or its role a schedule.

    The log says so.
    """
    from ministack.services import cloudwatch, eventbridge, sns

    def refused(service: str, source: str, target: str) -> bool:
        return _is_reported(source, target, service_denial(service, source, target, account=account, region=region))

    invoke = eventbridge._invoke_target

    def invoke_allowed(target: Mapping[str, Any], event: Any, rule: Mapping[str, Any], *more: Any) -> Any:
        source, arn, role = str(rule.get("Arn", "")), str(target.get("Arn", "")), target.get("RoleArn")
        if source.startswith("arn:aws:scheduler:"):
            dropped = _is_reported(source, arn, _role_denial(str(role), arn, account=account, region=region))
        else:
            dropped = refused("events.amazonaws.com", source, arn)
        return None if dropped else invoke(target, event, rule, *more)

    eventbridge._invoke_target = invoke_allowed
    deliver = sns._deliver_to_lambda

    def deliver_allowed(arn: str, envelope: str, topic: str, *more: Any) -> Any:
        return None if refused("sns.amazonaws.com", topic, arn) else deliver(arn, envelope, topic, *more)

    sns._deliver_to_lambda = deliver_allowed
    dispatch = cloudwatch._dispatch_alarm_actions

    def dispatch_allowed(alarm: Mapping[str, Any], *states: str) -> Any:
        source = str(alarm.get("AlarmArn", ""))
        member = _ACTIONS_OF_STATE.get(states[1], "")
        named = [arn for arn in alarm.get(member) or () if not refused("cloudwatch.amazonaws.com", source, arn)]
        return dispatch({**alarm, member: named}, *states)

    cloudwatch._dispatch_alarm_actions = dispatch_allowed


def _is_reported(source: str, target: str, denied: str | None) -> bool:
    """Whether a delivery is denied; the log says so."""
    if denied:
        _log.warning("%s did not deliver to %s: %s", source, target, denied)
    return bool(denied)


def _role_denial(role: str, target: str, *, account: str, region: str) -> str | None:
    """Why a schedule's role may not call its target; None if it may, or if the target is of another kind."""
    action = _ACTIONS.get(_service(target))
    if action is None:
        return None
    session = iam.role_session(role, "scheduler", account=account)
    return iam.denial(session["AWS_ACCESS_KEY_ID"], action, target, {}, account=account, region=region)


def service_denial(service: str, source: str, target: str, *, account: str, region: str) -> str | None:
    """Why the policy of a function, topic or queue does not let a service call it; None if it does.

    Args:
        service: for example `events.amazonaws.com`.
        source: ARN of the rule or alarm.
        target: ARN of what is called. One of another kind is not looked at.
        account: the account's number.
        region: its region.
    """
    from ministack.core import iam_evaluator

    action = _ACTIONS.get(_service(target))
    if action is None:
        return None
    keys = {"aws:sourcearn": source, "aws:sourceaccount": account}
    if service == "cloudwatch.amazonaws.com":
        keys["aws:sourceowner"] = account  # by which the policy that every topic begins with lets alarms in
    asked = iam_evaluator.EvalContext(
        principal_arn="*",
        principal_type="Service",
        principal_account="",
        action=action,
        resource_arn=target,
        region=region,
        secure_transport=True,
        service_context=keys,
    )
    found = iam_evaluator.evaluate_resource_policy(_policy(target), asked, service=service)
    return None if found.decision == "Allow" else f"its policy does not allow {service} to {action}"


def _policy(target: str) -> Any:
    """The policy of a function, topic or queue; None where there is none."""
    from ministack.services import lambda_svc, sns, sqs

    if _service(target) == "lambda":
        function, _, _ = lambda_svc._get_base_func_record_for_ref(target)
        return (function or {}).get("policy")
    found = (sns.topic_policy_for_arn if _service(target) == "sns" else sqs.queue_policy_for_arn)(target)
    return found[0] if found else None


def _service(arn: str) -> str:
    """The service that an ARN names; empty for a text that is no ARN."""
    return arn.split(":")[2] if arn.count(":") >= 5 else ""
