"""The parts of ministack that local_aws relies on: after an upgrade these tests name what moved."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import pkgutil
import re
from typing import Any

import pytest

from local_aws.ministack.copies import copied
from local_aws.ministack.forked_workers import SCRIPT
from local_aws.ministack.late_imports import LATE
from local_aws.ministack.schedules import fill_in_attributes
from local_aws.ministack.workers import PATH_IS_COMPLETE, RUN

PARTS: list[tuple[str, str, type | None]] = [
    ("app", "SERVICE_HANDLERS", dict),
    ("app", "app", None),
    ("app", "SERVICE_REGISTRY", dict),
    ("core.persistence", "STATE_DIR", str),
    ("services.cloudformation", "_stacks", None),
    ("services.cloudformation", "_change_sets", None),
    ("core.router", "SERVICE_PATTERNS", dict),
    ("core.lambda_runtime", "_PYTHON_WORKER_SCRIPT", str),
    ("core.responses", "AccountScopedDict", type),
    ("core.responses", "AccountRegionScopedDict", type),
    ("core.responses", "set_request_account_id", None),
    ("core.responses", "set_request_region", None),
    ("core.iam_evaluator", "EvalContext", None),
    ("services.ec2", "_ACTION_MAP", dict),
    ("services.ec2", "_instances", None),
    ("services.ec2", "_launch_templates", None),
    ("services.ec2", "_tags", None),
    ("services.ssm", "_PUBLIC_AMI_PARAMETERS", dict),
    ("services.iam", "_roles", None),
    ("services.budgets", "_budgets", None),
    ("services.cloudwatch_logs", "_log_groups", None),
    ("services.budgets", "_notification_store", None),
    ("services.cloudformation.handlers", "_ACTION_HANDLERS", dict),
    ("services.cloudformation.provisioners", "_RESOURCE_HANDLERS", dict),
    ("services.cloudformation.provisioners", "_REPLACING_PROPERTIES", dict),
    ("services.cloudformation.provisioners", "_CUSTOM_NAME_REPLACEMENT", dict),
    ("services.cloudformation.provisioners", "_STACK_TAG_PROPERTY", dict),
    ("services.cloudformation.provisioners", "_S3_BUCKET_CONFIGURATIONS", tuple),
    ("services.cloudwatch", "_metrics", None),
    ("services.s3", "_buckets", None),
    ("services.s3", "_multipart_uploads", None),
    ("services.iam", "_aws_managed_policies", dict),
    ("services.iam", "_IAM_HANDLERS", dict),
    ("services.iam", "_users", None),
    ("services.scheduler", "_schedules", None),
    ("services.lambda_svc", "_functions", None),
    ("services.cloudwatch", "_alarms", None),
    ("services.cloudwatch", "_dashboards", None),
    ("services.eventbridge", "_rules", None),
    ("services.scheduler", "_schedule_last_fired", dict),
    ("services.scheduler", "_SCHEDULE_TICK_INTERVAL", int),
]
FUNCTIONS: list[tuple[str, str, list[str]]] = [
    (
        "core.iam_actions",
        "extract_resource_arn",
        ["service", "method", "path", "headers", "body", "query_params", "region", "account_id"],
    ),
    ("core.iam_actions", "extract_iam_action", ["service", "method", "path", "headers", "body", "query_params"]),
    ("core.iam_actions", "request_tag_context", ["service", "iam_action", "body", "params"]),
    ("core.iam_evaluator", "resolve_principal", ["access_key_id", "account_id"]),
    ("core.iam_evaluator", "evaluate", ["ctx"]),
    ("core.iam_evaluator", "_conditions_met", ["conditions", "ctx"]),
    ("core.iam_evaluator", "_action_matches", ["request_action", "actions"]),
    ("core.router", "extract_access_key_id", ["headers", "query_params"]),
    ("services.sts", "_error", ["status", "code", "message", "ns"]),
    ("services.sts", "handle_request", ["method", "path", "headers", "body", "query_params"]),
    ("services.sts", "register_session", []),
    ("services.cloudformation.stacks", "_runs_on_worker_thread", ["resource_type"]),
    ("services.cloudformation.stacks", "_provision_keeping_seed", ["args"]),
    ("services.cloudformation.stacks", "_update_keeping_seed", ["args"]),
    (
        "services.cloudformation.provisioners",
        "_with_stack_tags",
        ["resource_type", "props", "stack_tags", "stack_name", "stack_id", "logical_id"],
    ),
    (
        "services.cloudformation.provisioners",
        "_provision_resource",
        ["resource_type", "logical_id", "props", "stack_name"],
    ),
    (
        "services.cloudformation.provisioners",
        "_update_resource",
        ["resource_type", "physical_id", "old_props", "new_props", "stack_name", "logical_id", "old_attrs"],
    ),
    (
        "services.cloudformation.stacks",
        "_resolve_stack_outputs",
        ["outputs_defs", "conditions", "resources", "param_values", "mappings", "stack_name", "stack_id"],
    ),
    ("services.cloudformation.handlers", "_imported_export_names", ["stack", "stack_name"]),
    ("services.cloudformation.engine", "_evaluate_conditions", ["template", "params"]),
    ("services.cloudformation.changesets", "_find_change_set", ["cs_name", "stack_name"]),
    ("services.cloudformation.handlers", "_resolve_stack", ["stack_name"]),
    ("services.cloudformation.helpers", "_error", ["code", "message", "status"]),
    ("services.cloudformation.helpers", "_p", ["params", "key"]),
    ("services.cloudformation.provisioners", "_replacing_change", ["resource_type", "old_props", "new_props"]),
    *(
        (
            f"services.cloudformation.{module}",
            "_add_event",
            ["stack_id", "stack_name", "logical_id", "resource_type", "status", "reason"],
        )
        for module in ("changesets", "handlers", "stacks")
    ),
    *(
        (f"services.cloudformation.{module}", "_create_stack_task_in_region", ["coro", "stack", "stack_id"])
        for module in ("changesets", "handlers")
    ),
    ("app", "save_all", ["services"]),
    ("app", "_build_persistence_save_dict", []),
    ("app", "_load_persisted_state", []),
    ("core.persistence", "_json_default", ["obj"]),
    ("core.persistence", "_state_format_version", ["service"]),
    ("services.lambda_svc", "_prune_orphan_code_blobs", ["referenced"]),
    ("core.sigv4", "parse_header_signature", ["headers"]),
    ("core.sigv4", "parse_query_signature", ["query_params"]),
    ("core.sigv4", "request_time_failure", ["signature"]),
    ("core.sigv4", "presigned_request_is_expired", ["amz_date", "expires"]),
    (
        "core.sigv4",
        "header_signature_failure",
        ["signature", "secret", "method", "raw_path", "query_params", "headers", "body", "presigned"],
    ),
    ("core.iam_evaluator", "resolve_credential", ["access_key_id", "account_id", "session_token"]),
    ("core.iam_evaluator", "SignedRequest", ["access_key_id", "method", "raw_path", "query_params", "headers"]),
    ("core.iam_evaluator", "_sigv2_check", ["request", "account_id"]),
    ("core.iam_actions", "access_denied_response", ["service", "action", "request_id", "error_code", "message"]),
    ("core.router", "detect_service", ["method", "path", "headers", "query_params"]),
    ("core.responses", "_account_from_sts_session", []),
    ("app", "_routing_params", ["method", "path", "headers", "body", "query_params"]),
    ("app", "_extract_s3_vhost_bucket", ["host"]),
    ("services.lambda_svc", "_presigned_code_url", ["func_name"]),
    ("services.lambda_svc", "_layer_content_url", ["layer_name", "version"]),
    ("services.s3", "_resolve_sse_write_headers", ["headers", "bucket_name"]),
    ("services.s3", "_error", ["code", "message", "status"]),
    ("services.s3", "_parse_bucket_key", ["path", "headers"]),
    ("services.s3", "_create_bucket", ["name", "body", "headers", "endpoint_region"]),
    ("services.s3", "_validate_bucket_name", ["name"]),
    ("services.s3", "_put_object", ["bucket_name", "key", "body", "headers"]),
    ("services.s3", "_copy_object", ["bucket_name", "dest_key", "headers"]),
    ("services.s3", "_create_multipart_upload", ["bucket_name", "key", "headers"]),
    ("services.s3", "_complete_multipart_upload", ["bucket_name", "key", "body", "query_params", "headers"]),
    *(
        ("services.s3", f"_put_bucket_{name}", ["name", "body"])
        for name in ("encryption", "lifecycle", "logging", "versioning")
    ),
    *(("services.s3", f"_delete_bucket_{name}", ["name"]) for name in ("encryption", "lifecycle")),
    ("services.s3", "_delete_bucket", ["name"]),
    ("services.cloudwatch", "_dims_from_list", ["dimensions"]),
    ("services.iam", "_error", ["status", "code", "message", "ns"]),
    ("services.iam", "_lookup_policy", ["arn"]),
    ("services.cloudwatch", "_evaluate_alarm", ["alarm"]),
    ("services.cloudwatch", "_evaluate_all_alarms", []),
    ("services.cloudwatch", "_evaluate_parent_alarms", ["child"]),
    ("services.cloudwatch", "_record_history", ["alarm_name", "old_state", "new_state", "reason"]),
    ("services.cloudwatch", "_dispatch_alarm_actions", ["alarm", "old_state", "new_state", "reason"]),
    ("services.cloudwatch", "_stat_value", ["stats", "stat_name", "points"]),
    ("services.cloudwatch", "_calc_stats", ["points"]),
    ("services.cloudwatch", "_put_metric_alarm", ["params", "cbor_data", "is_cbor", "is_json"]),
    ("services.cloudwatch", "_error", ["code", "message", "status", "use_json", "use_cbor"]),
    ("services.eventbridge", "_event_pattern_error", ["pattern_str"]),
    ("services.ec2", "_p", ["params", "key"]),
    ("services.ec2", "_parse_member_list", []),
    ("services.ec2", "_error", ["code", "message", "status"]),
    ("services.ssm", "_public_parameter", ["name"]),
    ("services.ecr", "_describe_images", []),
    ("services.ecr", "_find_image", []),
    ("core.responses", "error_response_json", ["code", "message", "status"]),
    ("services.eventbridge", "_put_events", ["data", "allow_aws_source"]),
    ("services.eventbridge", "_rule_key", ["rule_name", "bus_name"]),
    ("services.eventbridge", "_dispatch_to_lambda", ["arn", "payload"]),
    ("services.lambda_svc", "_fetch_code_from_s3", ["bucket", "key", "version_id"]),
    ("services.lambda_svc", "_get_func_record_for_ref", ["function_ref"]),
    ("services.lambda_svc", "_get_base_func_record_for_ref", ["function_ref"]),
    ("services.lambda_svc", "_execution_record_for_config", ["func", "config"]),
    ("services.lambda_svc", "invoke_async_with_retry", ["func", "event"]),
    ("services.sns", "topic_policy_for_arn", ["topic_arn"]),
    ("services.sns", "_deliver_to_lambda", ["endpoint", "envelope", "topic_arn", "sub_arn"]),
    ("services.sqs", "queue_policy_for_arn", ["queue_arn"]),
    ("core.iam_evaluator", "evaluate_resource_policy", ["doc", "ctx", "service"]),
    ("services.eventbridge", "_parse_rate_seconds", ["expr"]),
    ("services.eventbridge", "_parse_cron_fields", ["expr"]),
    ("services.eventbridge", "_cron_next_fire", ["fields", "after_dt"]),
    ("services.eventbridge", "_invoke_target", ["target", "event", "rule"]),
    ("services.cloudformation.provisioners", "_lambda_function_for_cfn_ref", ["function_ref"]),
    ("services.sns", "_topic_by_arn_any_scope", []),
    ("services.scheduler", "_tick_schedules", []),
    ("services.scheduler", "_to_epoch", ["value"]),
    ("services.scheduler", "_error", ["status", "code", "message"]),
]


def part(module: str, name: str) -> Any:
    """An attribute of one of ministack's modules."""
    return getattr(importlib.import_module(f"ministack.{module}"), name, None)


