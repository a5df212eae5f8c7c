"""CloudFormation with the types that ministack lacks: create, replace, roll back, delete."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.server import LocalAws
from stacks.settings import load
from tests.contract.conftest import ClientFactory
from tests.contract.serving import ROLE, ask, push_image, put_artefact
from tests.contract.stacked import Stack, Template
from tests.stacks.templates import changed, only, resources, synthesize


@pytest.fixture(scope="module")
def image(local_aws: LocalAws, client: ClientFactory) -> str:
    """The tiny image's URI."""
    return push_image(local_aws, client)


def serving(image: str) -> Template:
    """Model, configuration, endpoint and autoscaling, which exist only when the artefact's URI is given."""
    resources: dict[str, dict[str, Any]] = {
        "Model": {
            "Type": "AWS::SageMaker::Model",
            "Properties": {
                "ExecutionRoleArn": ROLE,
                "PrimaryContainer": {"Image": image, "ModelDataUrl": {"Ref": "Artefact"}},
                "Tags": [{"Key": "cost", "Value": "serving"}],
            },
        },
        "Config": {
            "Type": "AWS::SageMaker::EndpointConfig",
            "Properties": {
                "ProductionVariants": [
                    {
                        "VariantName": "primary",
                        "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
                        "InstanceType": "ml.m5.large",
                        "InitialInstanceCount": "1",
                        "InitialVariantWeight": "1",
                    }
                ]
            },
        },
        "Endpoint": {
            "Type": "AWS::SageMaker::Endpoint",
            "Properties": {
                "EndpointName": "stacked",
                "EndpointConfigName": {"Fn::GetAtt": ["Config", "EndpointConfigName"]},
                "RetainAllVariantProperties": "false",
            },
        },
        "Target": {
            "Type": "AWS::ApplicationAutoScaling::ScalableTarget",
            "DependsOn": "Endpoint",
            "Properties": {
                "ServiceNamespace": "sagemaker",
                "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
                "ResourceId": "endpoint/stacked/variant/primary",
                "MinCapacity": 1,
                "MaxCapacity": "3",
            },
        },
        "Policy": {
            "Type": "AWS::ApplicationAutoScaling::ScalingPolicy",
            "Properties": {
                "PolicyName": "invocations",
                "PolicyType": "TargetTrackingScaling",
                "ScalingTargetId": {"Ref": "Target"},
                "TargetTrackingScalingPolicyConfiguration": {
                    "TargetValue": "100",
                    "ScaleInCooldown": "300",
                    "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
                },
            },
        },
    }
    for resource in resources.values():
        resource["Condition"] = "Serves"
    return {
        "Parameters": {"Artefact": {"Type": "String", "Default": ""}},
        "Conditions": {"Serves": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Artefact"}, ""]}]}},
        "Resources": {"Group": {"Type": "AWS::SageMaker::ModelPackageGroup", "Properties": group()}} | resources,
        "Outputs": {"Endpoint": {"Value": {"Ref": "Endpoint"}, "Condition": "Serves"}},
    }


def group() -> dict[str, Any]:
    """A model package group's properties."""
    return {"ModelPackageGroupName": "stacked", "ModelPackageGroupPolicy": {"Version": "2012-10-17", "Statement": []}}


def names(client: ClientFactory) -> dict[str, list[str]]:
    """Every resource of serving that exists."""
    sagemaker = client("sagemaker")
    targets = client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    policies = client("application-autoscaling").describe_scaling_policies(ServiceNamespace="sagemaker")
    return {
        "models": [item["ModelName"] for item in sagemaker.list_models()["Models"]],
        "configs": [item["EndpointConfigName"] for item in sagemaker.list_endpoint_configs()["EndpointConfigs"]],
        "endpoints": [item["EndpointName"] for item in sagemaker.list_endpoints()["Endpoints"]],
        "targets": [item["ResourceId"] for item in targets["ScalableTargets"]],
        "policies": [item["PolicyName"] for item in policies["ScalingPolicies"]],
    }


def test_the_life_of_a_serving_stack(client: ClientFactory, image: str) -> None:
    """Off, on, promoted, a promotion that is rolled back, off again, deleted."""
    stack, template = Stack(client, "serving"), serving(image)
    nothing: dict[str, list[str]] = {kind: [] for kind in ("models", "configs", "endpoints", "targets", "policies")}

    assert stack.create(template) == "CREATE_COMPLETE"
    assert names(client) == nothing, "without an artefact nothing exists that bills"

    assert stack.update(template, Artefact=put_artefact(client, "first")) == "UPDATE_COMPLETE", stack.reasons()
    assert stack.outputs()["Endpoint"].endswith(":endpoint/stacked")
    assert ask(client, "stacked")["name"] == "first"
    first = names(client)
    assert [len(kind) for kind in first.values()] == [1, 1, 1, 1, 1]
    # As seen on AWS, where names of these types leave out the stack's: https://github.com/aws/aws-cli/issues/4021
    assert re.fullmatch(r"Model-[A-Za-z0-9]{12}", first["models"][0])
    assert re.fullmatch(r"Config-[A-Za-z0-9]{12}", first["configs"][0])
    model = client("sagemaker").describe_model(ModelName=first["models"][0])
    tags = client("sagemaker").list_tags(ResourceArn=model["ModelArn"])["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags}.items() >= {"cost": "serving"}.items()
    (target,) = client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")[
        "ScalableTargets"
    ]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 3)

    assert stack.update(template, Artefact=put_artefact(client, "second")) == "UPDATE_COMPLETE", stack.reasons()
    assert ask(client, "stacked")["name"] == "second"
    second = names(client)
    assert second["endpoints"] == first["endpoints"], "updated in place"
    assert second["models"] != first["models"] and len(second["models"]) == 1, "replaced, the old one removed"

    broken = put_artefact(client, "third", crash=True)
    assert stack.update(template, Artefact=broken) == "UPDATE_ROLLBACK_COMPLETE"
    assert "did not pass the ping health check" in stack.reasons()
    assert ask(client, "stacked")["name"] == "second"
    assert names(client) == second, "what the failed update made is gone"

    assert stack.update(template, Artefact="") == "UPDATE_COMPLETE"
    assert names(client) == nothing
    stack.delete()
    assert client("sagemaker").list_model_package_groups()["ModelPackageGroupSummaryList"] == []


