"""A function with more environment variables than Lambda takes is refused, by request and in a stack."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.contract.conftest import ClientFactory
from tests.contract.functions import make_function
from tests.contract.jobs import ROLE
from tests.contract.stacked import Stack

# `{"A":"..."}` has eight characters besides the value, and each quotation mark in it has an escape.
FITS = {"A": "x" * 4088}
TOO_LONG = ({"A": "x" * 4089}, {"A": '"' * 2045}, {"A": "\u00e9" * 2045})


def test_4096_bytes_of_json_are_taken_and_one_more_is_not(client: ClientFactory) -> None:
    functions = client("lambda")
    make_function(client, "variables", "return len(__import__('os').environ['A'])", Environment={"Variables": FITS})
    assert functions.invoke(FunctionName="variables")["Payload"].read() == b"4088"
    for variables in TOO_LONG:
        with pytest.raises(ClientError, match=r"InvalidParameterValueException.*exceeded the 4KB limit"):
            make_function(client, "more-variables", "return 1", Environment={"Variables": variables})
        with pytest.raises(ClientError, match="exceeded the 4KB limit"):
            functions.update_function_configuration(FunctionName="variables", Environment={"Variables": variables})
    functions.delete_function(FunctionName="variables")


def test_a_stack_fails_at_them(client: ClientFactory) -> None:
    function = {
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "FunctionName": "stacked-variables",
            "Role": ROLE,
            "Runtime": "python3.14",
            "Handler": "index.handler",
            "Code": {"ZipFile": "def handler(event, context):\n    return 1\n"},
            "Environment": {"Variables": {"TOPIC": {"Fn::Join": ["", ["x" * 4080, {"Ref": "AWS::AccountId"}]]}}},
        },
    }
    stack = Stack(client, "function-variables")
    assert stack.create({"Resources": {"Function": function}}) == "ROLLBACK_COMPLETE"
    assert "exceeded the 4KB limit" in stack.reasons()
    stack.delete()
