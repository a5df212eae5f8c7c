"""Extensions and corrections of ministack; those of EC2, IAM and stack changes are in ec2.py, iam.py and settling.py.

ministack has no extension points, so this module uses these internals of version 1.5.33: `app.SERVICE_HANDLERS`,
`core.router.SERVICE_PATTERNS`, in `services.cloudformation.provisioners` the tables of handlers, replacing
properties, custom names and tags, `_replacing_change`, in `services.cloudformation.stacks` `_runs_on_worker_thread`,
`_resolve_stack_outputs` and `_add_event`, `services.cloudformation.handlers._imported_export_names`,
`services.eventbridge._put_events`, in `services.ecr` `_describe_images`, `_find_image` and `_repositories`, and in
`core.responses` `_service_model`, `_BOTOCORE_NAME` and the request context. tests/contract/test_hooks.py fails for one
that moved when ministack is upgraded.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

Headers = dict[str, str]
Statistic = Callable[[Sequence[dict[str, Any]]], float | None]
NewState = Callable[[dict[str, Any], Sequence[dict[str, Any]], Statistic], tuple[str, str] | None]
BudgetNotification = dict[str, Any]
"""`notification`, as in the API (change its `NotificationState` in place), and `subscribers`."""

ServiceHandler = Callable[[str, str, Headers, bytes, dict[str, list[str]]], Awaitable[tuple[int, Headers, bytes]]]


@dataclass(frozen=True)
class ResourceHandlers:
    """A resource type of CloudFormation and the functions that ministack calls for it.

    Args:
        name: for example `AWS::SageMaker::Model`.
        functions: `create(logical id, properties, stack name)` and `update(physical id, old properties, new properties,
            stack name)`, which return physical id and attributes, and `delete(physical id, properties)`.
        replacing: properties whose change needs a new resource; `Budget.BudgetName` is a property of a property.
        name_property: the property that names it: with an unchanged explicit name it cannot be replaced.
        taggable: it has a `Tags` list, to which stack tags are added.
    """

    name: str
    functions: Mapping[str, Callable[..., Any]]
    replacing: tuple[str, ...]
    name_property: str | None
    taggable: bool


def configure(*, state_dir: Path, port: int, account: str, region: str, enforce_iam: bool) -> None:
    """Set the variables that ministack reads at its import; call this before anything imports it."""
    os.environ["AUTH"] = "true" if enforce_iam else "false"
    os.environ.update(
        BIND_HOST="127.0.0.1",
        GATEWAY_PORT=str(port),
        MINISTACK_ACCOUNT_ID=account,
        MINISTACK_REGION=region,
        IOT_MTLS_ENABLED="0",
        SFTP_ENABLED="0",
        PERSIST_STATE="1",
        STATE_DIR=str(state_dir / "ministack"),
        S3_PERSIST="1",
        S3_DATA_DIR=str(state_dir / "s3"),
        LOG_LEVEL=os.environ.get("LOG_LEVEL", "WARNING"),
    )


def application() -> Any:
    """ministack's ASGI application."""
    from ministack.app import app

    return app


def add_service(name: str, target_prefixes: Iterable[str], handler: ServiceHandler) -> None:
    """Route a service's requests, by X-Amz-Target or by the signature's scope, to `handler`."""
    from ministack import app
    from ministack.core import router

    router.SERVICE_PATTERNS[name] = {"target_prefixes": list(target_prefixes)}
    app.SERVICE_HANDLERS[name] = handler


def add_resource_types(types: Iterable[ResourceHandlers]) -> None:
    """Add resource types to ministack's CloudFormation.

    The handlers may block (an endpoint takes seconds), so they run on worker threads instead of the event loop.
    """
    from ministack.services.cloudformation import provisioners, stacks

    names = set()
    nested: dict[str, list[list[str]]] = {}
    for kind in types:
        names.add(kind.name)
        nested[kind.name] = [path.split(".") for path in kind.replacing if "." in path]
        provisioners._RESOURCE_HANDLERS[kind.name] = dict(kind.functions)
        provisioners._REPLACING_PROPERTIES[kind.name] = tuple(path for path in kind.replacing if "." not in path)
        if kind.name_property:
            provisioners._CUSTOM_NAME_REPLACEMENT[kind.name] = {"name": kind.name_property}
        if kind.taggable:
            provisioners._STACK_TAG_PROPERTY[kind.name] = ("Tags", "list")
    replacing_change = provisioners._replacing_change

    def replacing_change_too(resource_type: str, old: dict[str, Any], new: dict[str, Any]) -> bool:
        return replacing_change(resource_type, old, new) or any(
            _at(old, path) != _at(new, path) for path in nested.get(resource_type, ())
        )

    provisioners._replacing_change = replacing_change_too
    runs_on_worker_thread = stacks._runs_on_worker_thread

    def runs_on_worker_thread_too(resource_type: str) -> bool:
        return resource_type in names or runs_on_worker_thread(resource_type)

    stacks._runs_on_worker_thread = runs_on_worker_thread_too


