"""Corrections of ministack's EC2, which stores instances as records and ignores their launch template.

Uses these internals of version 1.5.33: in `services.ec2` `_ACTION_MAP`, `_instances`, `_launch_templates`, `_tags`,
`_p`, `_parse_member_list` and `_error`, in `services.ssm` `_public_parameter` and `_PUBLIC_AMI_PARAMETERS`.
tests/contract/test_hooks.py fails for one that moved when ministack is upgraded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_DEEP_LEARNING = re.compile(r"/aws/service/deeplearning/ami/(x86_64|arm64)/[\w.-]+/latest/ami-id")
_DEEP_LEARNING_IMAGE = "ami-0dee91ea4a1a00001"
_MOST_TAGS = 50
_IN_METADATA = re.compile(r"(?!(\.|\.\.|_index)$)[0-9a-zA-Z\-_+=,.@:]{1,255}")
_KEYS_IN_METADATA = (
    r"Tag keys must match pattern ([0-9a-zA-Z\-_+=,.@:]{1,255}), and must not be a reserved name ('.', '..', '_index')"
)


@dataclass(frozen=True)
class Launched:
    """An instance that has just started."""

    instance_id: str
    user_data: str  # in base64, as in the API
    tags: Mapping[str, str]
    profile: str  # ARN of its instance profile, "" without one


def run_machines(
    started: Callable[[Launched], None], ended: Callable[[Sequence[str]], None], runs: Callable[[str], bool]
) -> None:
    """Make RunInstances use its launch template, as on AWS, and report instances that start and end.

    Args:
        started: called with an instance that has just started.
        ended: called with the ids of instances that were terminated.
        runs: whether the instance with this id runs as a process, which cannot be stopped and started again.
    """
    from ministack.services import ec2

    run_instances, terminate_instances = ec2._ACTION_MAP["RunInstances"], ec2._ACTION_MAP["TerminateInstances"]

    def run_as_templated(request: dict[str, Any]) -> Any:
        try:
            data = _launch_template_data(request)
        except KeyError as missing:
            message = f"Could not find the specified version {missing} for the launch template."
            return ec2._error("InvalidLaunchTemplateId.VersionNotFound", message, 400)
        if data is None:
            return run_instances(request)
        if refused := _unfit_for_metadata(data, request):
            return ec2._error("InvalidParameterValue", refused, 400)
        before = set(ec2._instances)
        reply = run_instances({**_templated(data), **request})
        for instance_id in set(ec2._instances) - before:
            tags = _tags(data, ec2._tags.get(instance_id, []))
            ec2._tags[instance_id] = [{"Key": key, "Value": value} for key, value in tags.items()]
            profile = str(data.get("IamInstanceProfile", {}).get("Arn", ""))
            started(Launched(instance_id, str(data.get("UserData", "")), tags, profile))
        return reply

    def terminate_and_report(request: dict[str, Any]) -> Any:
        reply = terminate_instances(request)
        ended(ec2._parse_member_list(request, "InstanceId"))
        return reply

    ec2._ACTION_MAP["RunInstances"], ec2._ACTION_MAP["TerminateInstances"] = run_as_templated, terminate_and_report
    for action in ("StopInstances", "RebootInstances"):
        ec2._ACTION_MAP[action] = _unless_it_runs(ec2._ACTION_MAP[action], runs)


def _unless_it_runs(act: Any, runs: Callable[[str], bool]) -> Any:
    from ministack.services import ec2

    def act_on_records(request: dict[str, Any]) -> Any:
        running = sorted(filter(runs, ec2._parse_member_list(request, "InstanceId")))
        if running:
            message = f"{', '.join(running)} runs as a process here, which can only end: terminate it"
            return ec2._error("UnsupportedOperation", message, 400)
        return act(request)

    return act_on_records


def _launch_template_data(request: Mapping[str, Any]) -> dict[str, Any] | None:
    """The data of the launch template that a request names, in the version that it names; None when it names none.

    Raises KeyError for a version that the template lacks.
    """
    from ministack.services import ec2

    wanted = {ec2._p(request, f"LaunchTemplate.LaunchTemplate{by}") for by in ("Name", "Id")} - {""}
    for template in ec2._launch_templates.values():
        if wanted & {template["LaunchTemplateName"], template["LaunchTemplateId"]}:
            version = ec2._p(request, "LaunchTemplate.Version") or "$Default"
            special = {"$Default": template["DefaultVersionNumber"], "$Latest": template["LatestVersionNumber"]}
            by_number = {str(found["VersionNumber"]): found for found in template["Versions"]}
            return dict(by_number[str(special.get(version, version))].get("LaunchTemplateData", {}))
    return None


def _templated(data: Mapping[str, Any]) -> dict[str, list[str]]:
    """A launch template's data as request parameters."""
    given = {name: data.get(name) for name in ("ImageId", "InstanceType", "UserData")}
    given["IamInstanceProfile.Arn"] = data.get("IamInstanceProfile", {}).get("Arn")
    return {name: [str(value)] for name, value in given.items() if value}


def _tags(data: Mapping[str, Any], asked: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """An instance's tags: those of the request, or those of the template where the request has none.

    EC2's documentation does not say whether they join; so nothing here may count on it.
    """
    if given := {tag["Key"]: tag["Value"] for tag in asked}:
        return given
    tags: dict[str, str] = {}
    for specification in data.get("TagSpecifications", ()):
        if specification.get("ResourceType") == "instance":
            tags |= {str(tag["Key"]): str(tag["Value"]) for tag in specification.get("Tags", ())}
    return tags


def _unfit_for_metadata(data: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    """What EC2 says of a tag that an instance cannot have because it reads its tags from its metadata; else empty."""
    from ministack.services import ec2

    if data.get("MetadataOptions", {}).get("InstanceMetadataTags") != "enabled":
        return ""
    asked = [
        ec2._p(request, f"{name.removesuffix('.ResourceType')}.Tag.{number}.Key")
        for name in request
        if name.endswith(".ResourceType") and ec2._p(request, name) == "instance"
        for number in range(1, _MOST_TAGS + 1)
    ]
    keys = [*_tags(data, ()), *filter(None, asked)]
    wrong = next((key for key in keys if not _IN_METADATA.fullmatch(key)), None)
    return f"'{wrong}' is not a valid tag key. {_KEYS_IN_METADATA}" if wrong is not None else ""


def add_deep_learning_images() -> None:
    """Add the public SSM parameters of AWS's Deep Learning AMIs; ministack has only two of Amazon Linux.

    All of them name the same image. It does not exist, as ministack's other images do not.
    """
    from ministack.services import ssm

    known = ssm._public_parameter

    def public_parameter(name: str) -> Any:
        if _DEEP_LEARNING.fullmatch(name):
            ssm._PUBLIC_AMI_PARAMETERS.setdefault(name, _DEEP_LEARNING_IMAGE)
        return known(name)

    ssm._public_parameter = public_parameter
