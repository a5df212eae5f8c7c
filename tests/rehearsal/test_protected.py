"""prod is protected: it is destroyed only after a deployment without protection. What it keeps is not in the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.server import LocalAws
from tests.rehearsal.deployed import Deployed

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(1200)]
NAME = "binventory-prod"
STACKS = ("money", "storage", "training")
DEPLOY = ("deploy", "Training", "-c", "env=prod", "--require-approval", "never")
DESTROY = ("destroy", "Training", "Storage", "Money", "-c", "env=prod", "--force")


@pytest.fixture(scope="module")
def prod(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """prod's registry and pipeline, and the stacks below them."""
    with LocalAws(tmp_path_factory.mktemp("local-aws")) as aws:
        deployed = Deployed(aws, repository, {})
        deployed.cdk("bootstrap")
        deployed.cdk(*DEPLOY)
        yield deployed


def deployed_stacks(prod: Deployed) -> dict[str, dict[str, Any]]:
    """The environment's stacks by role."""
    stacks = prod.client("cloudformation").describe_stacks()["Stacks"]
    return {item["StackName"].removeprefix(f"{NAME}-"): item for item in stacks if item["StackName"].startswith(NAME)}


def groups(prod: Deployed) -> list[str]:
    """The names of the account's model package groups."""
    listed = prod.client("sagemaker").list_model_package_groups()["ModelPackageGroupSummaryList"]
    return [item["ModelPackageGroupName"] for item in listed]


def log_groups(prod: Deployed) -> set[str]:
    """The log groups of prod's functions."""
    found = prod.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{NAME}-")["logGroups"]
    return {item["logGroupName"] for item in found}


def test_prod_is_destroyed_only_after_a_deployment_without_protection_and_can_be_deployed_again(
    prod: Deployed,
) -> None:
    kept, logs = groups(prod), log_groups(prod)
    assert len(kept) == 1 and kept[0].startswith(f"{NAME}-") and logs
    assert all(stack["EnableTerminationProtection"] for stack in deployed_stacks(prod).values())
    with pytest.raises(AssertionError, match="TerminationProtection is enabled"):
        prod.cdk(*DESTROY)
    assert set(deployed_stacks(prod)) == set(STACKS), "nothing was destroyed"

    prod.settings["BINVENTORY_SECURITY__TERMINATION_PROTECTION"] = "false"
    prod.cdk(*DEPLOY)
    prod.cdk(*DESTROY)
    assert deployed_stacks(prod) == {}
    assert groups(prod) == kept and log_groups(prod) == logs
    assert len(prod.client("s3").list_buckets()["Buckets"]) == 1 + len(("data", "models", "access logs"))

    del prod.settings["BINVENTORY_SECURITY__TERMINATION_PROTECTION"]
    with pytest.raises(AssertionError, match="already exists"):
        prod.cdk(*DEPLOY)
    assert log_groups(prod) == logs, "the failed deployment deletes nothing that it has not made"
    with pytest.raises(AssertionError, match="TerminationProtection is enabled"):
        prod.cdk(*DEPLOY, "--import-existing-resources")  # the CDK CLI first deletes the failed stack
    prod.client("cloudformation").update_termination_protection(
        StackName=f"{NAME}-training", EnableTerminationProtection=False
    )
    prod.cdk(*DEPLOY, "--import-existing-resources")
    assert set(deployed_stacks(prod)) == set(STACKS)
    assert log_groups(prod) == logs, "taken over"
    assert len(groups(prod)) == 2 and set(groups(prod)) > set(kept), "its own registry, beside the kept one"
    with pytest.raises(ClientError, match="TerminationProtection is enabled"):
        prod.client("cloudformation").delete_stack(StackName=f"{NAME}-storage")
