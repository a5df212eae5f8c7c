"""The model registry and tags through boto3, and the event that starts a promotion."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.core.context import Context
from local_aws.core.protocol import Document
from local_aws.hosting import model_registry
from local_aws.server import LocalAws
from tests.contract.conftest import ClientFactory, signed_post

SPECIFICATION = {
    "Containers": [{"Image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/serving:1", "ModelDataUrl": "s3://m/1"}],
    "SupportedContentTypes": ["image/jpeg"],
    "SupportedResponseMIMETypes": ["application/json"],
}


def group(client: ClientFactory, name: str) -> str:
    """A new group; returns its ARN."""
    arn: str = client("sagemaker").create_model_package_group(ModelPackageGroupName=name)["ModelPackageGroupArn"]
    return arn


def package(client: ClientFactory, name: str, **options: Any) -> str:
    """A new version in a group; returns its ARN."""
    create = client("sagemaker").create_model_package
    arn: str = create(ModelPackageGroupName=name, InferenceSpecification=SPECIFICATION, **options)["ModelPackageArn"]
    return arn


def refused(call: Any, **arguments: Any) -> str:
    """The message of a call that must be refused."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value)


def test_versions_are_numbered_and_never_used_again(client: ClientFactory) -> None:
    """1, 2, 3; after deleting the last one the next is 4."""
    arn = group(client, "numbered")
    assert arn.endswith(":model-package-group/numbered")
    arns = [package(client, "numbered") for _ in range(3)]
    assert [item.rsplit("/", 1)[-1] for item in arns] == ["1", "2", "3"]
    client("sagemaker").delete_model_package(ModelPackageName=arns[-1])
    assert package(client, "numbered").endswith("/4")


def test_a_request_that_is_sent_again_is_carried_out_once(client: ClientFactory) -> None:
    """ClientToken: as boto3 sends it by itself when an answer is lost."""
    group(client, "again")
    first = package(client, "again", ClientToken="first")
    assert package(client, "again", ClientToken="first") == first
    assert package(client, "again", ClientToken="second").endswith("/2")
    added = {"Name": "more", "Containers": SPECIFICATION["Containers"]}
    for token in ("one", "one", "two"):
        client("sagemaker").update_model_package(
            ModelPackageArn=first, AdditionalInferenceSpecificationsToAdd=[added], ClientToken=token
        )
    described = client("sagemaker").describe_model_package(ModelPackageName=first)
    assert len(described["AdditionalInferenceSpecifications"]) == 2


def test_names_that_differ_in_capitals_are_one_name(client: ClientFactory) -> None:
    """AWS documents it for endpoints; ARNs have every name in small letters."""
    group(client, "Capitals")
    create = client("sagemaker").create_model_package_group
    assert "already exists" in refused(create, ModelPackageGroupName="capitals")
    package(client, "Capitals")
    other = "arn:aws:sagemaker:us-east-1:999999999999:model-package-group/capitals"
    assert "does not exist" in refused(client("sagemaker").list_model_packages, ModelPackageGroupName=other)


def test_a_package_is_described_as_it_was_registered(client: ClientFactory) -> None:
    """Metrics, metadata and the pending approval come back."""
    group(client, "described")
    quality = {"Statistics": {"ContentType": "application/json", "S3Uri": "s3://data/evaluation.json"}}
    arn = package(
        client,
        "described",
        ModelMetrics={"ModelQuality": quality},
        CustomerMetadataProperties={"strategy": "head"},
        Tags=[{"Key": "cost", "Value": "x"}],
    )
    described = client("sagemaker").describe_model_package(ModelPackageName=arn)
    assert described["ModelApprovalStatus"] == "PendingManualApproval"
    assert described["ModelPackageVersion"] == 1
    assert described["ModelMetrics"] == {"ModelQuality": quality}
    assert described["CustomerMetadataProperties"] == {"strategy": "head"}
    assert described["InferenceSpecification"]["Containers"][0]["ModelDataUrl"] == "s3://m/1"
    assert client("sagemaker").list_tags(ResourceArn=arn)["Tags"] == [{"Key": "cost", "Value": "x"}]
    batch = client("sagemaker").batch_describe_model_package(ModelPackageArnList=[arn, arn + "9"])
    assert list(batch["ModelPackageSummaries"]) == [arn]
    assert list(batch["BatchDescribeModelPackageErrorMap"]) == [arn + "9"]


