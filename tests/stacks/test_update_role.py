"""Somebody with the credentials of the promotion function and a template of their own: what CloudFormation refuses.

The roles are those of the templates. The local AWS enforces their policies, and gives CloudFormation the rights of the
role that the update names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import pytest
from botocore.exceptions import ClientError

from stacks.names import SERVING_RESOURCE_TYPES
from stacks.policies.acknowledged import is_accepted
from stacks.serving.generated_names import Noun, logical_id, name_patterns
from tests.contract.conftest import connect
from tests.contract.test_authorisation import as_role, role, statement
from tests.contract.test_service_roles import CLOUDFORMATION, alarm, ended, refusals
from tests.forked import ForkedAws
from tests.rights import ACCOUNT, Deployment
from tests.stacks.conftest import ClientFactory
from tests.stacks.templates import resources, templates

STACK = "binventory-dev-serving"
SAGEMAKER = {"Service": "sagemaker.amazonaws.com"}
LATENCY = "binventory-dev-Latency"
WORDS = {
    "Parameters": {"EndpointState": {"Type": "String", "Default": "off", "AllowedValues": ["on", "off"]}},
    "Conditions": {"Serving": {"Fn::Equals": [{"Ref": "EndpointState"}, "on"]}},
}
LOG = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/aws/sagemaker/Endpoints/binventory-dev"}}
GROUP = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:model-package"


def template(**more: Mapping[str, Any]) -> str:
    """The serving stack, with one alarm while it serves, and with more resources."""
    own = {"EndpointLogs": LOG, "Latency": {**alarm(LATENCY), "Condition": "Serving"}}
    return json.dumps({**WORDS, "Resources": own | more})


@dataclass(frozen=True)
class Captured:
    """The function's credentials, beside those of the account."""

    cloudformation: Any
    update_role: str
    endpoint_role: str
    """Its name."""
    root: ClientFactory

    def update(self, state: str = "off", **request: Any) -> str:
        """Updates the stack; returns its status at rest."""
        given = [{"ParameterKey": "EndpointState", "ParameterValue": state}]
        allowed = {"RoleARN": self.update_role, "ResourceTypes": list(SERVING_RESOURCE_TYPES)}
        self.cloudformation.update_stack(StackName=STACK, Parameters=given, **(allowed | request))
        return ended(self.root, STACK)


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Captured]:
    """The serving stack as deployed, by a role that may do everything."""
    found = Deployment(templates("dev")).roles()
    (function,) = (name for name in found if "ReconcileFunctionRole" in name)
    (update,) = (name for name in found if "ServingUpdateRole" in name)
    (endpoint,) = (name for name in found if "ServingRolesEndpoint" in name)
    with ForkedAws(tmp_path_factory.mktemp("strict-aws"), enforce_iam=True) as aws:
        root = connect(aws)
        own = role(root, function, {"AWS": ACCOUNT}, *found[function])
        update_role = role(root, update, CLOUDFORMATION, *found[update])
        role(root, endpoint, SAGEMAKER, *found[endpoint])
        role(root, "administers", SAGEMAKER, statement("*"))
        deploys = role(root, "deploys", CLOUDFORMATION, statement("*"))
        root("cloudformation").create_stack(StackName=STACK, TemplateBody=template(), RoleARN=deploys)
        assert ended(root, STACK) == "CREATE_COMPLETE"
        yield Captured(as_role(aws, root, own)("cloudformation"), update_role, endpoint, root)


def model(role_name: str, **container: str) -> dict[str, Any]:
    """A model in a template."""
    properties = {"ExecutionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/{role_name}", "PrimaryContainer": container}
    return {"Type": "AWS::SageMaker::Model", "Properties": properties}


def own_model() -> str:
    """The logical id of the model in the template of the serving stack."""
    (found,) = resources(templates("dev")["Serving"], "AWS::SageMaker::Model")
    return found


