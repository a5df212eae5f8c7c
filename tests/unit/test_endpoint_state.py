"""The state of an endpoint: what SageMaker does not say must not read as off."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from binventory.core.aws import Aws
from binventory.serving import endpoint_state
from tests.conftest import NAMES

STACK = {"StackName": "serving", "StackStatus": "UPDATE_COMPLETE", "CreationTime": "2026-11-01T00:00:00Z"}


def account(message: str) -> Aws:
    """One whose serving stack rests, and in which SageMaker refuses to describe the endpoint."""
    session = boto3.Session("key", "secret", region_name="us-east-1")
    aws = Aws(session)
    cloudformation: Any = Stubber(aws.client("cloudformation"))
    cloudformation.add_response("describe_stacks", {"Stacks": [STACK]})
    sagemaker: Any = Stubber(aws.client("sagemaker"))
    sagemaker.add_client_error("describe_endpoint", "ValidationException", message)
    cloudformation.activate()
    sagemaker.activate()
    return aws


def test_an_endpoint_that_sagemaker_does_not_find_is_absent() -> None:
    assert endpoint_state(account('Could not find endpoint "arn:...".'), NAMES).status == "absent"


def test_an_endpoint_is_not_absent_because_sagemaker_refuses_the_question() -> None:
    """It may bill, and its state says so or nothing."""
    with pytest.raises(ClientError, match="failed to satisfy constraint"):
        endpoint_state(account("1 validation error detected: Value failed to satisfy constraint"), NAMES)
