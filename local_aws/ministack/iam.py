"""Corrections of ministack's IAM; role sessions, policy decisions and denials.

Uses these internals of version 1.5.33: in `core.iam_actions` `extract_resource_arn`, `extract_iam_action` and
`request_tag_context`, in `core.iam_evaluator` `EvalContext`, `resolve_principal`, `parse_policy_document` and
`evaluate`, `core.router.extract_access_key_id`, `services.iam._roles`, and in `services.sts` `handle_request`,
`register_session` and `_error`.
tests/contract/test_hooks.py fails for one that moved when ministack is upgraded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from local_aws.ministack import resource_types, trust


def correct_requests() -> None:
    """Check requests as AWS's service authorisation reference documents them.

    ministack checks DescribeRepositories and the reads of budgets on `*` instead of on the resource, and
    CreateLogStream, PutLogEvents and DeleteLogStream on the log group instead of the stream. It omits the condition
    keys for the namespace of metrics and for what a stack operation names.
    """
    from ministack.core import iam_actions

    extract = iam_actions.extract_resource_arn

    def extract_corrected(service: str, *arguments: Any, **named: Any) -> str:
        found = str(extract(service, *arguments, **named))
        if service not in {"budgets", "ecr", "logs"} or len(arguments) != 7:
            return found
        _, _, headers, body, _, region, account = arguments
        request = _json_or_nothing(body)
        if service == "ecr" and found == "*" and request.get("repositoryNames"):
            return f"arn:aws:ecr:{region}:{account}:repository/{request['repositoryNames'][0]}"
        if service == "budgets" and request.get("BudgetName"):
            return f"arn:aws:budgets::{account}:budget/{request['BudgetName']}"
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        if action in {"CreateLogStream", "PutLogEvents", "DeleteLogStream"} and ":log-stream:" not in found:
            return f"{found.removesuffix(':*')}:log-stream:{request.get('logStreamName', '')}"
        return found

    extract_action = iam_actions.extract_iam_action

    def action_corrected(*arguments: Any, **named: Any) -> Any:
        # On AWS one permission covers every operation that reads budgets.
        found = extract_action(*arguments, **named)
        return "budgets:ViewBudget" if str(found).startswith("budgets:Describe") else found

    tag_context = iam_actions.request_tag_context

    def context_corrected(service: str, action: str, body: bytes, parameters: dict[str, Any]) -> dict[str, Any]:
        found = dict(tag_context(service, action, body, parameters))
        if action == "cloudwatch:PutMetricData":
            found["cloudwatch:namespace"] = _namespace(body, parameters)
        if service == "cloudformation":
            found |= resource_types.condition_keys(parameters)
        return found

    iam_actions.extract_resource_arn = extract_corrected
    iam_actions.extract_iam_action = action_corrected
    iam_actions.request_tag_context = context_corrected


def check_assumed_roles() -> None:
    """Refuse AssumeRole with tags to a caller whose own policies do not allow sts:TagSession on the role, as AWS does.

    ministack asks only the role's trust policy about the tags. Conditions of that policy that are not held are refused.
    """
    from ministack import app
    from ministack.services import sts

    handle = sts.handle_request

    async def handle_checked(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query: dict[str, list[str]]
    ) -> Any:
        from ministack.core.responses import get_account_id, get_region

        asked = {**query, **parse_qs(body.decode("utf-8", errors="replace"))}
        (role,) = asked.get("RoleArn", [""])
        if asked.get("Action") == ["AssumeRole"]:
            try:
                trust.refuse_unheld_conditions(role)
            except trust.ConditionNotHeldError as error:
                return sts._error(501, "NotImplemented", str(error), ns="sts")
        if asked.get("Action") == ["AssumeRole"] and any(name.startswith("Tags.") for name in asked):
            key = access_key_of(headers, query)
            refusal = denial(key, "sts:TagSession", role, {}, account=get_account_id(), region=get_region())
            if refusal:
                return sts._error(403, "AccessDenied", refusal, ns="sts")
        return await handle(method, path, headers, body, query)

    app.SERVICE_HANDLERS["sts"] = handle_checked


def _namespace(body: bytes, parameters: Mapping[str, Any]) -> str:
    """The namespace of PutMetricData, from boto3's JSON or the older form encoding; empty when absent."""
    named = _json_or_nothing(body).get("Namespace") or parameters.get("Namespace") or ""
    return str(named[0] if isinstance(named, list) else named)


