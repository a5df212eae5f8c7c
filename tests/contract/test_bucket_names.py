"""A bucket has a name that S3 takes, whether a client or a stack makes it."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.conftest import ClientFactory
from tests.contract.stacked import Stack

RESERVED = [
    *("xn--photos", "sthree-photos", "sthree-configurator-photos", "amzn-s3-demo-photos"),
    *("photos-s3alias", "photos--ol-s3", "photos.mrap", "photos--table-s3", "photos-an"),
]
OF_A_ZONE = "photos--use1-az4--x-s3"
"""boto3 sends requests for such a bucket to another host."""
MALFORMED = [
    *("ab", "a" * 64, "Photos", "photos_of_bins", "-photos", "photos-", ".photos", "photos.", "bin..photos"),
    *("192.168.5.4", "photos!", "phötos"),
]
TAKEN = ["abc", "a" * 63, "bin.photos", "1photos", "photos-123", "192.168.5.4.photos", "axn--b", "my-sthree-photos"]


def template(name: str, **more: Any) -> dict[str, Any]:
    """A stack of one bucket."""
    return {"Resources": {"Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": name, **more}}}}


@pytest.mark.parametrize("name", RESERVED)
def test_a_client_gets_no_bucket_of_a_reserved_name(client: ClientFactory, name: str) -> None:
    with pytest.raises(ClientError) as refused:
        client("s3").create_bucket(Bucket=name)
    assert refused.value.response["Error"]["Code"] == "InvalidBucketName"
    assert name not in [bucket["Name"] for bucket in client("s3").list_buckets()["Buckets"]]


@pytest.mark.parametrize("name", [*RESERVED, OF_A_ZONE, *MALFORMED])
def test_a_stack_gets_no_bucket_of_such_a_name(client: ClientFactory, name: str) -> None:
    stack = Stack(client, "bucket-name")
    assert stack.create(template(name)) == "ROLLBACK_COMPLETE"
    assert "InvalidBucketName" in stack.reasons()
    stack.delete()
    assert name not in [bucket["Name"] for bucket in client("s3").list_buckets()["Buckets"]]


def test_a_bucket_is_not_renamed_to_such_a_name(client: ClientFactory) -> None:
    stack = Stack(client, "renamed-bucket")
    assert stack.create(template("well-named")) == "CREATE_COMPLETE", stack.reasons()
    assert stack.update(template("Badly-named")) == "UPDATE_ROLLBACK_COMPLETE"
    assert "InvalidBucketName" in stack.reasons()
    assert "well-named" in [bucket["Name"] for bucket in client("s3").list_buckets()["Buckets"]]
    stack.delete()


@pytest.mark.parametrize("name", TAKEN)
def test_other_names_are_taken(client: ClientFactory, name: str) -> None:
    client("s3").create_bucket(Bucket=name)
    client("s3").delete_bucket(Bucket=name)
    stack = Stack(client, "bucket-name-taken")
    assert stack.create(template(name)) == "CREATE_COMPLETE", stack.reasons()
    stack.delete()


def test_the_namespace_of_the_account_is_refused_by_its_name(client: ClientFactory) -> None:
    name = "photos-123456789012-us-east-1-an"
    with pytest.raises(ClientError, match="own namespace do not run locally"):
        client("s3").create_bucket(Bucket=name, BucketNamespace="account-regional")
    for number, more in enumerate(({"BucketNamespace": "account-regional"}, {"BucketNamePrefix": "photos"})):
        stack = Stack(client, f"namespace-{number}")
        assert stack.create(template(name, **more)) == "ROLLBACK_COMPLETE"
        assert "own namespace do not run locally" in stack.reasons()
        stack.delete()
    client("s3").create_bucket(Bucket="photos-of-all", BucketNamespace="global")
    client("s3").delete_bucket(Bucket="photos-of-all")