def _at(properties: Any, path: Sequence[str]) -> Any:
    for name in path:
        properties = properties.get(name, {}) if isinstance(properties, dict) else {}
    return properties


def on_stack_status(listener: Callable[[str, str, str], None]) -> None:
    """Call `listener(stack id, status, reason)` on the event loop whenever a stack changes its status."""
    from ministack.services.cloudformation import changesets, handlers, stacks

    add_event = stacks._add_event

    def add_and_report(
        stack_id: str,
        stack_name: str,
        logical_id: str,
        kind: str,
        status: str,
        reason: str = "",
        *more: str,
        **named: str,
    ) -> None:
        add_event(stack_id, stack_name, logical_id, kind, status, reason, *more, **named)
        if kind == "AWS::CloudFormation::Stack" and logical_id == stack_name:
            listener(stack_id, status, reason)

    for module in (changesets, handlers, stacks):
        module._add_event = add_and_report


def keep_imported_exports() -> None:
    """Make an update fail that removes or changes an export which another stack imports, as on AWS.

    ministack refuses only to delete the exporting stack.
    """
    from ministack.services.cloudformation import _exports, _stacks, handlers, stacks

    resolve = stacks._resolve_stack_outputs

    def importers(export: str, stack_id: str) -> list[str]:
        return sorted(
            name
            for name, stack in _stacks.items()
            if stack["StackId"] != stack_id
            and stack["StackStatus"] != "DELETE_COMPLETE"
            and export in handlers._imported_export_names(stack, name)
        )

    def resolve_and_compare(
        outputs: Any, conditions: Any, resources: Any, parameters: Any, mappings: Any, name: str, stack_id: str
    ) -> tuple[list[dict[str, Any]], dict[str, dict[str, str]]]:
        resolved, new = resolve(outputs, conditions, resources, parameters, mappings, name, stack_id)
        for export, before in list(_exports.items()):
            if before["StackId"] != stack_id or new.get(export, {}).get("Value") == before["Value"]:
                continue
            if using := importers(export, stack_id):
                verb = "updated" if export in new else "deleted"
                raise ValueError(f"Export {export} cannot be {verb} as it is in use by {' and '.join(using)}")
        return resolved, new

    stacks._resolve_stack_outputs = resolve_and_compare


def read_descriptions_with(model: Callable[[str], Any]) -> None:
    """Have ministack find botocore's model of a service by `model`: by itself it reads each one a second time."""
    from botocore.exceptions import UnknownServiceError
    from ministack.core import responses

    @cache
    def service_model(service: str) -> Any:
        try:
            return model(responses._BOTOCORE_NAME.get(service, service))
        except UnknownServiceError:
            return None

    responses._service_model = service_model


def correct_ecr() -> None:
    """Make DescribeImages fail for an image that does not exist, as on AWS.

    ministack returns an empty list. The CDK CLI takes that for "already pushed" and would never build an image.
    """
    from ministack.core.responses import error_response_json
    from ministack.services import ecr

    describe_images = ecr._describe_images

    def describe_images_or_fail(request: dict[str, Any]) -> Any:
        repository = request.get("repositoryName", "")
        missing = [wanted for wanted in request.get("imageIds") or () if not ecr._find_image(repository, wanted)]
        if repository in ecr._repositories and missing:
            message = f"The image with imageId {json.dumps(missing[0])} does not exist in the repository {repository!r}"
            return error_response_json("ImageNotFoundException", message, 400)
        return describe_images(request)

    ecr._describe_images = describe_images_or_fail


