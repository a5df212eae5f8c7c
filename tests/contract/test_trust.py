"""Conditions of trust policies: held for callers and for services, or refused with the key's name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.conftest import ClientFactory
from tests.contract.jobs import BUCKET, training_request

ACCOUNT = "123456789012"
SERVICE = {"Service": ["sagemaker.amazonaws.com", "cloudformation.amazonaws.com"]}
ANYTHING = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:*"
RIGHT = "Requested image"
WRONG = "Could not assume role"


@pytest.fixture(scope="module", autouse=True)
def bucket(root: ClientFactory) -> None:
    root("s3").create_bucket(Bucket=BUCKET)


def trusting(root: ClientFactory, principal: Any, *conditions: dict[str, Any]) -> str:
    """A role whose trust policy allows under the first condition and denies under the second; {} is none."""
    statements = [
        {"Effect": effect, "Principal": principal, "Action": "sts:AssumeRole"} | ({"Condition": found} if found else {})
        for effect, found in zip(("Allow", "Deny"), conditions, strict=False)
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam = root("iam")
    try:
        iam.create_role(RoleName="conditional", AssumeRolePolicyDocument=document)
    except iam.exceptions.EntityAlreadyExistsException:
        iam.update_assume_role_policy(RoleName="conditional", PolicyDocument=document)
    arn: str = iam.get_role(RoleName="conditional")["Role"]["Arn"]
    return arn


def as_caller(root: ClientFactory, role: str, **more: str) -> str:
    """The error of AssumeRole; empty when there is none."""
    try:
        root("sts").assume_role(RoleArn=role, RoleSessionName="test", **more)
    except ClientError as error:
        return str(error)
    return ""


def as_sagemaker(root: ClientFactory, role: str) -> str:
    """What CreateTrainingJob says of the role; of an image that does not exist where the role is right."""
    image = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/none:1"
    algorithm = {"TrainingImage": image, "TrainingInputMode": "File"}
    request = training_request(root, "trust", "", RoleArn=role, AlgorithmSpecification=algorithm)
    with pytest.raises(ClientError) as refused:
        root("sagemaker").create_training_job(**request)
    return str(refused.value)


def as_cloudformation(root: ClientFactory, role: str) -> str:
    """What CreateStack says of the role; empty when it takes it."""
    template = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    try:
        root("cloudformation").create_stack(StackName="trusted", TemplateBody=template, RoleARN=role)
    except ClientError as error:
        return str(error)
    return ""


def test_a_caller_gives_the_external_id_that_the_role_asks_for(root: ClientFactory) -> None:
    role = trusting(root, {"AWS": ACCOUNT}, {"StringEquals": {"sts:ExternalId": "agreed"}})
    assert as_caller(root, role, ExternalId="agreed") == ""
    assert "AccessDenied" in as_caller(root, role)
    assert "AccessDenied" in as_caller(root, role, ExternalId="guessed")


@pytest.mark.parametrize("key", ["aws:SourceAccount", "aws:SourceArn"])
def test_a_person_is_no_source_that_a_service_names(root: ClientFactory, key: str) -> None:
    value = ACCOUNT if key == "aws:SourceAccount" else f"arn:aws:iam::{ACCOUNT}:root"
    assert "AccessDenied" in as_caller(root, trusting(root, {"AWS": ACCOUNT}, {"StringEquals": {key: value}}))


@pytest.mark.parametrize(
    ("operator", "key", "value"),
    [
        ("Bool", "aws:MultiFactorAuthPresent", "true"),
        ("StringNotEquals", "aws:SourceVpc", "vpc-1"),
        ("StringEqualsIfExists", "sts:SourceIdentity", "me"),
    ],
)
def test_a_condition_that_is_not_held_is_refused_by_name(
    root: ClientFactory, operator: str, key: str, value: str
) -> None:
    condition = {operator: {key: value}}
    for said in (
        as_caller(root, trusting(root, {"AWS": ACCOUNT}, condition)),
        as_sagemaker(root, trusting(root, SERVICE, condition)),
        as_cloudformation(root, trusting(root, SERVICE, condition)),
    ):
        assert "NotImplemented" in said and f"The condition key {key.lower()} in the trust policy of" in said


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ([{"StringEquals": {"aws:SourceAccount": ACCOUNT}}], RIGHT),
        ([{"StringEquals": {"aws:SourceAccount": "999999999999"}}], WRONG),
        ([{"ArnLike": {"aws:SourceArn": ANYTHING}}], RIGHT),
        ([{"ArnLike": {"aws:SourceArn": ANYTHING.replace(ACCOUNT, "999999999999")}}], WRONG),
        ([{"ArnLike": {"AWS:sourcearn": [ANYTHING.replace("us-east-1", "eu-west-1"), ANYTHING]}}], RIGHT),
        ([{"ArnLike": {"aws:SourceArn": f"{ANYTHING[:-1]}training-job/other"}}], f"give ArnLike {ANYTHING}"),
        ([{"ArnNotLike": {"aws:SourceArn": ANYTHING}}], "ArnNotLike aws:SourceArn"),
        ([{"StringEquals": {"sts:ExternalId": "x"}}], "The condition key sts:externalid"),
        ([{}, {"StringEquals": {"aws:SourceAccount": ACCOUNT}}], WRONG),
        ([{}, {"StringNotEquals": {"aws:SourceAccount": ACCOUNT}}], RIGHT),
    ],
)
def test_a_service_acts_for_the_account_that_the_role_names(
    root: ClientFactory, conditions: list[dict[str, Any]], said: str
) -> None:
    assert said in as_sagemaker(root, trusting(root, SERVICE, *conditions))


def test_the_role_of_a_stack_names_the_account_too(root: ClientFactory) -> None:
    other = trusting(root, SERVICE, {"StringEquals": {"aws:SourceAccount": "999999999999"}})
    assert "is invalid or cannot be assumed" in as_cloudformation(root, other)
    own = trusting(root, SERVICE, {"StringEquals": {"aws:SourceAccount": ACCOUNT}})
    assert as_cloudformation(root, own) == ""


def test_a_role_is_named_with_its_path(root: ClientFactory) -> None:
    own = trusting(root, SERVICE, {})
    assert WRONG in as_sagemaker(root, own.replace(":role/", ":role/elsewhere/"))