def test_an_endpoint_that_never_starts_leaves_nothing(client: ClientFactory, image: str) -> None:
    """The stack rolls back, and the failed endpoint does not stay behind under its name."""
    stack = Stack(client, "stillborn")
    artefact = put_artefact(client, "stillborn", crash=True)
    assert stack.create(serving(image), Artefact=artefact) == "ROLLBACK_COMPLETE"
    assert "cannot load the model" in stack.reasons()
    assert all(kind == [] for kind in names(client).values())
    stack.delete()


def test_a_named_configuration_cannot_be_replaced_in_place(client: ClientFactory, image: str) -> None:
    """As on AWS: a custom name and a change that needs a new resource are refused together."""
    stack, template = Stack(client, "named"), serving(image)
    del template["Resources"]["Policy"], template["Resources"]["Target"], template["Resources"]["Endpoint"]
    del template["Outputs"]
    template["Resources"]["Config"]["Properties"]["EndpointConfigName"] = "fixed"
    template["Resources"]["Group"]["Properties"]["ModelPackageGroupName"] = "named"
    artefact = put_artefact(client, "named")
    assert stack.create(template, Artefact=artefact) == "CREATE_COMPLETE", stack.reasons()
    changed = copy.deepcopy(template)
    changed["Resources"]["Config"]["Properties"]["ProductionVariants"][0]["InitialInstanceCount"] = "2"
    assert stack.update(changed, Artefact=artefact) == "UPDATE_ROLLBACK_COMPLETE"
    assert "custom-named resource" in stack.reasons()
    stack.delete()


