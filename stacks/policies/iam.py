"""What policies may allow, and to whom."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from stacks.policies.assembly import Assembly, Json, as_list, flatten, statements
from stacks.policies.rule import Finding, Rule

# Per the service authorization reference: "Resource types" is empty for these.
WITHOUT_RESOURCE = frozenset(
    {
        "application-autoscaling:DescribeScalableTargets",
        "application-autoscaling:DescribeScalingPolicies",
        "application-autoscaling:DescribeScheduledActions",
        "ce:GetCostAndUsage",
        "cloudwatch:DescribeAlarms",
        "cloudwatch:GetMetricData",
        "cloudwatch:GetMetricStatistics",
        "cloudwatch:ListMetrics",
        "cloudwatch:PutMetricData",
        "ec2:DescribeDhcpOptions",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "ecr:GetAuthorizationToken",
        "sagemaker:ListEndpointConfigs",
        "sagemaker:ListEndpoints",
        "sagemaker:ListModels",
        "sagemaker:ListTrainingJobs",
        "tag:GetResources",
    }
)


def _resources(assembly: Assembly) -> Iterator[Finding]:
    for resource, statement in statements(assembly):
        if statement.get("Effect") != "Allow":
            continue
        for member in ("NotAction", "NotResource"):
            if member in statement:
                yield Finding(resource, member, "allowed with all that it does not name")
        if "*" in as_list(statement.get("Resource", [])):
            actions = {str(action) for action in as_list(statement.get("Action", []))}
            if narrower := sorted(actions - WITHOUT_RESOURCE):
                yield Finding(resource, "Resource", f"* for {', '.join(narrower)}")


RESOURCES = Rule(
    id="BV-Resources",
    why="A right on every resource reaches those of other systems in the account.",
    fix="Name the resource, or add the action to WITHOUT_RESOURCE if IAM knows no resource for it.",
    link="https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html",
    find=_resources,
)


def _pass_role(assembly: Assembly) -> Iterator[Finding]:
    for resource, statement in statements(assembly):
        actions = [str(action).lower() for action in as_list(statement.get("Action", []))]
        if statement.get("Effect") != "Allow" or not any(fnmatchcase("iam:passrole", action) for action in actions):
            continue
        roles = [flatten(role) for role in as_list(statement.get("Resource", []))]
        if wild := [role for role in roles if "*" in role]:
            yield Finding(resource, "iam:PassRole", f"allowed on {', '.join(wild)}")
        if "iam:PassedToService" not in str(statement.get("Condition", {})):
            yield Finding(resource, "iam:PassRole", "allowed without a condition on iam:PassedToService")


PASS_ROLE = Rule(
    id="BV-PassRole",
    why="A role that can pass any role to any service has the rights of all of them.",
    fix="Name the roles, and add a condition on iam:PassedToService.",
    link="https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html",
    find=_pass_role,
)


# Type -> where its policy lies.
_POLICIES = {
    "AWS::ECR::Repository": "RepositoryPolicyText",
    "AWS::IAM::Role": "AssumeRolePolicyDocument",
    "AWS::KMS::Key": "KeyPolicy",
    "AWS::S3::BucketPolicy": "PolicyDocument",
    "AWS::SNS::TopicPolicy": "PolicyDocument",
    "AWS::SQS::QueuePolicy": "PolicyDocument",
}
# Each condition key names the account that a request comes from, directly or inside an ARN.
_WHOSE = (
    "aws:PrincipalAccount",
    "aws:ResourceAccount",
    "aws:SourceAccount",
    "aws:SourceArn",
    "kms:CallerAccount",
    "kms:EncryptionContext:aws:logs:arn",
    "token.actions.githubusercontent.com:sub",
)
# These services assume a role only for resources in the same account, so its trust policy needs no condition.
_BOUND_BY_THE_SERVICE = ("cloudformation.amazonaws.com", "lambda.amazonaws.com", "ec2.amazonaws.com")
_POSITIVE = ("StringEquals", "StringLike", "ArnEquals", "ArnLike")


def _own_account(assembly: Assembly) -> Iterator[Finding]:
    for resource in assembly.of_type(*_POLICIES):
        where = _POLICIES[resource.type]
        for statement in as_list(resource.properties.get(where, {}).get("Statement", [])):
            if statement.get("Effect") != "Allow":
                continue
            if "NotPrincipal" in statement:
                yield Finding(resource, f"{where}.NotPrincipal", "allowed with all whom it does not name")
            if not _says_whose(statement.get("Condition", {})):
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


OWN_ACCOUNT = Rule(
    id="BV-OwnAccount",
    why="A policy that allows a service or everybody without naming the account also allows other accounts.",
    fix="Add a condition on aws:SourceAccount or aws:PrincipalAccount, as BinventoryStack.topic does.",
    link="https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html",
    find=_own_account,
)

_MOST_OF_A_ROLE = 10_240


def _inline_policies(assembly: Assembly) -> Iterator[Finding]:
    sizes: dict[tuple[str, str], int] = defaultdict(int)
    for resource in assembly.of_type("AWS::IAM::Policy"):
        for role in as_list(resource.properties.get("Roles", [])):
            sizes[resource.template.stack, flatten(role)] += _characters(resource.properties["PolicyDocument"])
    for role in assembly.of_type("AWS::IAM::Role"):
        size = sizes[role.template.stack, f"<{role.logical_id}>"]
        size += sum(_characters(policy["PolicyDocument"]) for policy in role.properties.get("Policies", []))
        if size > _MOST_OF_A_ROLE:
            yield Finding(role, "its inline policies", f"about {size} characters, more than {_MOST_OF_A_ROLE}")


def _characters(document: Json) -> int:
    """Length of a policy. CloudFormation fills names in, which are about as long as the references to them."""
    return len(json.dumps(_filled_in(document), separators=(",", ":"), ensure_ascii=False))


def _filled_in(value: Any) -> Any:
    if isinstance(value, list):
        return [_filled_in(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and next(iter(value)).startswith(("Ref", "Fn::")):
        return flatten(value)
    return {key: _filled_in(item) for key, item in value.items()}


INLINE_POLICIES = Rule(
    id="BV-InlinePolicies",
    why="IAM refuses a role whose inline policies are longer than 10,240 characters together.",
    fix="Name fewer or shorter addresses in batch.photos_uris, or the folder above several of them.",
    link="https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html",
    find=_inline_policies,
)

RULES = (RESOURCES, PASS_ROLE, OWN_ACCOUNT, INLINE_POLICIES)