@pytest.mark.parametrize(("module", "name", "kind"), PARTS)
def test_a_part_is_where_it_was(module: str, name: str, kind: type | None) -> None:
    """Present, and of the kind that is added to."""
    found = part(module, name)
    assert found is not None, f"ministack.{module}.{name} is gone: local_aws/ministack/ needs another way in"
    assert kind is None or isinstance(found, kind)


@pytest.mark.parametrize(("module", "name", "parameters"), FUNCTIONS)
def test_a_function_is_called_as_it_was(module: str, name: str, parameters: list[str]) -> None:
    """Present, with the parameters that local_aws passes or replaces."""
    found = part(module, name)
    assert callable(found), f"ministack.{module}.{name} is gone: local_aws/ministack/ needs another way in"
    assert [item for item in parameters if item not in inspect.signature(found).parameters] == []


def test_services_that_are_imported_late_are_where_they_were() -> None:
    """A name that ministack no longer has would be imported at every start."""
    services = importlib.util.find_spec("ministack.services")
    assert services is not None
    assert set(LATE) <= {module.name for module in pkgutil.iter_modules(services.submodule_search_locations)}


def test_a_functions_worker_calls_what_is_replaced_and_runs_at_its_end() -> None:
    """Its own packages come before botocore is looked for."""
    script = part("core.lambda_runtime", "_PYTHON_WORKER_SCRIPT")
    assert script.endswith(RUN)
    assert f"    {PATH_IS_COMPLETE}()\n" in script