def test_promotion_changes_parameters_with_the_stacks_own_role(captured: Captured) -> None:
    assert captured.update("on", UsePreviousTemplate=True) == "UPDATE_COMPLETE", refusals(captured.root, STACK)
    found = captured.root("cloudwatch").describe_alarms(AlarmNames=[LATENCY])["MetricAlarms"]
    assert [item["AlarmName"] for item in found] == [LATENCY]
    described = captured.root("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
    assert described["RoleARN"] == captured.update_role


def test_a_promotion_makes_a_model_under_the_name_that_cloudformation_gives(captured: Captured) -> None:
    """It begins with the logical id of the template, without the stack's name."""
    served = model(captured.endpoint_role, ModelPackageName=f"{GROUP}/binventory-dev/1")
    captured.update("on", TemplateBody=template(**{own_model(): served}))
    words = refusals(captured.root, STACK).split("Resource creation cancelled")[0]
    assert "ModelPackage" in words and "does not exist" in words and "not authorized" not in words


@pytest.mark.parametrize("prefix", ["bins-dev", "binventory-dev", "warehouse-north-east-prod"])
@pytest.mark.parametrize("noun", ["model", "endpoint-config"])
def test_the_role_may_use_names_that_cloudformation_cuts_short(prefix: str, noun: Noun) -> None:
    """It cuts the logical id, and the stack's name if that comes first: twelve random characters need room."""
    own, stack_name = logical_id(prefix, noun), f"{prefix}-serving"
    patterns = name_patterns(stack_name, prefix, noun)
    starts = (own[: 40 - 13], own[: 63 - 13], f"{stack_name}-{own}"[: 63 - 13], f"{stack_name[:24]}-{own[:25]}")
    for start in starts:
        assert any(fnmatchcase(f"{start}-a1b2c3d4e5f6", pattern) for pattern in patterns)
    for pattern in patterns:
        assert not fnmatchcase("theirs", pattern)
        arn = f"arn:aws:sagemaker:us-east-1:<AWS::AccountId>:{noun}/{pattern}"
        assert is_accepted(f"AwsSolutions-IAM5[Resource::{arn}]")


def test_an_update_that_leaves_the_role_to_cloudformation_is_refused(captured: Captured) -> None:
    """The stack was deployed by a role that may do everything: CloudFormation would act with it."""
    deploys = f"arn:aws:iam::{ACCOUNT}:role/deploys"
    request = {"StackName": STACK, "UsePreviousTemplate": True, "ResourceTypes": list(SERVING_RESOURCE_TYPES)}
    for chosen in ({}, {"RoleARN": deploys}):
        with pytest.raises(ClientError, match=r"not authorized to perform: (cloudformation:UpdateStack|iam:PassRole)"):
            captured.cloudformation.update_stack(**request, **chosen)


IN_ITS_PLACE = ("an administrator's role", "a model package of another group")
"""What is planted in place of the served model, whose name the role may use."""
PLANTED: dict[str, tuple[dict[str, Any], str]] = {
    "an administrator's role": (model("administers", Image="any"), "iam:PassRole"),
    "a model package of another group": (
        model("administers", ModelPackageName=f"{GROUP}/other/1"),
        f"sagemaker:CreateModel on resource: {GROUP}/other/1",
    ),
    "another endpoint": (
        {
            "Type": "AWS::SageMaker::Endpoint",
            "Properties": {"EndpointName": "theirs", "EndpointConfigName": f"{STACK}-any"},
        },
        "sagemaker:CreateEndpoint",
    ),
    "a model that another stack could have": (
        model("administers", Image="any"),
        f"sagemaker:CreateModel on resource: arn:aws:sagemaker:us-east-1:{ACCOUNT}:model/planted-",
    ),
    "a model with another name": (
        {
            "Type": "AWS::SageMaker::Model",
            "Properties": {
                "ModelName": "theirs",
                "ExecutionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/administers",
                "PrimaryContainer": {"Image": "any"},
            },
        },
        "sagemaker:CreateModel",
    ),
    "another alarm": (alarm("binventory-dev-reconcile-errors"), "cloudwatch:PutMetricAlarm"),
    "another log group": (
        {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "theirs"}},
        "logs:DescribeLogGroups",
    ),
    "another service's capacity": (
        {
            "Type": "AWS::ApplicationAutoScaling::ScalableTarget",
            "Properties": {
                "ServiceNamespace": "ecs",
                "ResourceId": "service/theirs/web",
                "ScalableDimension": "ecs:service:DesiredCount",
                "MinCapacity": 1,
                "MaxCapacity": 900,
            },
        },
        "application-autoscaling:RegisterScalableTarget",
    ),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_template_in_the_request_brings_nothing_but_what_serves(captured: Captured, planted: str) -> None:
    resource, right = PLANTED[planted]
    logical_id = own_model() if planted in IN_ITS_PLACE else "Planted"
    status = captured.update("on", TemplateBody=template(**{logical_id: resource}))
    assert status == "UPDATE_ROLLBACK_COMPLETE"
    words = refusals(captured.root, STACK).split("Resource creation cancelled")[0]
    assert f"is not authorized to perform: {right}" in words


def test_a_template_in_the_request_removes_nothing_that_stays(captured: Captured) -> None:
    """The log group is there whether the stack serves or not; no update of parameters touches it."""
    left = json.dumps({**WORDS, "Resources": {"Latency": {**alarm(LATENCY), "Condition": "Serving"}}})
    captured.update("on", TemplateBody=left)
    groups = captured.root("logs").describe_log_groups(logGroupNamePrefix="/aws/sagemaker/Endpoints/")["logGroups"]
    assert [group["logGroupName"] for group in groups] == ["/aws/sagemaker/Endpoints/binventory-dev"]
