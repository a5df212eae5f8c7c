"""CloudFormation takes the properties that a resource type has, and no stack without those that it requires."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local_aws.cloudformation.extract import DATABASE, extracted
from local_aws.cloudformation.property_names import EXTRACT
from tests.contract.conftest import ClientFactory
from tests.contract.stacked import Stack

TOPIC = "arn:aws:sns:us-east-1:123456789012:absent"
BUCKET = "AWS::S3::Bucket"
WRONG: list[tuple[str, dict[str, Any], list[str]]] = [
    ("AWS::SQS::Queue", {"VisibilityTimeOut": 60}, ["#: extraneous key [VisibilityTimeOut] is not permitted"]),
    ("AWS::SNS::Subscription", {"TopicArn": TOPIC}, ["#: required key [Protocol] not found"]),
    (
        BUCKET,
        {"PublicAccessBlockConfiguration": {"BlockPublicAcl": True}, "Versioning": {}},
        [
            "#: extraneous key [Versioning] is not permitted",
            "#/PublicAccessBlockConfiguration: extraneous key [BlockPublicAcl] is not permitted",
        ],
    ),
    (
        "AWS::SageMaker::EndpointConfig",
        {"ProductionVariants": [{"VariantName": "primary", "ModelNam": "counts"}]},
        ["#/ProductionVariants/0: extraneous key [ModelNam] is not permitted"],
    ),
    ("AWS::Logs::LogGroup", {"Tags": [{"Value": "bins"}]}, ["#/Tags/0: required key [Key] not found"]),
    (
        "AWS::ECR::Repository",
        {"EncryptionConfiguration": {"KmsKey": {"Ref": "AWS::NoValue"}}},
        ["#/EncryptionConfiguration: required key [EncryptionType] not found"],
    ),
    (
        "AWS::Events::Rule",
        {"EventPattern": {"anything": ["goes"]}, "Targets": [{"Arn": TOPIC, "Id": "a", "InputTransformer": {}}]},
        ["#/Targets/0/InputTransformer: required key [InputTemplate] not found"],
    ),
]
"""A resource type, properties, and what AWS says to them."""


@pytest.mark.parametrize(("kind", "properties", "words"), WRONG, ids=[kind for kind, _, _ in WRONG])
def test_what_a_type_lacks_or_requires_fails_the_resource(
    client: ClientFactory, kind: str, properties: dict[str, Any], words: list[str]
) -> None:
    stack = Stack(client, kind.replace("::", "-"))
    assert stack.create({"Resources": {"Wrong": {"Type": kind, "Properties": properties}}}) == "ROLLBACK_COMPLETE"
    assert "Properties validation failed for resource Wrong with message: " in stack.reasons()
    for words_of_one in words:
        assert words_of_one in stack.reasons()
    stack.delete()


def test_an_update_names_the_resource_and_is_rolled_back(client: ClientFactory) -> None:
    queue: dict[str, Any] = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "held", "DelaySeconds": 5}}
    stack = Stack(client, "updated-properties")
    assert stack.create({"Resources": {"Held": queue}}) == "CREATE_COMPLETE", stack.reasons()
    wrong = {**queue, "Properties": {**queue["Properties"], "DelaySeconds": 7, "Delay": 7}}
    assert stack.update({"Resources": {"Held": wrong}}) == "UPDATE_ROLLBACK_COMPLETE"
    assert "resource Held with message: #: extraneous key [Delay] is not permitted" in stack.reasons()
    sqs = client("sqs")
    url = sqs.get_queue_url(QueueName="held")["QueueUrl"]
    assert sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["DelaySeconds"])["Attributes"]["DelaySeconds"] == "5"
    stack.delete()


def test_a_nested_stack_is_held_to_its_properties(client: ClientFactory) -> None:
    client("s3").create_bucket(Bucket="nested-templates")
    inner = {"Resources": {"Inner": {"Type": "AWS::SQS::Queue", "Properties": {"Delay": 7}}}}
    client("s3").put_object(Bucket="nested-templates", Key="inner.json", Body=json.dumps(inner))
    url = "https://s3.us-east-1.amazonaws.com/nested-templates/inner.json"
    nested = {"Type": "AWS::CloudFormation::Stack", "Properties": {"TemplateURL": url}}
    stack = Stack(client, "outer")
    assert stack.create({"Resources": {"Nested": nested}}) == "ROLLBACK_COMPLETE"
    assert "resource Inner with message: #: extraneous key [Delay] is not permitted" in stack.reasons()
    stack.delete()


def test_free_names_are_taken_where_a_type_has_them(client: ClientFactory) -> None:
    """In maps, in documents and in what only a property of text or JSON holds."""
    key = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}]}
    resources = {
        "Queue": {"Type": "AWS::SQS::Queue", "Properties": {"RedriveAllowPolicy": {"redrivePermission": "allowAll"}}},
        "Policy": {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": key}},
        "Parameter": {
            "Type": "AWS::SSM::Parameter",
            "Properties": {"Type": "String", "Value": "7", "Tags": {"any": "name"}},
        },
    }
    stack = Stack(client, "free-names")
    assert stack.create({"Resources": resources}) == "CREATE_COMPLETE", stack.reasons()
    stack.delete()


def test_the_properties_are_those_of_the_pinned_cdk() -> None:
    """An upgrade of aws-cdk or ministack can bring others."""
    assert EXTRACT.read_text() == extracted(DATABASE), "run python -m local_aws.cloudformation.extract"
