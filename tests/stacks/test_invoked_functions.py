"""The command line waits as long for the functions that it calls as the stacks let them work."""

from __future__ import annotations

import boto3
import pytest

from binventory.core.aws import Aws
from tests.stacks.templates import resources, templates

CALLED = {"binventory-dev-fingerprint", "binventory-dev-reconcile"}
"""By `binventory train`, `approve` and `endpoint`; CloudFormation and EventBridge call the others."""


@pytest.mark.parametrize("endpoint_url", [None, "http://localhost:4566"])
def test_no_function_is_called_again_while_it_works(endpoint_url: str | None) -> None:
    """boto3 repeats a call whose answer it has waited for in vain."""
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"), endpoint_url)
    waits = aws.client("lambda").meta.config.read_timeout
    limits = [
        function["Properties"]["Timeout"]
        for template in templates("dev").values()
        for function in resources(template, "AWS::Lambda::Function").values()
        if function["Properties"].get("FunctionName") in CALLED
    ]
    assert len(limits) == len(CALLED) and max(limits) < waits
    assert aws.client("s3").meta.config.read_timeout < waits, "other services answer soon"
