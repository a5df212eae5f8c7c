"""One environment for the comparison: a serving stack with a real endpoint, its registry, budget, pipeline and alerts.

The handler runs in the test's process, or deployed with the rules of the templates.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from botocore.exceptions import ClientError

import reconcile
from binventory.core.names import DEPLOYMENT_TAG
from local_aws.server import LocalAws
from tests.contract.conftest import UPDATE_ROLE
from tests.contract.jobs import until
from tests.contract.serving import ROLE, put_artefact
from tests.stacks.conftest import ClientFactory
from tests.stacks.served import PIPELINE, create_budget, create_stack, deploy_function, parameters
from tests.stacks.templates import resources, templates

ACCOUNT = "123456789012"
LIMIT = 50.0
"""The budget, in dollars."""
_SERVED: dict[str, Any] = {
    "Model": {"ExecutionRoleArn": ROLE, "Containers": [{"ModelPackageName": {"Ref": "ModelPackageArn"}}]},
    "EndpointConfig": {
        "ProductionVariants": [
            {
                "VariantName": "primary",
                "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 1,
            }
        ]
    },
    "Endpoint": {
        "EndpointName": {"Ref": "Name"},
        "EndpointConfigName": {"Fn::GetAtt": ["EndpointConfig", "EndpointConfigName"]},
        "DeploymentConfig": {
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": {"Ref": "Baking"}},
            }
        },
    },
}
TEMPLATE: dict[str, Any] = {
    "Parameters": {
        "ModelPackageArn": {"Type": "String", "Default": ""},
        "ModelDigest": {"Type": "String", "Default": ""},
        "EndpointState": {"Type": "String", "Default": "off", "AllowedValues": ["on", "off"]},
        "Name": {"Type": "String"},
        "Baking": {"Type": "Number", "Default": 0},
    },
    "Conditions": {
        "Serving": {
            "Fn::And": [
                {"Fn::Not": [{"Fn::Equals": [{"Ref": "ModelPackageArn"}, ""]}]},
                {"Fn::Equals": [{"Ref": "EndpointState"}, "on"]},
            ]
        }
    },
    "Resources": {
        "Always": {"Type": "AWS::Logs::LogGroup"},
        **{
            name: {
                "Type": f"AWS::SageMaker::{name}",
                "Condition": "Serving",
                "Properties": properties,
                **({} if name == "Endpoint" else {"UpdateReplacePolicy": "Retain", "DeletionPolicy": "Delete"}),
            }
            for name, properties in _SERVED.items()
        },
    },
}
"""The serving stack's parameters, condition and resources. `Baking`: seconds that a new model is watched."""


def digest_of(artefact: str) -> str:
    """A digest for the archive at an address."""
    return hashlib.sha256(artefact.encode()).hexdigest()


