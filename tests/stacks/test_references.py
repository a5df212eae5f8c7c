"""What the stacks read of each other: by exports, which CloudFormation keeps while somebody imports them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from stacks.settings import load
from tests.rights import with_every_role
from tests.stacks.templates import changed, resources, synthesize, templates


def imports(stacks: dict[str, dict[str, Any]]) -> set[str]:
    """Every export that a stack imports."""
    return set(re.findall(r'"Fn::ImportValue": "([^"]+)"', json.dumps(stacks)))


def exports(stacks: dict[str, dict[str, Any]]) -> set[str]:
    """Every export."""
    outputs = [output for template in stacks.values() for output in template.get("Outputs", {}).values()]
    return {output["Export"]["Name"] for output in outputs if "Export" in output}


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_no_stack_keeps_the_name_of_a_resource_that_is_gone(environment: str) -> None:
    """A reference that only looks another stack up would: the CDK CLI skips a template that has not changed."""
    found = templates(environment)
    assert "Fn::GetStackOutput" not in json.dumps(found)
    assert imports(found) and imports(found) <= exports(found)


def test_a_setting_that_ends_an_import_does_not_remove_the_export() -> None:
    """The stack that exports is deployed first, while the other one still imports."""
    settings = changed(with_every_role(), "ec2", enabled=True)
    everything = synthesize(changed(settings, "money", guard_percent=90))
    least = synthesize(changed(load("dev"), "money", guard_percent=0, idle_hours=0))
    assert imports(everything) > imports(least)
    assert imports(everything) <= exports(least)


def test_the_stack_that_stays_in_a_destroy_reads_no_other() -> None:
    """The workflow destroys all but the GitHub stack, whose roles it acts with."""
    template = synthesize(with_every_role())["Github"]
    assert not imports({"Github": template}) and resources(template, "AWS::IAM::Role")


def test_prod_keeps_what_it_would_lose_but_not_what_a_failed_deployment_has_made() -> None:
    kept = [
        resource
        for template in templates("prod").values()
        for resource in resources(
            template, "AWS::S3::Bucket", "AWS::Logs::LogGroup", "AWS::SageMaker::ModelPackageGroup"
        ).values()
    ]
    assert len(kept) == 9
    for resource in kept:
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
        name = resource["Properties"].get("LogGroupName")
        # A name that is not written out could not be taken over by the next deployment.
        assert resource["Type"] != "AWS::Logs::LogGroup" or isinstance(name, str)
