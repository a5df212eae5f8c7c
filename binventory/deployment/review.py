"""Reads the output of `cdk diff` and finds what a deployment would lose, and what SageMaker would refuse.

Lost are stateful resources that are replaced or removed. Refused is another instance type for a variant that
autoscaling scales, and a way to serve into which SageMaker cannot turn an endpoint that exists.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from binventory.core.errors import Problem

# A replacement of one of these is empty, or breaks references from elsewhere.
STATEFUL = frozenset(
    {
        "AWS::S3::Bucket",
        "AWS::SageMaker::ModelPackageGroup",
        "AWS::KMS::Key",
        "AWS::Logs::LogGroup",
        "AWS::ECR::Repository",
        "AWS::IAM::OIDCProvider",
        "AWS::SNS::Topic",
        "AWS::DynamoDB::Table",
    }
)
_STACK = re.compile(r"^Stack (?P<name>\S+)")
_RESOURCE = re.compile(
    r"^\[(?P<sign>[-+~])\] (?P<type>[A-Z]\w*::\w+::\w+)\s+(?P<path>\S+)(?:\s+(?!replace|may |destroy|orphan)\S+)?"
    r"(?:\s+(?P<verdict>replace|may be replaced|destroy|orphan))?\s*$"
)
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CONFIGURATION = "AWS::SageMaker::EndpointConfig"
SCALED = "AWS::ApplicationAutoScaling::ScalableTarget"
REFUSED = "refused: another instance type while autoscaling scales the endpoint"
CONVERTED = "refused: an endpoint that is on cannot become serverless, nor stop to be asynchronous"
# https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints-update.html
_BECOMES_SERVERLESS = re.compile(r'^\s*\[\+\]\s+"ServerlessConfig":')
_IS_NO_LONGER_ASYNCHRONOUS = re.compile(r"^\W*\[-\] AsyncInferenceConfig\b")
_INSTANCE_TYPE_BEFORE = re.compile(r'^\s*\[-\]\s+"InstanceType":')
_END = re.compile(r"Number of stacks with differences: \d+")


@dataclass(frozen=True)
class Loss:
    """One resource that the change would replace or remove, or that SageMaker would not change so."""

    stack: str
    resource: str  # construct path
    type: str  # CloudFormation type
    verdict: str  # "replace", "may be replaced", "destroy" or "orphan", in the CDK's words; or REFUSED, CONVERTED


def losses(diff: str) -> list[Loss]:
    """The stateful resources that would be lost, in the order of the diff.

    Args:
        diff: the whole output of `cdk diff`, with or without colours.

    Raises:
        Problem: the text is no diff and cannot be reviewed.
    """
    return [
        Loss(entry.stack, entry.path, entry.type, entry.verdict)
        for entry in _entries(diff)
        if entry.type in STATEFUL and entry.verdict
    ]


def refused(diff: str, scaling_stacks: Collection[str] | None) -> list[Loss]:
    """The endpoint configurations into which SageMaker would not update an endpoint.

    REFUSED are those that get another instance type although autoscaling scales their variant, CONVERTED those of
    another way to serve.

    Args:
        diff: the whole output of `cdk diff`, with or without colours.
        scaling_stacks: the stacks that scale an endpoint after the deployment; None: unknown, so it is supposed.

    Raises:
        Problem: the text is no diff and cannot be reviewed.
    """
    entries = list(_entries(diff))
    added = {entry.stack for entry in entries if entry.type == SCALED and entry.sign == "+"}
    removed = {entry.stack for entry in entries if entry.type == SCALED and entry.sign == "-"}
    configurations = [entry for entry in entries if entry.type == _CONFIGURATION and entry.sign == "~"]
    converted = [
        Loss(entry.stack, entry.path, entry.type, CONVERTED)
        for entry in configurations
        if any(_BECOMES_SERVERLESS.match(line) or _IS_NO_LONGER_ASYNCHRONOUS.match(line) for line in entry.lines)
    ]
    return converted + [
        Loss(entry.stack, entry.path, entry.type, REFUSED)
        for entry in configurations
        if (entry.stack, entry.path) not in {(loss.stack, loss.resource) for loss in converted}
        and any(_INSTANCE_TYPE_BEFORE.match(line) for line in entry.lines)
        # CloudFormation registers a new target after the endpoint's update, and removes an old one after it.
        and entry.stack not in added
        and (entry.stack in removed or scaling_stacks is None or entry.stack in scaling_stacks)
    ]


@dataclass(frozen=True)
class _Entry:
    """One resource in a diff, with the lines below it."""

    stack: str
    sign: str
    type: str
    path: str
    verdict: str
    lines: list[str]


def _entries(diff: str) -> Iterator[_Entry]:
    text = _ESCAPES.sub("", diff)
    if not _END.search(text):
        raise Problem(
            "The diff cannot be reviewed",
            "it does not end as `cdk diff` ends, so the diff itself may have failed",
            "look at its output, then: npx cdk diff 2>&1 | tee cdk.diff && binventory review cdk.diff",
        )
    stack = ""
    lines: list[str] = []
    for line in text.splitlines():
        if heading := _STACK.match(line):
            stack = heading["name"]
        elif match := _RESOURCE.match(line):
            lines = []
            yield _Entry(stack, match["sign"], match["type"], match["path"], match["verdict"] or "", lines)
        else:
            lines.append(line)
