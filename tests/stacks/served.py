"""A stand-in for the serving stack, and actions on it that several tests share."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

from stacks.shared.assets import lambda_files
from tests.contract.jobs import ROLE
from tests.stacks.conftest import ClientFactory

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/bins:1"
# The shape of the serving stack: the same parameters and condition, and one cheap resource that shows them.
TEMPLATE: dict[str, Any] = {
    "Parameters": {
        "ModelPackageArn": {"Type": "String", "Default": ""},
        "EndpointState": {"Type": "String", "Default": "off", "AllowedValues": ["on", "off"]},
        "Untouched": {"Type": "String", "Default": "default"},
    },
    "Conditions": {"Serving": {"Fn::Equals": [{"Ref": "EndpointState"}, "on"]}},
    "Resources": {
        "Always": {"Type": "AWS::SNS::Topic"},
        "Served": {
            "Type": "AWS::SSM::Parameter",
            "Condition": "Serving",
            "Properties": {"Type": "String", "Value": {"Fn::Sub": "${ModelPackageArn} ${Untouched}"}},
        },
    },
}
# The smallest pipeline that there is: it ends at once.
PIPELINE: dict[str, Any] = {
    "Version": "2020-12-01",
    "Metadata": {},
    "Parameters": [],
    "Steps": [{"Name": "End", "Type": "Fail", "Arguments": {"ErrorMessage": "done"}}],
}


def create_stack(aws: ClientFactory, name: str, template: dict[str, Any], **arguments: Any) -> None:
    """Creates a stack and waits for it."""
    cloudformation = aws("cloudformation")
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(template), **arguments)
    cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 0.2})


def register(aws: ClientFactory, group: str, status: str = "Approved", **more: Any) -> str:
    """Registers a model package, with more members of the request if any are given; returns its ARN."""
    arn: str = aws("sagemaker").create_model_package(
        ModelPackageGroupName=group,
        ModelApprovalStatus=status,
        InferenceSpecification={
            "Containers": [{"Image": IMAGE, "ModelDataUrl": "s3://bucket/model.tar.gz"}],
            "SupportedContentTypes": ["image/jpeg"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
        **more,
    )["ModelPackageArn"]
    return arn


def deploy_function(aws: ClientFactory, name: str, module: str, variables: dict[str, str]) -> str:
    """Deploys a function of lambda_code as it is; returns its ARN."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for member, path in lambda_files().items():
            packed.write(path, member)
    arn: str = aws("lambda").create_function(
        FunctionName=name,
        Runtime="python3.14",
        Role=ROLE,
        Handler=f"{module}.handler",
        Code={"ZipFile": archive.getvalue()},
        Timeout=120,
        Environment={"Variables": variables},
    )["FunctionArn"]
    return arn


def create_budget(aws: ClientFactory, name: str, dollars: float) -> None:
    """Creates a monthly budget, of which nothing is spent."""
    limit = {"Amount": f"{dollars:g}", "Unit": "USD"}
    budget = {"BudgetName": name, "BudgetType": "COST", "TimeUnit": "MONTHLY", "BudgetLimit": limit}
    aws("budgets").create_budget(AccountId="123456789012", Budget=budget)


def settled_parameters(aws: ClientFactory, stack: str) -> dict[str, str]:
    """The parameters' values after the update that is under way."""
    cloudformation = aws("cloudformation")
    cloudformation.get_waiter("stack_update_complete").wait(StackName=stack, WaiterConfig={"Delay": 0.2})
    description = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    return {entry["ParameterKey"]: entry["ParameterValue"] for entry in description["Parameters"]}


def parameters(aws: ClientFactory, stack: str) -> dict[str, str]:
    """The parameters' values as they are now."""
    description = aws("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return {entry["ParameterKey"]: entry["ParameterValue"] for entry in description["Parameters"]}