def test_the_latest_approved_package_is_found_by_listing(client: ClientFactory) -> None:
    """The query that evaluation and promotion make."""
    group(client, "listed")
    arns = [package(client, "listed") for _ in range(4)]
    for arn in arns[:3]:
        client("sagemaker").update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    found = client("sagemaker").list_model_packages(
        ModelPackageGroupName="listed",
        ModelApprovalStatus="Approved",
        SortBy="CreationTime",
        SortOrder="Descending",
        MaxResults=1,
    )
    assert [item["ModelPackageArn"] for item in found["ModelPackageSummaryList"]] == [arns[2]]
    assert found["NextToken"]
    pages = client("sagemaker").get_paginator("list_model_packages").paginate(ModelPackageGroupName="listed")
    assert sum(len(page["ModelPackageSummaryList"]) for page in pages) == 4
    unversioned = client("sagemaker").list_model_packages()["ModelPackageSummaryList"]
    assert all("ModelPackageVersion" not in item for item in unversioned), "AWS lists versions by group only"


def test_an_approval_is_announced(client: ClientFactory) -> None:
    """A rule on the default bus, as the training stack has it, gets the event with the ARN and the new status."""
    sqs, events = client("sqs"), client("events")
    queue = sqs.create_queue(QueueName="approvals")["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {
        "source": ["aws.sagemaker"],
        "detail-type": ["SageMaker Model Package State Change"],
        "detail": {"ModelPackageGroupName": ["announced"], "ModelApprovalStatus": ["Approved"]},
    }
    events.put_rule(Name="approvals", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="approvals", Targets=[{"Id": "queue", "Arn": queue_arn}])
    group(client, "announced")
    arns = [package(client, "announced") for _ in range(2)]
    client("sagemaker").update_model_package(ModelPackageArn=arns[0], ModelApprovalStatus="Rejected")
    client("sagemaker").update_model_package(ModelPackageArn=arns[1], ModelApprovalStatus="Approved")
    client("sagemaker").update_model_package(ModelPackageArn=arns[1], ModelApprovalStatus="Approved")
    received: list[dict[str, Any]] = []
    deadline = time.monotonic() + 10
    while not received and time.monotonic() < deadline:
        received += sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages", [])
    (event,) = [json.loads(message["Body"]) for message in received]
    assert event["resources"] == [arns[1]]
    assert event["detail"]["ModelPackageArn"] == arns[1]
    assert event["detail"]["ModelPackageVersion"] == 2
    assert "Messages" not in sqs.receive_message(QueueUrl=queue), "saying the same again is no change"


def test_what_cannot_be_is_refused_with_the_name(client: ClientFactory) -> None:
    """Duplicates, absentees, groups that are not empty, incomplete packages."""
    sagemaker = client("sagemaker")
    group(client, "full")
    arn = package(client, "full")
    assert "already exists" in refused(sagemaker.create_model_package_group, ModelPackageGroupName="full")
    assert "contains packages" in refused(sagemaker.delete_model_package_group, ModelPackageGroupName="full")
    assert "exactly one of" in refused(sagemaker.create_model_package, InferenceSpecification=SPECIFICATION)
    assert "InferenceSpecification" in refused(sagemaker.create_model_package, ModelPackageGroupName="full")
    assert "absent" in refused(sagemaker.describe_model_package_group, ModelPackageGroupName="absent")
    assert "absent" in refused(sagemaker.list_model_packages, ModelPackageGroupName="absent")
    assert "/9" in refused(sagemaker.describe_model_package, ModelPackageName=arn[:-1] + "9")
    no_image = SPECIFICATION | {"Containers": [{"ModelDataUrl": "s3://m/1"}]}
    message = refused(sagemaker.create_model_package, ModelPackageGroupName="full", InferenceSpecification=no_image)
    assert "containers.1.member.image" in message
    sagemaker.delete_model_package(ModelPackageName=arn)
    sagemaker.delete_model_package_group(ModelPackageGroupName="full")


def test_a_groups_policy(client: ClientFactory) -> None:
    """Put, read, drop."""
    sagemaker = client("sagemaker")
    group(client, "shared-group")
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    sagemaker.put_model_package_group_policy(ModelPackageGroupName="shared-group", ResourcePolicy=policy)
    read = sagemaker.get_model_package_group_policy(ModelPackageGroupName="shared-group")
    assert json.loads(read["ResourcePolicy"]) == json.loads(policy)
    sagemaker.delete_model_package_group_policy(ModelPackageGroupName="shared-group")
    assert "not found" in refused(sagemaker.get_model_package_group_policy, ModelPackageGroupName="shared-group")


def test_tags_of_a_resource(client: ClientFactory) -> None:
    """Added, overwritten, listed, removed; deleted with the resource; an ARN of another account is refused."""
    sagemaker = client("sagemaker")
    arn = group(client, "tagged")
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "3"}])
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["b", "never-there"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "3"}]
    sagemaker.delete_model_package_group(ModelPackageGroupName="tagged")
    group(client, "tagged")
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == []
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": str(number), "Value": ""} for number in range(50)])
    assert "at most 50" in refused(sagemaker.add_tags, ResourceArn=arn, Tags=[{"Key": "one more", "Value": ""}])
    assert "Invalid ARN" in refused(sagemaker.list_tags, ResourceArn="arn:aws:sagemaker:eu-west-1:999999999999:model/m")


