"""What ministack answers otherwise than AWS: owners, keys, parts and checksums of S3, metrics, log queries, managed
policies, long events.

Uses these internals of version 1.5.33: `app.SERVICE_HANDLERS`, in `services.s3` `_error`, `_put_object`,
`_copy_object`, `_buckets`, `_create_multipart_upload`, `_complete_multipart_upload` and `_multipart_uploads`, in
`services.cloudwatch` `_dims_from_list`, in `services.iam` `_error`,
`_lookup_policy`, `_aws_managed_policies`, `_IAM_HANDLERS`, `_roles` and `_users`, and
`services.cloudformation.engine._evaluate_conditions`.
tests/contract/test_hooks.py fails for one that moved when ministack is upgraded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final
from urllib.parse import parse_qs

from local_aws.ministack.refusals import Answer, before
from local_aws.ministack.stack_resources import Properties, refuse

_SMALLEST_PART: Final = 5 * 1024 * 1024
_OWNER: Final = ("x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner")
_QUOTED: Final = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`[^`]*`|/(?:\\.|[^/\\\n])+/")
_MALFORMED: Final = "The XML you provided was not well-formed or did not validate against our published schema"
_DISORDER: Final = (
    "The list of parts was not in ascending order. The parts list must be specified in order by part number."
)
_LONGEST_KEY: Final = 1024
_EVENTS: Final = 1024 * 1024
_COMMANDS: Final = ("fields", "filter", "sort", "limit")
_TYPES: Final = ("AWS::IAM::Role", "AWS::IAM::User")
_ATTACH: Final = {"AttachRolePolicy", "AttachUserPolicy", "AttachGroupPolicy"}


def correct_answers(*, account: str) -> None:
    """Install every correction of this module."""
    _check_owners(account)
    _refuse_long_keys()
    _refuse_wrong_parts()
    _return_checksums()
    _take_metrics_as_asked()
    _refuse_unknown_queries()
    _refuse_long_events()
    _attach_only_policies_that_exist()
    _simulate_by_full_address()
    _name_services_that_are_missing()
    _join_in_conditions()


def _check_owners(account: str) -> None:
    """Refuse a request to S3 that expects another account to own the bucket; ministack ignores what it expects."""
    from ministack.services import s3

    def refusal(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        for name in _OWNER:
            if headers.get(name, account) != account:
                status, answered, text = s3._error("AccessDenied", "Access Denied", 403)
                return status, answered, b"" if method == "HEAD" else text
        return None

    before("s3", refusal)


def _refuse_long_keys() -> None:
    """Refuse to write an object whose key has more than 1,024 bytes in UTF-8; ministack takes any."""
    from ministack.services import s3

    def checked(write: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(write)
        def write_checked(bucket: str, key: str, *more: Any) -> Any:
            if len(key.encode()) > _LONGEST_KEY:
                return s3._error("KeyTooLongError", "Your key is too long", 400, f"/{bucket}/{key}")
            return write(bucket, key, *more)

        return write_checked

    for name in ("_put_object", "_copy_object", "_create_multipart_upload"):
        setattr(s3, name, checked(getattr(s3, name)))


def _refuse_wrong_parts() -> None:
    """Refuse an upload of no parts, of parts out of order, or of one below 5 MiB that is not the last."""
    from ministack.services import s3

    complete = s3._complete_multipart_upload

    @wraps(complete)
    def complete_checked(bucket: str, key: str, body: bytes, query: Mapping[str, Any], *more: Any) -> Any:
        upload = s3._multipart_uploads.get((query.get("uploadId") or [""])[0]) or {}
        named = [int(number) for number in re.findall(rb"<PartNumber>(\d+)</PartNumber>", body)]
        if not named:
            return s3._error("MalformedXML", _MALFORMED, 400, f"/{bucket}/{key}")
        if named != sorted(set(named)):
            return s3._error("InvalidPartOrder", _DISORDER, 400, f"/{bucket}/{key}")
        for number in named[:-1]:
            size = upload.get("parts", {}).get(number, {}).get("size", _SMALLEST_PART)
            if size < _SMALLEST_PART:
                message = "Your proposed upload is smaller than the minimum allowed size"
                return s3._error("EntityTooSmall", message, 400, f"/{bucket}/{key}")
        return complete(bucket, key, body, query, *more)

    s3._complete_multipart_upload = complete_checked


def _return_checksums() -> None:
    """Return the checksums of an object with the answer to PutObject; ministack returns those of parts only."""
    from ministack.services import s3

    put = s3._put_object

    @wraps(put)
    def put_with_checksums(bucket: str, key: str, *more: Any) -> Any:
        status, headers, body = put(bucket, key, *more)
        if status == 200:
            found = s3._buckets[bucket]["objects"][key].get("checksums") or {}
            headers = {**headers, **{f"x-amz-checksum-{name.lower()}": value for name, value in found.items()}}
            headers |= {"x-amz-checksum-type": "FULL_OBJECT"} if found else {}
        return status, headers, body

    s3._put_object = put_with_checksums


class _Asked(dict[str, str]):
    """Dimensions that a request names: those of a metric without any are a choice too."""

    def __bool__(self) -> bool:
        return True


def _take_metrics_as_asked() -> None:
    """Read a metric with exactly the dimensions of the request; ministack sums over all when it names none."""
    from ministack.services import cloudwatch

    read = cloudwatch._dims_from_list
    cloudwatch._dims_from_list = lambda dimensions: _Asked(read(dimensions))


def _refuse_unknown_queries() -> None:
    """Refuse a query of Logs Insights with a command that ministack does not know and leaves out."""
    from ministack.core.responses import error_response_json

    def refusal(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        if headers.get("x-amz-target", "") != "Logs_20140328.StartQuery":
            return None
        text = str(json.loads(body or b"{}").get("queryString", ""))
        for command in _QUOTED.sub('""', re.sub(r"(?m)^\s*#.*$", "", text)).split("|"):
            name = command.split(maxsplit=1)[:1]
            if name and name[0].lower() not in _COMMANDS:
                message = (
                    f"The command {name[0]} does not run locally, only on AWS; the local CloudWatch Logs knows "
                    f"{', '.join(_COMMANDS)}: read the events and compute it from them"
                )
                refused: Answer = error_response_json("MalformedQueryException", message, 400)
                return refused
        return None

    before("logs", refusal)


def _refuse_long_events() -> None:
    """Refuse a PutEvents whose entries have 1 MB together, as AWS counts them; ministack takes any."""
    from ministack.core.responses import error_response_json

    def refusal(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        # No entry is longer than the body that has it.
        if headers.get("x-amz-target", "") != "AWSEvents.PutEvents" or len(body) < _EVENTS:
            return None
        if sum(map(_entry_size, json.loads(body).get("Entries") or ())) < _EVENTS:
            return None
        message = "Total size of the entries in the request is over the limit."
        refused: Answer = error_response_json("ValidationException", message, 400)
        return refused

    before("events", refusal)


def _entry_size(entry: Mapping[str, Any]) -> int:
    """Bytes of an entry: its texts in UTF-8, and 14 for a time."""
    texts = [entry.get(name) or "" for name in ("Source", "DetailType", "Detail")]
    return sum(len(str(text).encode()) for text in (*texts, *(entry.get("Resources") or ()))) + 14 * ("Time" in entry)


def _attach_only_policies_that_exist() -> None:
    """Refuse to attach a managed policy that does not exist, as AWS does; ministack attaches any address."""
    from ministack.services import iam

    def problem(arn: str) -> str | None:
        if iam._lookup_policy(arn) is not None:
            return None
        known = sorted(str(found).partition("policy/")[2] for found in iam._aws_managed_policies)
        here = (
            f" Of AWS's own policies the local AWS has {', '.join(known)}; give the role a policy of your own instead"
            if ":aws:policy/" in arn
            else ""
        )
        return f"Policy {arn} does not exist or is not attachable.{here}"

    def refusal(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        asked = parse_qs(body.decode("utf-8", errors="replace"))
        if not _ATTACH.intersection(asked.get("Action", ())):
            return None
        message = problem(asked.get("PolicyArn", [""])[0])
        refused: Answer | None = iam._error(404, "NoSuchEntity", message, ns="iam") if message else None
        return refused

    def of_resource(properties: Properties) -> str:
        arns = filter(None, properties.get("ManagedPolicyArns") or [])  # an empty list parameter has one empty part
        message = next(filter(None, map(problem, arns)), "")
        return message and f"{message} (Service: Iam, Status Code: 404, HandlerErrorCode: NotFound)"

    before("iam", refusal)
    for name in _TYPES:
        refuse(name, of_resource)


def _simulate_by_full_address() -> None:
    """Simulate the policies of the role or user with exactly this ARN.

    ministack takes a path for part of the name, finds no such role and answers that nothing is allowed.
    """
    from ministack.services import iam

    simulate = iam._IAM_HANDLERS["SimulatePrincipalPolicy"]

    @wraps(simulate)
    def simulate_checked(parameters: Mapping[str, list[str]]) -> Any:
        arn = (parameters.get("PolicySourceArn") or [""])[0]
        head, kind, rest = arn.partition(":role/" if ":role/" in arn else ":user/")
        if not rest:
            return simulate(parameters)
        name = rest.rpartition("/")[2]
        found = (iam._roles if kind == ":role/" else iam._users).get(name)
        if found is None or found["Arn"] != arn:
            return iam._error(404, "NoSuchEntity", f"The {kind[1:-1]} {arn} cannot be found.", ns="iam")
        return simulate({**parameters, "PolicySourceArn": [f"{head}{kind}{name}"]})

    iam._IAM_HANDLERS["SimulatePrincipalPolicy"] = simulate_checked


class _WithRefusals(dict[str, Any]):
    """Handlers by service; a service without one answers with an error that every SDK shows."""

    def get(self, service: str, default: Any = None) -> Any:
        return super().get(service) or _refuse_service(service)


def _refuse_service(service: str) -> Callable[..., Any]:
    async def refuse(*request: Any) -> Answer:
        message = f"The local AWS has no service {service}; AWS does"
        headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-ErrorType": "NotImplemented"}
        return 501, headers, json.dumps({"__type": "NotImplemented", "message": message}).encode()

    return refuse


def _name_services_that_are_missing() -> None:
    from ministack import app

    app.SERVICE_HANDLERS = _WithRefusals(app.SERVICE_HANDLERS)


def _join_in_conditions() -> None:
    """Evaluate Fn::Join in conditions; ministack takes it for a text that equals nothing.

    By such conditions `cdk bootstrap` decides which policies the role gets that deploys.
    """
    from ministack.services.cloudformation import changesets, engine, handlers, provisioners, stacks

    evaluate = engine._evaluate_conditions

    @wraps(evaluate)
    def evaluate_joined(template: dict[str, Any], parameters: Mapping[str, Mapping[str, Any]]) -> Any:
        conditions = _joined(template.get("Conditions", {}), parameters)
        return evaluate({**template, "Conditions": conditions}, parameters)

    for module in (changesets, engine, handlers, provisioners, stacks):
        if hasattr(module, "_evaluate_conditions"):
            module._evaluate_conditions = evaluate_joined


def _joined(value: Any, parameters: Mapping[str, Mapping[str, Any]]) -> Any:
    """A part of a template with a text in place of every Fn::Join of texts and parameters."""
    if isinstance(value, list):
        return [_joined(item, parameters) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Fn::Join"}:
        between, parts = value["Fn::Join"]
        # A list parameter is kept as one text.
        whole = _referred(parts, parameters)
        items = whole.split(",") if isinstance(whole, str) else [_referred(part, parameters) for part in whole]
        if all(isinstance(item, str) for item in items):
            return str(between).join(item.strip() if isinstance(whole, str) else item for item in items)
    return {key: _joined(item, parameters) for key, item in value.items()}


def _referred(value: Any, parameters: Mapping[str, Mapping[str, Any]]) -> Any:
    """The value of the parameter that a Ref names; anything else as it is."""
    if isinstance(value, dict) and set(value) == {"Ref"} and value["Ref"] in parameters:
        return str(parameters[value["Ref"]]["Value"])
    return value