def _json_or_nothing(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}  # empty, or in another protocol's encoding
    return document if isinstance(document, dict) else {}


def role_session(role_arn: str, session_name: str, *, account: str) -> dict[str, str]:
    """Credentials with which a service acts as a role: access key, secret and token as environment variables.

    Args:
        role_arn: the role, which trusts the service: see `trust.is_trusting`.
        session_name: part of the session's ARN.
        account: the account's number.
    """
    from ministack.services import sts

    name = role_arn.rsplit("/", 1)[-1]
    digest = hashlib.sha256(f"{role_arn} {session_name}".encode()).hexdigest()
    session = {
        "Arn": f"arn:aws:sts::{account}:assumed-role/{name}/{session_name}",
        "UserId": f"{name}:{session_name}",
        "SecretAccessKey": hashlib.sha256(f"secret {digest}".encode()).hexdigest(),
        "SessionToken": hashlib.sha256(f"token {digest}".encode()).hexdigest(),
    }
    access_key = f"ASIA{digest[:16].upper()}"
    sts.register_session(access_key, session)
    return {
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
        "AWS_SESSION_TOKEN": session["SessionToken"],
    }


def access_key_of(headers: Mapping[str, str], query: Mapping[str, list[str]]) -> str:
    """The access key that signed a request; empty when it is not signed."""
    from ministack.core.router import extract_access_key_id

    return str(extract_access_key_id(headers, query) or "")


def denial(
    access_key: str, action: str, resource: str, keys: Mapping[str, str], *, account: str, region: str
) -> str | None:
    """IAM's message if the holder of an access key may not do this; None if it may."""
    from ministack.core import iam_evaluator
    from ministack.core.responses import set_request_account_id

    set_request_account_id(account)
    principal = iam_evaluator.resolve_principal(access_key, account)
    if isinstance(principal, iam_evaluator.AuthError):
        return str(principal.message)
    if principal.policies is None:
        return None  # the account's root
    context = {"aws:tagkeys": None} | {key.lower(): value for key, value in keys.items()}
    asked = iam_evaluator.EvalContext(
        principal_arn=principal.arn,
        principal_type=principal.type,
        principal_account=principal.account,
        action=action,
        resource_arn=resource,
        region=region,
        secure_transport=True,  # as every request that a service makes on AWS
        service_context=context,
        principal_keys=principal.keys,
    )
    if iam_evaluator.evaluate(asked, principal.policies, *principal.limits).decision == "Allow":
        return None
    return f"User: {principal.arn} is not authorized to perform: {action} on resource: {resource}"


def record_decisions(record: Callable[[str, str, str, Mapping[str, str | list[str]]], None]) -> None:
    """Call `record(principal, action, resource, condition keys)` for each request that a role's policies allow."""
    from ministack.core import iam_evaluator

    evaluate = iam_evaluator.evaluate

    def evaluate_and_record(asked: Any, policies: Any, *limits: Any) -> Any:
        found = evaluate(asked, policies, *limits)
        if found.decision == "Allow" and asked.principal_type == "AssumedRole":
            keys = {
                key: value
                for key, value in asked.service_context.items()
                if isinstance(value, str) or key.startswith("cloudformation:")
            }
            record(asked.principal_arn, asked.action, asked.resource_arn, keys)
        return found

    iam_evaluator.evaluate = evaluate_and_record


def allows(
    statements: Sequence[Mapping[str, Any]], action: str, resource: str, keys: Mapping[str, str | list[str]]
) -> bool:
    """Whether a policy with these statements alone allows a role of the account to make a request.

    Args:
        statements: as in a policy document; a value may be a text or a list.
        action: such as `s3:GetObject`.
        resource: the request's ARN, or `*`.
        keys: the request's condition keys, in lower case.
    """
    from ministack.core import iam_evaluator

    asked = iam_evaluator.EvalContext(
        principal_arn="arn:aws:sts::123456789012:assumed-role/role/session",
        principal_type="AssumedRole",
        principal_account="123456789012",
        action=action,
        resource_arn=resource,
        region="us-east-1",
        service_context={"aws:tagkeys": None, **keys},
    )
    policy = iam_evaluator.parse_policy_document({"Version": "2012-10-17", "Statement": list(statements)})
    return bool(iam_evaluator.evaluate(asked, [policy]).decision == "Allow")