@pytest.mark.parametrize(
    "resource",
    [
        "model-package-group/never",
        "model-package/tagged-only/7",
        "domain/d-1",
        "tags/x",
        "model",
        "pipeline/p/execution/x",
    ],
)
def test_a_resource_that_does_not_exist_has_no_tags(client: ClientFactory, resource: str) -> None:
    """SageMaker answers ValidationException, also for a resource that is deleted."""
    sagemaker = client("sagemaker")
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:{resource}"
    said = f"Could not find the resource {arn}"
    assert said in refused(sagemaker.add_tags, ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}])
    assert said in refused(sagemaker.list_tags, ResourceArn=arn)
    assert said in refused(sagemaker.delete_tags, ResourceArn=arn, TagKeys=["a"])


def test_a_deleted_resource_has_no_tags_and_names_of_any_case_have_them(client: ClientFactory) -> None:
    sagemaker = client("sagemaker")
    arn = group(client, "Tagged-Once")
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "1"}]
    sagemaker.delete_model_package_group(ModelPackageGroupName="Tagged-Once")
    assert "Could not find the resource" in refused(sagemaker.list_tags, ResourceArn=arn)


def test_what_is_refused_for_its_tags_is_not_made(client: ClientFactory) -> None:
    sagemaker, twice = client("sagemaker"), [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]
    said = "Tag keys must be unique"
    assert said in refused(sagemaker.create_model_package_group, ModelPackageGroupName="twice", Tags=twice)
    arn = group(client, "twice")
    request = {"ModelPackageGroupName": "twice", "InferenceSpecification": SPECIFICATION}
    assert said in refused(sagemaker.create_model_package, **request, Tags=twice)
    assert package(client, "twice").endswith("/1")
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == []


def test_spending_alerts_a_budgets_subscribers_once(local_aws: LocalAws, client: ClientFactory) -> None:
    """With a spend from the test: each threshold notifies when it is crossed, and DescribeBudget shows the spend."""
    sns, sqs, budgets = client("sns"), client("sqs"), client("budgets")
    topic = sns.create_topic(Name="budget")["TopicArn"]
    queue = sqs.create_queue(QueueName="budget")["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn, Attributes={"RawMessageDelivery": "true"})
    limit = {"Amount": "20", "Unit": "USD"}
    budgets.create_budget(
        AccountId=local_aws.account,
        Budget={"BudgetName": "cap", "BudgetType": "COST", "TimeUnit": "MONTHLY", "BudgetLimit": limit},
        NotificationsWithSubscribers=[
            {
                "Notification": {
                    "NotificationType": "ACTUAL",
                    "ComparisonOperator": "GREATER_THAN",
                    "Threshold": threshold,
                },
                "Subscribers": [{"SubscriptionType": "SNS", "Address": topic}],
            }
            for threshold in (50, 100)
        ],
    )

    def spend(**body: Any) -> Any:
        return signed_post(local_aws, "/_local/budgets/spend", json.dumps(body).encode())

    notified = [spend(BudgetName="cap", Amount=amount).json()["Notified"] for amount in ("5", "10.5", "11", "20.01")]
    assert notified == [[], [50], [], [100]]
    shown = budgets.describe_budget(AccountId=local_aws.account, BudgetName="cap")["Budget"]
    assert shown["CalculatedSpend"]["ActualSpend"]["Amount"] == "20.01"
    messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=2)["Messages"]
    assert len(messages) == 2 and all("Budget Name: cap" in message["Body"] for message in messages)
    assert spend(BudgetName="absent", Amount="1").json()["__type"] == "NotFoundException"
    for amount in ("much", "-1", "NaN", None):
        assert "Amount" in spend(BudgetName="cap", Amount=amount).json()["message"]


def test_a_policy_that_changes_while_a_version_is_made_loses_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(state_dir=tmp_path, port=1, account="123456789012", region="us-east-1")
    groups, find = context.table("ModelPackageGroup"), model_registry._group
    model_registry.create_model_package_group(context, {"ModelPackageGroupName": "busy"})

    def find_while_a_version_is_made(_: Context, name: str) -> Document:
        found = find(context, name)
        groups.update(name, lambda stored: stored.update(LastVersion=stored["LastVersion"] + 1))
        return found

    monkeypatch.setattr(model_registry, "_group", find_while_a_version_is_made)
    request = {"ModelPackageGroupName": "busy", "ResourcePolicy": "{}"}
    model_registry.put_model_package_group_policy(context, request)
    model_registry.delete_model_package_group_policy(context, request)
    assert (groups.get("busy") or {})["LastVersion"] == 2
    context.stop()