def encrypt_with_the_managed_key(*, account: str, region: str) -> None:
    """Let a write with `aws:kms` and no key take the account's key aws/s3, as on AWS; ministack refuses it."""
    from ministack.services import s3

    resolve = s3._resolve_sse_write_headers
    identifier = uuid.uuid5(uuid.NAMESPACE_URL, f"arn:aws:kms:{region}:{account}:alias/aws/s3")
    key_header = "x-amz-server-side-encryption-aws-kms-key-id"

    def resolve_with_key(headers: Mapping[str, str], *more: Any) -> Any:
        if headers.get("x-amz-server-side-encryption") == "aws:kms" and not headers.get(key_header):
            headers = {**headers, key_header: f"arn:aws:kms:{region}:{account}:key/{identifier}"}
        return resolve(headers, *more)

    s3._resolve_sse_write_headers = resolve_with_key


def physical_name(stack_name: str, logical_id: str, longest: int) -> str:
    """The name that CloudFormation generates for a resource without one. It ends in random characters, as on AWS.

    ministack derives these characters from the stack's name: what an earlier stack of that name retained would collide.
    """
    suffix = uuid.uuid4().hex[:12].upper()
    return f"{f'{stack_name}-{logical_id}'[: longest - len(suffix) - 1]}-{suffix}"


def put_aws_event(
    *, source: str, detail_type: str, detail: Mapping[str, Any], resources: list[str], account: str, region: str
) -> None:
    """Publish an event with an `aws.*` source, which the public PutEvents refuses, as on AWS."""
    from ministack.core.responses import set_request_account_id, set_request_region
    from ministack.services import eventbridge

    set_request_account_id(account)
    set_request_region(region)
    entry = {"Source": source, "DetailType": detail_type, "Detail": json.dumps(detail), "Resources": resources}
    eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)


def replace_alarm_evaluation(new_state: NewState) -> None:
    """Make ministack's CloudWatch take the state of every metric alarm from `new_state`."""
    from ministack.services import cloudwatch

    def evaluate(alarm: dict[str, Any]) -> None:
        wanted = {item["Name"]: item["Value"] for item in alarm.get("Dimensions", [])}
        points = [
            point
            for (namespace, name, _), bucket in list(cloudwatch._metrics.items())
            if namespace == alarm.get("Namespace") and name == alarm.get("MetricName")
            for point in bucket
            if point["Dimensions"] == wanted and alarm.get("Unit") in (None, "", point["Unit"])
        ]
        which = alarm.get("ExtendedStatistic") or alarm.get("Statistic") or "Average"

        def statistic(some: Sequence[dict[str, Any]]) -> float | None:
            value = cloudwatch._stat_value(cloudwatch._calc_stats(some), which, some)
            return None if value is None else float(value)

        state = new_state(alarm, points, statistic)
        before = alarm["StateValue"]
        if state is None or state[0] == before:
            return
        alarm["StateValue"], alarm["StateReason"] = state
        alarm["StateUpdatedTimestamp"] = int(time.time())
        cloudwatch._record_history(alarm["AlarmName"], before, *state)
        cloudwatch._dispatch_alarm_actions(alarm, before, *state)
        cloudwatch._evaluate_parent_alarms(alarm)

    cloudwatch._evaluate_alarm = evaluate


def evaluate_alarms(*, account: str, region: str) -> None:
    """Evaluate every metric alarm now."""
    from ministack.core.responses import set_request_account_id, set_request_region
    from ministack.services import cloudwatch

    set_request_account_id(account)
    set_request_region(region)
    cloudwatch._evaluate_all_alarms()


def set_budget_spend(name: str, amount: str, *, account: str) -> list[BudgetNotification] | None:
    """Set a budget's actual spend, always 0 in ministack; returns its notifications, None without the budget."""
    from ministack.core.responses import set_request_account_id
    from ministack.services import budgets

    set_request_account_id(account)
    budget = budgets._budgets.get(name)
    if budget is None:
        return None
    budget["CalculatedSpend"]["ActualSpend"]["Amount"] = amount
    budget["LastUpdatedTime"] = time.time()
    found: list[BudgetNotification] = budgets._notification_store.get(name, [])
    return found
