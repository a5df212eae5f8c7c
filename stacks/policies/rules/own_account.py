"""What has a policy of its own is for this account: other accounts, and services that act for them, stay out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stacks.policies.assembly import Assembly, Json, as_list, flatten
from stacks.policies.rule import Finding, Rule

# Type -> where its policy lies.
_POLICIES = {
    "AWS::ECR::Repository": "RepositoryPolicyText",
    "AWS::IAM::Role": "AssumeRolePolicyDocument",
    "AWS::KMS::Key": "KeyPolicy",
    "AWS::S3::BucketPolicy": "PolicyDocument",
    "AWS::SNS::TopicPolicy": "PolicyDocument",
    "AWS::SQS::QueuePolicy": "PolicyDocument",
}
# Each says whose request it is: an account by its number, a principal by one that has the number in it.
_WHOSE = (
    "aws:PrincipalAccount",
    "aws:ResourceAccount",
    "aws:SourceAccount",
    "aws:SourceArn",
    "kms:CallerAccount",
    "kms:EncryptionContext:aws:logs:arn",
    "token.actions.githubusercontent.com:sub",
)
# Functions are called by one service of the account that holds them; the trust of their role needs no condition.
_BOUND_BY_THE_SERVICE = ("lambda.amazonaws.com", "ec2.amazonaws.com")
_POSITIVE = ("StringEquals", "StringLike", "ArnEquals", "ArnLike")


def _find(assembly: Assembly) -> Iterator[Finding]:
    for resource in assembly.of_type(*_POLICIES):
        where = _POLICIES[resource.type]
        for statement in as_list(resource.properties.get(where, {}).get("Statement", [])):
            if statement.get("Effect") == "Allow" and not _says_whose(statement.get("Condition", {})):
                for principal in _principals(statement.get("Principal", {})):
                    if not _is_own(principal):
                        yield Finding(resource, f"{where}.Principal", f"{principal} of any account")


def _principals(principal: Any) -> Iterator[str]:
    if isinstance(principal, str):
        yield principal
        return
    for values in principal.values():
        yield from (flatten(value) for value in as_list(values))


def _is_own(principal: str) -> bool:
    if principal in _BOUND_BY_THE_SERVICE:
        return True
    # A principal of this account, by its number or by a reference to a resource of these stacks.
    return "<AWS::AccountId>" in principal or (principal.startswith("<") and principal.endswith(".Arn>"))


def _says_whose(condition: Json) -> bool:
    return any(key in _WHOSE for operator in _POSITIVE for key in condition.get(operator, {}))


RULE = Rule(
    id="BV-OwnAccount",
    why="A policy that names a service or everybody, and not whose request it is, also opens for other accounts.",
    fix="Add a condition on aws:SourceAccount or aws:PrincipalAccount, as BinventoryStack.topic does.",
    link="https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html",
    find=_find,
)
