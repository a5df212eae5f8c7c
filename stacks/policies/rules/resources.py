"""A bare `*` is for actions that know no resource."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.policies.assembly import Assembly, as_list, statements
from stacks.policies.rule import Finding, Rule

# Per the service authorization reference: "Resource types" is empty for these.
WITHOUT_RESOURCE = frozenset(
    {
        "application-autoscaling:DescribeScalableTargets",
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


def _find(assembly: Assembly) -> Iterator[Finding]:
    for resource, statement in statements(assembly):
        if statement.get("Effect") == "Allow" and "*" in as_list(statement.get("Resource", [])):
            actions = {str(action) for action in as_list(statement.get("Action", []))}
            if narrower := sorted(actions - WITHOUT_RESOURCE):
                yield Finding(resource, "Resource", f"* for {', '.join(narrower)}")


RULE = Rule(
    id="BV-Resources",
    why="A right on everything is a right on everybody else's things in the account.",
    fix="Name the resource, or add the action to WITHOUT_RESOURCE if the service knows none for it.",
    link="https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html",
    find=_find,
)
