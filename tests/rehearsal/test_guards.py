"""The guards as they are deployed: an approval brings the endpoint up; a spent budget or a quiet minute removes it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_aws.server import LocalAws
from tests.contract.serving import ask, push_image, put_artefact
from tests.rehearsal.deployed import NAME, Deployed

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]
# Settings of this rehearsal: 36 seconds without a call are idle, and the guard looks every minute.
SETTINGS = {"BINVENTORY_MONEY__IDLE_HOURS": "0.01", "BINVENTORY_MONEY__MONTHLY_BUDGET_USD": "10"}


@pytest.fixture(scope="module")
def deployed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Everything deployed, and destroyed afterwards."""
    with LocalAws(tmp_path_factory.mktemp("local-aws")) as aws:
        deployed = Deployed(aws, repository, SETTINGS)
        deployed.cdk("bootstrap")
        deployed.cdk("deploy", "--all", "--require-approval", "never")
        yield deployed
        deployed.cdk("destroy", "--all", "--force")


def test_an_approval_a_spent_budget_and_a_quiet_minute(deployed: Deployed) -> None:
    client = deployed.client
    image = push_image(deployed.aws, client)
    package = client("sagemaker").create_model_package(
        ModelPackageGroupName=NAME,
        ModelApprovalStatus="PendingManualApproval",
        InferenceSpecification={
            "Containers": [{"Image": image, "ModelDataUrl": put_artefact(client, "first")}],
            "SupportedContentTypes": ["image/jpeg"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )["ModelPackageArn"]
    assert deployed.endpoint() == "absent"
    client("sagemaker").update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")
    deployed.wait("InService", 60)
    assert deployed.stack()[1]["ModelPackageArn"] == package
    assert ask(client, NAME)

    deployed.spend(9)  # 90%: told, and left alone
    time.sleep(3)
    assert deployed.endpoint() == "InService"
    deployed.spend(12)
    deployed.wait("absent", 60)
    assert deployed.stack()[1]["EndpointState"] == "off"

    deployed.spend(0)
    parameters = [
        {"ParameterKey": key, **({"ParameterValue": "on"} if key == "EndpointState" else {"UsePreviousValue": True})}
        for key in deployed.stack()[1]
    ]
    client("cloudformation").update_stack(
        StackName=f"{NAME}-serving",
        UsePreviousTemplate=True,
        Parameters=parameters,
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    deployed.wait("InService", 60)
    assert deployed.stack()[1]["ModelPackageArn"] == package  # the same model comes back
    deployed.wait("absent", 240)  # nobody calls, the schedule fires
    assert deployed.stack()[1] | {"EndpointState": "off"} == deployed.stack()[1]
    assert client("sagemaker").list_endpoint_configs()["EndpointConfigs"] == []
    assert client("sagemaker").list_models()["Models"] == []
