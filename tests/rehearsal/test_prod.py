"""prod from its first deployment to its second: train, promote with a canary of two, update every stack, destroy.

With settings/prod.yaml, but for what makes a training short. What a destroy keeps and a failed deployment leaves is in
test_protected.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from binventory.core.aws import connect
from binventory.rehearsal import source
from local_aws.server import LocalAws
from tests.contract.jobs import until
from tests.rehearsal.deployed import Deployed
from tests.rehearsal.kept import binventory

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(3000)]
NAME = "binventory-prod"
ALL = ("--all", "-c", "env=prod")
SHORT = {
    "BINVENTORY_TRAINING__BACKBONE": "efficientnet_lite0",
    "BINVENTORY_TRAINING__WEIGHTS": "packaged",
    "BINVENTORY_TRAINING__EPOCHS": "2",
    "BINVENTORY_TRAINING__VIEWS": "0",
    "BINVENTORY_TUNING__JOBS": "1",
    "BINVENTORY_TUNING__PARALLEL_JOBS": "1",
    "BINVENTORY_EVALUATION__ACCURACY_THRESHOLD": "0",
}
# A setting of each stack, and the stack that it changes.
CHANGES = {
    "storage": ("BINVENTORY_STORAGE__LOGS_EXPIRE_DAYS", "300"),
    "money": ("BINVENTORY_MONEY__MONTHLY_BUDGET_USD", "600"),
    "training": ("BINVENTORY_TRAINING__SEED", "18"),
    "serving": ("BINVENTORY_SERVING__LATENCY_P95_MILLISECONDS", "600"),
    "monitoring": ("BINVENTORY_MONITORING__MINIMUM_PHOTOS", "600"),
}


@pytest.fixture(scope="module")
def prod(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """prod, deployed, with photos to learn from. Time runs fast, so a canary of ten minutes takes seconds."""
    with LocalAws(tmp_path_factory.mktemp("local-aws"), time_scale=0.02) as aws:
        deployed = Deployed(aws, repository, SHORT)
        deployed.cdk("bootstrap")
        deployed.cdk("deploy", *ALL, "--require-approval", "never")
        photos = source.render(tmp_path_factory.mktemp("photos"), 90)
        source.fill(connect(aws.environment()), photos, lambda done, total: None)
        yield deployed


def command(prod: Deployed, *arguments: str) -> Any:
    """The answer of a command of a person who has the account's keys."""
    environment = {**prod.aws.environment(), **prod.settings}
    answer = binventory(Path.cwd(), *arguments, "--env", "prod", "--json", environment=environment)
    return json.loads(answer)


def stack(prod: Deployed, role: str) -> dict[str, Any]:
    """A stack as CloudFormation describes it."""
    found: dict[str, Any] = prod.client("cloudformation").describe_stacks(StackName=f"{NAME}-{role}")["Stacks"][0]
    return found


def served(prod: Deployed) -> str:
    """The package that the serving stack names once it is at rest; empty before."""
    found = stack(prod, "serving")
    values = {item["ParameterKey"]: item["ParameterValue"] for item in found["Parameters"]}
    return str(values["ModelPackageArn"]) if found["StackStatus"].endswith("_COMPLETE") else ""


def variant(prod: Deployed) -> dict[str, Any]:
    """The endpoint's variant."""
    endpoint = prod.client("sagemaker").describe_endpoint(EndpointName=NAME)
    assert endpoint["EndpointStatus"] == "InService"
    (found,) = endpoint["ProductionVariants"]
    return dict(found)


def test_prod_learns_serves_with_a_canary_of_two_changes_and_comes_back(prod: Deployed) -> None:
    command(prod, "train", "--yes")
    package = command(prod, "approve", "--yes")["model_package"]
    assert (served(prod), variant(prod)["CurrentInstanceCount"]) == (package, 2)
    values = {item["ParameterKey"]: item["ParameterValue"] for item in stack(prod, "serving")["Parameters"]}
    sagemaker = prod.client("sagemaker")
    described = sagemaker.describe_model_package(ModelPackageName=package)
    digest = described["CustomerMetadataProperties"]["archive"]
    assert values["ModelDigest"] == digest and len(digest) == 64, "the endpoint serves what was registered"

    again = sagemaker.create_model_package(
        ModelPackageGroupName=package.split("/")[-2],
        ModelApprovalStatus="PendingManualApproval",
        **{key: described[key] for key in ("InferenceSpecification", "CustomerMetadataProperties")},
        DriftCheckBaselines=described["DriftCheckBaselines"],
    )["ModelPackageArn"]
    assert command(prod, "approve", again, "--yes")["model_package"] == again
    policy = sagemaker.describe_endpoint(EndpointName=NAME)["LastDeploymentConfig"]["BlueGreenUpdatePolicy"]
    assert policy["TrafficRoutingConfiguration"]["Type"] == "CANARY"
    assert (served(prod), variant(prod)["CurrentInstanceCount"]) == (again, 2)

    before = {role: stack(prod, role).get("LastUpdatedTime") for role in CHANGES}
    prod.settings |= dict(CHANGES.values())
    prod.cdk("deploy", *ALL, "--require-approval", "never")
    for role in CHANGES:
        found = stack(prod, role)
        assert found["StackStatus"] == "UPDATE_COMPLETE" and found["LastUpdatedTime"] != before[role], role
    assert served(prod) == again and variant(prod)["CurrentInstanceCount"] == 2

    with pytest.raises(AssertionError, match="TerminationProtection is enabled"):
        prod.cdk("destroy", *ALL, "--force")
    assert served(prod) == again
    prod.settings["BINVENTORY_SECURITY__TERMINATION_PROTECTION"] = "false"
    prod.cdk("deploy", *ALL, "--require-approval", "never")
    prod.cdk("destroy", *ALL, "--force")
    assert until(lambda: not sagemaker.list_endpoints()["Endpoints"], seconds=60)
    left = prod.client("cloudformation").describe_stacks()["Stacks"]
    assert [item["StackName"] for item in left if item["StackName"].startswith(NAME)] == []

    del prod.settings["BINVENTORY_SECURITY__TERMINATION_PROTECTION"]
    prod.cdk("deploy", *ALL, "--require-approval", "never", "--import-existing-resources")
    assert all(stack(prod, role)["StackStatus"].endswith("_COMPLETE") for role in CHANGES)
    assert served(prod) == "", "models in kept buckets are not served"