def test_a_worker_is_started_as_what_is_forked_instead() -> None:
    """By its script's name, in its folder, with its environment and three pipes; nothing but its streams is used."""
    start = inspect.getsource(part("core.lambda_runtime", "Worker")._spawn)
    assert "self._proc = subprocess.Popen(\n            [binary, worker_path],\n            cwd=code_dir," in start
    assert f'f"{SCRIPT.removesuffix(".py")}{{ext}}"' in start and "env=spawn_env" in start
    runtime = importlib.import_module("ministack.core.lambda_runtime")
    used = set(re.findall(r"\bproc\.(\w+)", inspect.getsource(runtime)))
    assert used <= {"poll", "terminate", "kill", "wait", "stdin", "stdout", "stderr"}


@pytest.mark.parametrize("kind", ["AccountScopedDict", "AccountRegionScopedDict"])
@pytest.mark.parametrize("held", ["text", lambda: None], ids=["plain", "a function"])
def test_a_copy_of_a_state_shares_nothing_with_it(kind: str, held: object) -> None:
    """Also where the state holds what cannot be pickled."""
    state = part("core.responses", kind)()
    state["name"] = {"held": held, "list": [1]}
    copy = copied(state, {})
    state["name"]["list"].append(2)
    state["more"] = 1
    assert type(copy) is type(state)
    assert copy.items() == [("name", {"held": held, "list": [1]})]


