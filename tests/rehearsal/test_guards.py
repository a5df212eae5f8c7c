"""The guards as they are deployed: an approval brings the endpoint up; a spent budget or a quiet minute removes it."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from local_aws.server import LocalAws
from tests.contract.serving import ask, push_image, put_artefact

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]
NAME = "binventory-dev"
# Settings of this rehearsal: 36 seconds without a call are idle, and the guard looks every minute.
SETTINGS = {"BINVENTORY_MONEY__IDLE_HOURS": "0.01", "BINVENTORY_MONEY__MONTHLY_BUDGET_USD": "10"}


class Deployed:
    """All stacks in a local AWS."""

    def __init__(self, aws: LocalAws, repository: Path) -> None:
        self.aws = aws
        self._repository = repository
        create: Any = boto3.client
        self.client: Callable[[str], Any] = lambda service: create(
            service,
            endpoint_url=aws.endpoint_url,
            region_name=aws.region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def cdk(self, *arguments: str) -> None:
        """Runs the CDK CLI as people do."""
        environment = {**os.environ, **self.aws.environment(), **SETTINGS, "CDK_VALIDATION": "false"}
        command = ["node_modules/.bin/cdk", *arguments]
        run = subprocess.run(command, cwd=self._repository, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr

    def spend(self, amount: float) -> None:
        """Makes the budget know of costs, and tell of them."""
        body = json.dumps({"BudgetName": NAME, "Amount": str(amount)}).encode()
        request = urllib.request.Request(f"{self.aws.endpoint_url}/_local/budgets/spend", data=body, method="POST")
        urllib.request.urlopen(request, timeout=30).close()

    def endpoint(self) -> str:
        """The endpoint's state; `absent` without one."""
        try:
            return str(self.client("sagemaker").describe_endpoint(EndpointName=NAME)["EndpointStatus"])
        except ClientError as error:
            assert "Could not find" in str(error), error
            return "absent"

    def stack(self) -> tuple[str, dict[str, str]]:
        """State and parameters of the serving stack."""
        stack = self.client("cloudformation").describe_stacks(StackName=f"{NAME}-serving")["Stacks"][0]
        return stack["StackStatus"], {item["ParameterKey"]: item["ParameterValue"] for item in stack["Parameters"]}

    def wait(self, state: str, seconds: float) -> None:
        """Waits until the endpoint has the state and the stack is at rest."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.endpoint() == state and self.stack()[0].endswith("_COMPLETE"):
                return
            time.sleep(0.5)
        raise AssertionError(f"the endpoint is {self.endpoint()}, not {state}; the stack: {self.stack()}")


@pytest.fixture(scope="module")
def deployed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Everything deployed, and destroyed afterwards."""
    with LocalAws(tmp_path_factory.mktemp("local-aws")) as aws:
        deployed = Deployed(aws, repository)
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
