"""The properties of a stack's buckets reach S3, or are refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from stacks.settings import load
from tests.contract.conftest import ClientFactory
from tests.contract.stacked import Stack
from tests.stacks.templates import resources, synthesize

KEY = "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012"


def bucket(name: str, **properties: Any) -> dict[str, Any]:
    """A stack of one bucket."""
    made = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": name, **properties}}
    return {"Resources": {"Bucket": made}}


def encrypted(**by_default: Any) -> dict[str, Any]:
    """BucketEncryption."""
    return {"ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": by_default}]}


def test_the_buckets_of_the_storage_stack_are_as_its_template_says(client: ClientFactory) -> None:
    """Encrypted, with objects that age, versions that end and a log of who reads them."""
    template = synthesize(load("dev"))["Storage"]
    for kind in ("AWS::S3::BucketPolicy", "Custom::Cleanup", "AWS::Lambda::Function", "AWS::IAM::Policy"):
        for name in resources(template, kind):
            del template["Resources"][name]
    template.pop("Outputs", None)
    stack, s3 = Stack(client, "binventory-dev-storage"), client("s3")
    assert stack.create(template) == "CREATE_COMPLETE", stack.reasons()
    listed = client("cloudformation").describe_stack_resources(StackName="binventory-dev-storage")["StackResources"]
    names = {item["LogicalResourceId"]: item["PhysicalResourceId"] for item in listed}
    for logical_id, item in resources(template, "AWS::S3::Bucket").items():
        wanted, name = item["Properties"], names[logical_id]
        rules = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
        assert [rule["ID"] for rule in rules] == [rule["Id"] for rule in wanted["LifecycleConfiguration"]["Rules"]]
        days = {rule["Id"]: rule.get("ExpirationInDays") for rule in wanted["LifecycleConfiguration"]["Rules"]}
        assert {rule["ID"]: rule.get("Expiration", {}).get("Days") for rule in rules} == days
        if "LoggingConfiguration" in wanted:
            logged = s3.get_bucket_logging(Bucket=name)["LoggingEnabled"]
            assert logged["TargetPrefix"] == wanted["LoggingConfiguration"]["LogFilePrefix"]
            assert logged["TargetBucket"] in names.values()
    stack.delete()


def test_a_bucket_encrypts_as_its_stack_says(client: ClientFactory) -> None:
    """What is written without a word about encryption, too, until the stack says otherwise."""
    stack, s3 = Stack(client, "encrypted"), client("s3")
    template = bucket("encrypted", BucketEncryption=encrypted(SSEAlgorithm="aws:kms", KMSMasterKeyID=KEY))
    assert stack.create(template) == "CREATE_COMPLETE", stack.reasons()
    s3.put_object(Bucket="encrypted", Key="before", Body=b"")
    assert s3.head_object(Bucket="encrypted", Key="before")["SSEKMSKeyId"] == KEY
    rules = s3.get_bucket_encryption(Bucket="encrypted")["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
    assert stack.update(bucket("encrypted")) == "UPDATE_COMPLETE", stack.reasons()
    rules = s3.get_bucket_encryption(Bucket="encrypted")["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    s3.delete_object(Bucket="encrypted", Key="before")
    stack.delete()


def test_objects_age_as_the_stack_says(client: ClientFactory) -> None:
    """In CloudFormation's words, with numbers that are texts, and no more once the stack says nothing."""
    stack, s3 = Stack(client, "ageing"), client("s3")
    rules = [
        {
            "Id": "all",
            "Status": "Enabled",
            "Prefix": "logs/",
            "ExpirationInDays": "30",
            "Transition": {"StorageClass": "GLACIER", "TransitionInDays": 7},
            "NoncurrentVersionExpirationInDays": 3,
            "NoncurrentVersionTransitions": [{"StorageClass": "GLACIER", "TransitionInDays": 1}],
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
        }
    ]
    assert stack.create(bucket("ageing", LifecycleConfiguration={"Rules": rules})) == "CREATE_COMPLETE", stack.reasons()
    assert s3.get_bucket_lifecycle_configuration(Bucket="ageing")["Rules"] == [
        {
            "ID": "all",
            "Status": "Enabled",
            "Filter": {"Prefix": "logs/"},
            "Expiration": {"Days": 30},
            "Transitions": [{"Days": 7, "StorageClass": "GLACIER"}],
            "NoncurrentVersionExpiration": {"NoncurrentDays": 3},
            "NoncurrentVersionTransitions": [{"NoncurrentDays": 1, "StorageClass": "GLACIER"}],
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
        }
    ]
    assert stack.update(bucket("ageing")) == "UPDATE_COMPLETE", stack.reasons()
    with pytest.raises(ClientError, match="NoSuchLifecycleConfiguration"):
        s3.get_bucket_lifecycle_configuration(Bucket="ageing")
    stack.delete()


def test_versions_are_kept_while_the_stack_says_so(client: ClientFactory) -> None:
    """A bucket never goes back to none: without the property its versioning is suspended."""
    stack, s3 = Stack(client, "versioned"), client("s3")
    assert stack.create(bucket("versioned", VersioningConfiguration={"Status": "Enabled"})) == "CREATE_COMPLETE"
    assert s3.get_bucket_versioning(Bucket="versioned")["Status"] == "Enabled"
    assert stack.update(bucket("versioned")) == "UPDATE_COMPLETE", stack.reasons()
    assert s3.get_bucket_versioning(Bucket="versioned")["Status"] == "Suspended"
    stack.delete()


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"LoggingConfiguration": {"DestinationBucketName": "never-made"}}, "target bucket for logging does not exist"),
        ({"LifecycleConfiguration": {"Rules": [{"Status": "Enabled", "ExpirationInDays": 0}]}}, "of wrong: 'Days' for"),
        ({"BucketEncryption": encrypted(SSEAlgorithm="rot13")}, "ServerSideEncryptionConfiguration of wrong"),
        ({"ObjectLockEnabled": True}, "ObjectLockEnabled of a bucket does not run locally"),
        ({"ReplicationConfiguration": {"Role": "r", "Rules": []}}, "ReplicationConfiguration of a bucket does not run"),
        ({"AbacStatus": "Enabled"}, "AbacStatus of a bucket does not run locally"),
        (
            {
                "AnalyticsConfigurations": [{"Id": "all", "StorageClassAnalysis": {}}],
                "MetricsConfigurations": [{"Id": "all"}],
            },
            "AnalyticsConfigurations, MetricsConfigurations of a bucket does not run locally",
        ),
        (
            {
                "InventoryConfigurations": [
                    {
                        "Id": "all",
                        "Enabled": True,
                        "Destination": {"BucketArn": "arn:aws:s3:::listed", "Format": "CSV"},
                        "IncludedObjectVersions": "All",
                        "ScheduleFrequency": "Daily",
                    }
                ]
            },
            "InventoryConfigurations of a bucket does not run locally",
        ),
    ],
)
def test_a_bucket_that_cannot_be_had_here_is_refused(
    client: ClientFactory, properties: dict[str, Any], words: str
) -> None:
    stack = Stack(client, "wrong")
    assert stack.create(bucket("wrong", **properties)) == "ROLLBACK_COMPLETE"
    assert words in stack.reasons()
    assert "wrong" not in [item["Name"] for item in client("s3").list_buckets()["Buckets"]]
    stack.delete()