@pytest.mark.parametrize(
    ("expression", "time"),
    [("at(2020-11-30T07:00:00)", "2020-11-30T07:00:00Z"), ("rate(1 minute)", r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")],
)
def test_a_schedule_names_its_time_and_its_delivery(
    monkeypatch: pytest.MonkeyPatch, expression: str, time: str
) -> None:
    scheduler = importlib.import_module("ministack.services.scheduler")
    eventbridge = importlib.import_module("ministack.services.eventbridge")
    delivered: list[str] = []
    monkeypatch.setattr(eventbridge, "_invoke_target", lambda target, *_: delivered.append(target["Input"]))
    fill_in_attributes()
    names = ("schedule-arn", "scheduled-time", "execution-id", "attempt-number")
    text = json.dumps({name: f"<aws.scheduler.{name}>" for name in names})
    monkeypatch.setattr(scheduler, "_schedule_last_fired", {})
    monkeypatch.setattr(scheduler, "_schedules", part("core.responses", "AccountRegionScopedDict")())
    scheduler._schedules["default/hours"] = {
        "State": "ENABLED", "ScheduleExpression": expression, "Arn": "arn:of:it", "CreationDate": 0,
        "Target": {"Arn": "arn:of:target", "Input": text},
    }  # fmt: skip
    scheduler._tick_schedules()
    (found,) = [json.loads(one) for one in delivered]
    assert (found["schedule-arn"], found["attempt-number"]) == ("arn:of:it", "1")
    assert re.fullmatch(time, found["scheduled-time"])
    assert "<" not in found["execution-id"]


def test_the_version_is_the_one_that_was_looked_into() -> None:
    """Internals may move with any release, so the pin and this line move together."""
    assert importlib.metadata.version("ministack") == "1.5.33"