class Environment:
    """Everything that the comparison looks at, under names that no other test uses."""

    def __init__(self, aws: ClientFactory, local: LocalAws, image: str, name: str = "") -> None:
        aws = cache(aws)
        self.aws = aws
        self.name = name or f"bins-{uuid.uuid4().hex[:8]}"
        self.stack_name = f"{self.name}-serving"
        self.image = image
        self._local = local
        self._ready = local.state_dir / f"ready-{uuid.uuid4().hex}"
        aws("sagemaker").create_model_package_group(ModelPackageGroupName=self.name)
        aws("s3").create_bucket(Bucket=self.name)
        create_budget(aws, self.name, LIMIT)
        aws("sagemaker").create_pipeline(
            PipelineName=self.name, PipelineDefinition=json.dumps(PIPELINE), RoleArn=ROLE,
            ClientRequestToken=uuid.uuid4().hex,
        )  # fmt: skip
        self.topic: str = aws("sns").create_topic(Name=self.name)["TopicArn"]
        self._queue: str = aws("sqs").create_queue(QueueName=self.name)["QueueUrl"]
        attributes = aws("sqs").get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])["Attributes"]
        aws("sns").subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=attributes["QueueArn"])

    @property
    def variables(self) -> dict[str, str]:
        """The function's variables."""
        return {
            "ACCOUNT": ACCOUNT,
            "ALERTS_TOPIC": self.topic,
            "BUDGET": self.name,
            "ENDPOINT": self.name,
            "GUARD_PERCENT": "100",
            "IDLE_SECONDS": "0",
            "MEMORY_BUCKET": self.name,
            "MODEL_PACKAGE_GROUP": self.name,
            "PIPELINES": self.name,
            "SERVING_STACK": self.stack_name,
            "UPDATE_ROLE": UPDATE_ROLE,
            "VARIANT": "primary",
        }

    def create(self, baking: int = 0) -> None:
        """The serving stack, off."""
        values = {"Name": self.name, "Baking": str(baking)}
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()]
        tags = [{"Key": DEPLOYMENT_TAG, "Value": self.name}]
        create_stack(self.aws, self.stack_name, TEMPLATE, Parameters=given, Tags=tags)

    def change(self, **values: str) -> None:
        """Starts an update of the stack, as `cdk deploy` or a person does."""
        keys = [name for name in TEMPLATE["Parameters"] if name not in values]
        self.aws("cloudformation").update_stack(
            StackName=self.stack_name,
            UsePreviousTemplate=True,
            Parameters=[
                *({"ParameterKey": key, "UsePreviousValue": True} for key in keys),
                *({"ParameterKey": key, "ParameterValue": value} for key, value in values.items()),
            ],
        )

    def register(self, *, group: str = "", held: bool = False, **behaviour: Any) -> str:
        """A package that waits for approval; `crash=True` makes one that cannot be loaded. Returns its ARN.

        group: another one than the environment's, which must exist.
        held: its rollout holds the stack until `release`.
        """
        if held:
            behaviour["ready"] = str(self._ready)
        artefact = put_artefact(self.aws, f"{self.name}-{uuid.uuid4().hex[:6]}", **behaviour)
        package: str = self.aws("sagemaker").create_model_package(
            ModelPackageGroupName=group or self.name,
            ModelApprovalStatus="PendingManualApproval",
            InferenceSpecification={
                "Containers": [{"Image": self.image, "ModelDataUrl": artefact}],
                "SupportedContentTypes": ["image/jpeg"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
            CustomerMetadataProperties={"archive": digest_of(artefact)},
        )["ModelPackageArn"]
        return package

    def release(self) -> None:
        """Lets the packages that are held become healthy."""
        self._ready.touch()

    def judge(self, package: str, status: str = "Approved") -> None:
        """A person approves or rejects a package."""
        self.aws("sagemaker").update_model_package(ModelPackageArn=package, ModelApprovalStatus=status)

    def approved(self, **behaviour: Any) -> str:
        """A new package that a person approves at once."""
        package = self.register(**behaviour)
        self.judge(package)
        return package

    def status_of(self, package: str) -> tuple[str, str]:
        """Approval state and description."""
        found = self.aws("sagemaker").describe_model_package(ModelPackageName=package)
        return found["ModelApprovalStatus"], found.get("ApprovalDescription", "")

    def compare(self, **event: Any) -> dict[str, str]:
        """One call of the handler in this process."""
        return reconcile.handler(event, None)

    def settled(self, seconds: float = 60) -> str:
        """The stack's status once it is at rest."""
        status = ""

        def at_rest() -> bool:
            nonlocal status
            status = self.stack_status()
            return not status.endswith("_IN_PROGRESS")

        until(at_rest, seconds=seconds)
        return status

    def settle(self) -> dict[str, str]:
        """Calls the handler at the end of each update until it starts none; returns the last answer."""
        for _ in range(10):
            self.settled()
            answer = self.compare(detail={})
            if answer["outcome"] in {"left", "held"}:
                return answer
        raise AssertionError(f"it does not come to rest: {answer}")

    def stack_status(self) -> str:
        """The stack's status in CloudFormation."""
        return str(self.aws("cloudformation").describe_stacks(StackName=self.stack_name)["Stacks"][0]["StackStatus"])

    @property
    def asked(self) -> tuple[str, str]:
        """The stack's parameters: package and state."""
        found = parameters(self.aws, self.stack_name)
        return found["ModelPackageArn"], found["EndpointState"]

    def serves(self) -> str:
        """The package behind the running endpoint; empty where none is in service."""
        sagemaker = self.aws("sagemaker")
        if not sagemaker.list_endpoints(NameContains=self.name)["Endpoints"]:
            return ""
        try:
            endpoint = sagemaker.describe_endpoint(EndpointName=self.name)
            if endpoint["EndpointStatus"] != "InService":
                return ""
            config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
            model = sagemaker.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
        except ClientError as error:
            if "Could not find" not in str(error):
                raise
            return ""  # it was deleted after it was listed
        return str(model["Containers"][0]["ModelPackageName"])

    def updates(self) -> int:
        """How many updates of the stack were begun."""
        pages = self.aws("cloudformation").get_paginator("describe_stack_events").paginate(StackName=self.stack_name)
        return sum(
            event["ResourceStatus"] == "UPDATE_IN_PROGRESS" and event["LogicalResourceId"] == self.stack_name
            for page in pages
            for event in page["StackEvents"]
        )

    def spend(self, amount: float) -> None:
        """Sets the budget's actual spend, which sends its notifications."""
        self._local.administer("budgets/spend", {"BudgetName": self.name, "Amount": str(amount)})

    def alerts(self, wait: float = 0.3) -> list[tuple[str, str]]:
        """Subject and text of the messages since the last call."""
        time.sleep(wait)
        messages = self.aws("sqs").receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages", [])
        for message in messages:
            self.aws("sqs").delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
        sent = [json.loads(message["Body"]) for message in messages]
        return [(entry["Subject"], entry["Message"]) for entry in sent]

    def waiting(self) -> int:
        """How many requests are not decided yet."""
        listed = self.aws("s3").list_objects_v2(Bucket=self.name, Prefix="endpoint/requests/")
        return int(listed["KeyCount"])

    def deploy(self) -> None:
        """The function and its rules as the training stack has them, but for their names; the budget calls it too."""
        function = deploy_function(self.aws, f"{self.name}-reconcile", "reconcile", self.variables)
        for number, pattern in enumerate(_patterns()):
            rule = f"{self.name}-{number}"
            ours = json.dumps(pattern).replace("binventory-dev", self.name)
            self.aws("events").put_rule(Name=rule, EventPattern=ours)
            self.aws("events").put_targets(Rule=rule, Targets=[{"Id": "function", "Arn": function}])
        topic = self.aws("sns").create_topic(Name=f"{self.name}-budget")["TopicArn"]
        self.aws("sns").subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function)
        self.aws("budgets").create_notification(
            AccountId=ACCOUNT,
            BudgetName=self.name,
            Notification={"NotificationType": "ACTUAL", "ComparisonOperator": "GREATER_THAN", "Threshold": 100.0},
            Subscribers=[{"SubscriptionType": "SNS", "Address": topic}],
        )

    def invoke(self, **event: Any) -> dict[str, str]:
        """Calls the deployed function; returns its answer."""
        reply = self.aws("lambda").invoke(FunctionName=f"{self.name}-reconcile", Payload=json.dumps(event).encode())
        body = reply["Payload"].read()
        assert "FunctionError" not in reply, body
        answer: dict[str, str] = json.loads(body)
        return answer

    def undeploy(self) -> None:
        """Removes the deployed function and its rules."""
        for number, _ in enumerate(_patterns()):
            self.aws("events").remove_targets(Rule=f"{self.name}-{number}", Ids=["function"])
            self.aws("events").delete_rule(Name=f"{self.name}-{number}")
        self.aws("lambda").delete_function(FunctionName=f"{self.name}-reconcile")

    def destroy(self) -> None:
        """Removes the stack."""
        cloudformation = self.aws("cloudformation")
        self.release()
        self.settled()
        cloudformation.delete_stack(StackName=self.stack_name)
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=self.stack_name, WaiterConfig={"Delay": 0.2})

    def forget(self) -> None:
        """Removes other resources with its name or tag, for the next test with that name."""
        sagemaker = self.aws("sagemaker")
        for config in self.configurations():
            sagemaker.delete_endpoint_config(EndpointConfigName=config)
        for model in self.models():
            sagemaker.delete_model(ModelName=model)
        for item in self.aws("s3").list_objects_v2(Bucket=self.name).get("Contents", []):
            self.aws("s3").delete_object(Bucket=self.name, Key=item["Key"])
        self.aws("s3").delete_bucket(Bucket=self.name)
        packages = self.aws("sagemaker").list_model_packages(ModelPackageGroupName=self.name, MaxResults=100)
        for package in packages["ModelPackageSummaryList"]:
            self.aws("sagemaker").delete_model_package(ModelPackageName=package["ModelPackageArn"])
        self.aws("sagemaker").delete_model_package_group(ModelPackageGroupName=self.name)
        self.aws("sagemaker").delete_pipeline(PipelineName=self.name, ClientRequestToken=uuid.uuid4().hex)
        self.aws("budgets").delete_budget(AccountId=ACCOUNT, BudgetName=self.name)
        self.aws("sqs").delete_queue(QueueUrl=self._queue)

    def configurations(self) -> list[str]:
        """Names of its endpoint configurations."""
        listed = self.aws("sagemaker").list_endpoint_configs(MaxResults=100)["EndpointConfigs"]
        return [config["EndpointConfigName"] for config in listed if self._owns(config["EndpointConfigArn"])]

    def models(self) -> list[str]:
        """Names of its models."""
        listed = self.aws("sagemaker").list_models(MaxResults=100)["Models"]
        return [model["ModelName"] for model in listed if self._owns(model["ModelArn"])]

    def _owns(self, arn: str) -> bool:
        """CloudFormation's names for models and configurations leave out the stack's, their tags do not.

        A rollout may delete what was listed before its tags are read.
        """
        try:
            listed = self.aws("sagemaker").list_tags(ResourceArn=arn)["Tags"]
        except ClientError as error:
            if "Could not find" not in str(error):
                raise
            return False
        tags = {tag["Key"]: tag["Value"] for tag in listed}
        return f"/{self.name}-" in arn or tags.get(DEPLOYMENT_TAG) == self.name


def _patterns() -> Iterator[dict[str, Any]]:
    """The event patterns of the rules that call the function."""
    rules = resources(templates("dev")["Training"], "AWS::Events::Rule").values()
    ends = ("-model-package", "-serving-settled", "-endpoint-changed")
    for rule in rules:
        if rule["Properties"]["Name"].endswith(ends):
            pattern = dict(rule["Properties"]["EventPattern"])
            if "stack-id" in pattern["detail"]:
                start = f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/binventory-dev-serving/"
                pattern["detail"] = {**pattern["detail"], "stack-id": [{"prefix": start}]}
            yield pattern


Made = Callable[..., Environment]
"""`Environment(baking=..., name=...)`, created and destroyed by the fixture `made`."""


def make(
    aws: ClientFactory, local: LocalAws, image: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Environment]]:
    """For a fixture: a function that makes an environment and sets the handler's variables to it."""
    made: list[Environment] = []

    def environment(*, baking: int = 0, name: str = "") -> Environment:
        one = Environment(aws, local, image, name)
        one.create(baking)
        for name, value in one.variables.items():
            monkeypatch.setenv(name, value)
        made.append(one)
        return one

    yield environment
    for one in made:
        one.destroy()
