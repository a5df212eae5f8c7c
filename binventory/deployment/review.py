"""Reads the output of `cdk diff` and finds what a deployment would lose: stateful resources replaced or removed."""

from __future__ import annotations

import re
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
_CHANGES_NOTHING = re.compile(r"^There were no differences|Number of stacks with differences: \d+", re.MULTILINE)


@dataclass(frozen=True)
class Loss:
    """One stateful resource that the change would replace or remove."""

    stack: str
    resource: str  # construct path
    type: str  # CloudFormation type
    verdict: str  # "replace", "may be replaced", "destroy" or "orphan", in the CDK's words


def losses(diff: str) -> list[Loss]:
    """The stateful resources that would be lost, in the order of the diff.

    Args:
        diff: the whole output of `cdk diff`, with or without colours.

    Raises:
        Problem: the text is no diff and cannot be reviewed.
    """
    text = _ESCAPES.sub("", diff)
    if not _CHANGES_NOTHING.search(text):
        raise Problem(
            "The diff cannot be reviewed",
            "it does not end as `cdk diff` ends, so the diff itself may have failed",
            "look at its output, then: cdk diff 2>&1 | tee cdk.diff && binventory review cdk.diff",
        )
    stack = ""
    found = []
    for line in text.splitlines():
        if heading := _STACK.match(line):
            stack = heading["name"]
        elif (entry := _RESOURCE.match(line)) and entry["type"] in STATEFUL and entry["verdict"]:
            found.append(Loss(stack, entry["path"], entry["type"], entry["verdict"]))
    return found
