"""A policy, permission or subscription of a stack needs what it names."""

from __future__ import annotations

from typing import Any

from tests.contract.conftest import ClientFactory
from tests.contract.functions import make_function
from tests.contract.stacked import Stack

NAME = "named"
TOPIC = f"arn:aws:sns:us-east-1:123456789012:{NAME}"
POLICY = {"Version": "2012-10-17", "Statement": []}
KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "AWS::S3::BucketPolicy": (
        {"Bucket": NAME, "PolicyDocument": POLICY},
        f"The specified bucket does not exist: {NAME}",
    ),
    "AWS::Lambda::Permission": (
        {"FunctionName": NAME, "Action": "lambda:InvokeFunction", "Principal": "events.amazonaws.com"},
        f"Function not found: {NAME}",
    ),
    "AWS::Lambda::EventInvokeConfig": (
        {"FunctionName": NAME, "Qualifier": "$LATEST", "MaximumRetryAttempts": 0},
        f"Function not found: {NAME}",
    ),
    "AWS::SNS::TopicPolicy": ({"Topics": [TOPIC], "PolicyDocument": POLICY}, f"Topic does not exist: {TOPIC}"),
    "AWS::SNS::Subscription": (
        {"TopicArn": TOPIC, "Protocol": "email", "Endpoint": "ops@example.com"},
        f"Topic does not exist: {TOPIC}",
    ),
}


def test_what_names_something_is_made_once_that_exists(client: ClientFactory) -> None:
    for kind, (properties, words) in KINDS.items():
        stack = Stack(client, f"early-{kind.rpartition(':')[2]}")
        assert stack.create({"Resources": {"Naming": {"Type": kind, "Properties": properties}}}) == "ROLLBACK_COMPLETE"
        assert words in stack.reasons(), kind
        stack.delete()
    client("s3").create_bucket(Bucket=NAME)
    client("sns").create_topic(Name=NAME)
    make_function(client, NAME, "return 1")
    for kind, (properties, _) in KINDS.items():
        stack = Stack(client, f"late-{kind.rpartition(':')[2]}")
        made = stack.create({"Resources": {"Naming": {"Type": kind, "Properties": properties}}})
        assert made == "CREATE_COMPLETE", stack.reasons()
        stack.delete()


def test_a_function_is_named_by_its_arn_too(client: ClientFactory) -> None:
    properties = {"Action": "lambda:InvokeFunction", "Principal": "events.amazonaws.com"}
    named = {**properties, "FunctionName": make_function(client, "by-arn", "return 1")}
    stack = Stack(client, "by-arn")
    template = {"Resources": {"Permission": {"Type": "AWS::Lambda::Permission", "Properties": named}}}
    assert stack.create(template) == "CREATE_COMPLETE", stack.reasons()
    stack.delete()
