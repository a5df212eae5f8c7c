"""A rule with too many wildcards is refused, by PutRule and in a stack."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.conftest import ClientFactory
from tests.contract.stacked import Stack


def pattern(*wildcards: str, within: str = "") -> dict[str, Any]:
    matched = [{"wildcard": text} for text in wildcards]
    return {
        "source": ["aws.sagemaker"],
        "detail": {"Name": [{within: item} for item in matched] if within else matched},
    }


def in_stack(found: dict[str, Any], *, as_text: bool) -> dict[str, Any]:
    properties = {"Name": "patterns", "EventPattern": json.dumps(found) if as_text else found}
    return {"Resources": {"Rule": {"Type": "AWS::Events::Rule", "Properties": properties}}}


@pytest.mark.parametrize(
    ("found", "as_text"),
    [
        (pattern("*-a-*", "*-b-*", "*-c-*", "*-d-*"), False),
        (pattern("*a*b*c*d"), True),
        (pattern("a*b*c*d*", within="anything-but"), False),
    ],
)
def test_too_many_wildcards_are_refused(client: ClientFactory, found: dict[str, Any], as_text: bool) -> None:
    heavy = {**found, "detail": {**found["detail"], "Other": [{"wildcard": "*x*y*z"}]}}
    with pytest.raises(ClientError, match=r"InvalidEventPatternException.*Rule is too complex"):
        client("events").put_rule(Name="patterns", EventPattern=json.dumps(heavy))
    stack = Stack(client, "rule-patterns")
    assert stack.create(in_stack(heavy, as_text=as_text)) == "ROLLBACK_COMPLETE"
    assert "Event pattern is not valid. Reason: Rule is too complex" in stack.reasons()
    stack.delete()


def test_six_wildcards_are_taken_and_asterisks_that_are_none(client: ClientFactory) -> None:
    found = pattern("*-a-*", "*-b-*", "*-c-*") | {"detail-type": ["*******", {"prefix": "**"}]}
    client("events").put_rule(Name="patterns", EventPattern=json.dumps(found))
    client("events").delete_rule(Name="patterns")
    client("events").put_rule(Name="clock", ScheduleExpression="rate(1 day)")
    client("events").delete_rule(Name="clock")
    stack = Stack(client, "rule-patterns-taken")
    assert stack.create(in_stack(found, as_text=False)) == "CREATE_COMPLETE", stack.reasons()
    stack.delete()