def test_budgets_providers_and_pipelines(local_aws: LocalAws, client: ClientFactory) -> None:
    """Created with the API's types, changed, and removed."""
    step = {"Name": "Stop", "Type": "Fail", "Arguments": {"ErrorMessage": "no"}}
    definition: dict[str, Any] = {"Version": "2020-12-01", "Steps": [step]}

    def template(amount: int, clients: list[str]) -> Template:
        subscriber = {"SubscriptionType": "EMAIL", "Address": "a@example.com"}
        notification = {"NotificationType": "ACTUAL", "ComparisonOperator": "GREATER_THAN", "Threshold": 80}
        return {
            "Resources": {
                "Cap": {
                    "Type": "AWS::Budgets::Budget",
                    "Properties": {
                        "Budget": {
                            "BudgetName": "cap",
                            "BudgetType": "COST",
                            "TimeUnit": "MONTHLY",
                            "BudgetLimit": {"Amount": amount, "Unit": "USD"},
                            "CostTypes": {"IncludeCredit": "false"},
                        },
                        "ResourceTags": [
                            {"Key": "limit", "Value": str(amount)},
                            {"Key": f"only-{amount}", "Value": "x"},
                        ],
                        "NotificationsWithSubscribers": [
                            {"Notification": notification, "Subscribers": [subscriber]},
                        ],
                    },
                },
                "Provider": {
                    "Type": "AWS::IAM::OIDCProvider",
                    "Properties": {"Url": "https://token.example.com", "ClientIdList": clients},
                },
                "Pipeline": {
                    "Type": "AWS::SageMaker::Pipeline",
                    "Properties": {
                        "PipelineName": "stacked",
                        "RoleArn": ROLE,
                        "PipelineDefinition": {"PipelineDefinitionBody": json.dumps(definition)},
                    },
                },
            },
            "Outputs": {
                "Provider": {"Value": {"Fn::GetAtt": ["Provider", "Arn"]}},
                "Pipeline": {"Value": {"Ref": "Pipeline"}},
            },
        }

    stack = Stack(client, "others")
    for amount, clients in ((11, ["sts.amazonaws.com"]), (20, ["sts.amazonaws.com", "other"])):
        run = stack.create if amount == 11 else stack.update
        assert run(template(amount, clients)) in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}, stack.reasons()
        budget = client("budgets").describe_budget(AccountId=local_aws.account, BudgetName="cap")["Budget"]
        assert float(budget["BudgetLimit"]["Amount"]) == amount
        assert budget["CostTypes"]["IncludeCredit"] is False
        named = f"arn:aws:budgets::{local_aws.account}:budget/cap"
        tags = client("budgets").list_tags_for_resource(ResourceARN=named)["ResourceTags"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == {"limit": str(amount), f"only-{amount}": "x"}
        arn = stack.outputs()["Provider"]
        provider = client("iam").get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
        assert provider["Url"].removeprefix("https://") == "token.example.com"
        assert provider["ClientIDList"] == clients
    assert stack.outputs()["Pipeline"] == "stacked"
    described = client("sagemaker").describe_pipeline(PipelineName="stacked")
    assert json.loads(described["PipelineDefinition"])["Steps"] == [step]
    stack.delete()
    assert client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"] == []
    assert client("budgets").describe_budgets(AccountId=local_aws.account).get("Budgets", []) == []
    assert client("sagemaker").list_pipelines()["PipelineSummaries"] == []


def test_anomaly_detection_as_the_money_stack_asks_for_it(client: ClientFactory) -> None:
    money = synthesize(changed(load("dev"), "money", anomaly_usd=20))["Money"]
    monitor, subscription = only(money, "AWS::CE::AnomalyMonitor"), only(money, "AWS::CE::AnomalySubscription")
    (subscriber,) = subscription["Properties"]["Subscribers"]
    subscriber["Address"] = "arn:aws:sns:us-east-1:123456789012:alerts"
    (name,) = resources(money, "AWS::CE::AnomalyMonitor")
    template = {"Resources": {name: monitor, "Alerts": subscription}, "Outputs": {"Monitor": {"Value": {"Ref": name}}}}
    stack = Stack(client, "anomalies")
    assert stack.create(template) == "CREATE_COMPLETE", stack.reasons()
    arn = stack.outputs()["Monitor"]
    assert arn.startswith("arn:aws:ce::123456789012:anomalymonitor/")
    subscription["Properties"]["Frequency"] = "DAILY"
    assert stack.update(template) == "UPDATE_COMPLETE", stack.reasons()
    assert stack.outputs()["Monitor"] == arn
    monitor["Properties"]["ResourceTags"].append({"Key": "team", "Value": "returns"})
    assert stack.update(template) == "UPDATE_COMPLETE", stack.reasons()
    assert stack.outputs()["Monitor"] != arn, "their tags cannot change, so there is another one"
    stack.delete()
    wrong = {"Type": "AWS::CE::AnomalyMonitor", "Properties": {"MonitorName": "bins", "MonitorType": 7}}
    refused = Stack(client, "no-anomalies")
    assert refused.create({"Resources": {"Wrong": wrong}}) == "ROLLBACK_COMPLETE"
    assert "anomalyMonitor.monitorType" in refused.reasons()


def test_a_property_that_does_nothing_is_refused(client: ClientFactory) -> None:
    """One that CloudFormation lacks, and one that does not run here."""
    target = {
        "ServiceNamespace": "sagemaker",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "ResourceId": "endpoint/absent/variant/primary",
        "MinCapacity": 1,
        "MaxCapacity": 2,
        "ScheduledActions": [{"ScheduledActionName": "night", "Schedule": "rate(1 day)"}],
    }
    wrong = {
        "AWS::SageMaker::ModelPackageGroup": (
            group() | {"ModelPackageGroupPolcy": "{}"},
            "extraneous key [ModelPackageGr",
        ),
        "AWS::ApplicationAutoScaling::ScalableTarget": (target, "ScheduledActions do not run locally"),
        "AWS::SageMaker::Pipeline": (
            {
                "PipelineName": "placed",
                "RoleArn": ROLE,
                "PipelineDefinition": {"PipelineDefinitionS3Location": {"Bucket": "b", "Key": "k", "ETag": "e"}},
            },
            "ETag of PipelineDefinition is not read locally",
        ),
    }
    for number, (kind, (properties, words)) in enumerate(wrong.items()):
        stack = Stack(client, f"nothing-{number}")
        assert stack.create({"Resources": {"Wrong": {"Type": kind, "Properties": properties}}}) == "ROLLBACK_COMPLETE"
        assert words in stack.reasons()
        stack.delete()


def test_a_service_that_no_stack_here_uses_is_imported_when_one_does(
    local_aws: LocalAws, client: ClientFactory
) -> None:
    """Cognito makes its key at its import, so the key says when that was."""
    key = local_aws.state_dir / "ministack" / "cognito-rsa-key.pem"
    assert not key.exists()
    table: dict[str, Any] = {
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    }
    resources = {
        "Pool": {"Type": "AWS::Cognito::UserPool", "Properties": {"UserPoolName": "late"}},
        "Table": {"Type": "AWS::DynamoDB::Table", "Properties": table},
    }
    stack = Stack(client, "late")
    assert stack.create({"Resources": resources}) == "CREATE_COMPLETE", stack.reasons()
    assert key.exists()
    assert [pool["Name"] for pool in client("cognito-idp").list_user_pools(MaxResults=10)["UserPools"]] == ["late"]
    client("dynamodb").create_table(TableName="by-hand", **table)
    stacked, by_hand = sorted(client("dynamodb").list_tables()["TableNames"], key="by-hand".__eq__)
    saved = (local_aws.state_dir / "ministack" / "dynamodb.json").read_text()
    assert stacked in saved
    assert by_hand in saved


def test_autoscaling_refuses_what_is_not_registered(client: ClientFactory) -> None:
    """Policies need a target, and bounds in order."""
    scaling = client("application-autoscaling")
    where = {
        "ServiceNamespace": "sagemaker",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "ResourceId": "endpoint/absent/variant/primary",
    }
    for operation, arguments, words in (
        (scaling.put_scaling_policy, {"PolicyName": "p", "PolicyType": "TargetTrackingScaling"}, "No scalable target"),
        (scaling.deregister_scalable_target, {}, "No scalable target"),
        (scaling.delete_scaling_policy, {"PolicyName": "p"}, "No scaling policy"),
        (scaling.register_scalable_target, {"MinCapacity": 2}, "MaxCapacity"),
        (scaling.register_scalable_target, {"MinCapacity": 2, "MaxCapacity": 1}, "Maximum capacity"),
        (
            scaling.register_scalable_target,
            {"MinCapacity": 1, "MaxCapacity": 2},
            "endpoint/absent/variant/primary is not",
        ),
    ):
        with pytest.raises(ClientError, match=words):
            operation(**where, **arguments)
    with pytest.raises(scaling.exceptions.InvalidNextTokenException):
        scaling.describe_scaling_policies(ServiceNamespace="sagemaker", NextToken="never")
    for size in (-1, 0, 51):
        with pytest.raises(ClientError, match=f"MaxResults must be 1 to 50, got {size}"):
            scaling.describe_scalable_targets(ServiceNamespace="sagemaker", MaxResults=size)


ANSWERING = """
import json, urllib.request

def handler(event, context):
    names = ("StackId", "RequestId", "LogicalResourceId")
    answer = {name: event[name] for name in names}
    answer |= {"Status": "SUCCESS", "PhysicalResourceId": "one", "Data": {"Text": ""}}
    size = int(event["ResourceProperties"]["Bytes"]) if event["RequestType"] == "Create" else 1000
    answer["Data"]["Text"] = "x" * (size - len(json.dumps(answer)))
    urllib.request.urlopen(urllib.request.Request(event["ResponseURL"], json.dumps(answer).encode(), method="PUT"))
"""


@pytest.mark.parametrize(
    ("size", "status", "reason"),
    [(4096, "CREATE_COMPLETE", ""), (4097, "ROLLBACK_COMPLETE", "Response object is too long.")],
)
def test_an_answer_of_a_custom_resource_has_4096_bytes_at_most(
    client: ClientFactory, size: int, status: str, reason: str
) -> None:
    function = {"Runtime": "python3.14", "Handler": "index.handler", "Role": ROLE, "Code": {"ZipFile": ANSWERING}}
    custom = {"ServiceToken": {"Fn::GetAtt": ["Answers", "Arn"]}, "Bytes": str(size)}
    stack = Stack(client, f"answers-{size}")
    template = {
        "Resources": {
            "Answers": {"Type": "AWS::Lambda::Function", "Properties": function},
            "Asked": {"Type": "Custom::Asked", "Properties": custom},
        }
    }
    assert stack.create(template) == status, stack.reasons()
    assert reason in stack.reasons()
    stack.delete()
