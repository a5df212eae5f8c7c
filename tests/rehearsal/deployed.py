"""The stacks, deployed by the CDK CLI into a local AWS, and what tests do with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from local_aws.server import LocalAws
from tests.rehearsal.kept import cdk

NAME = "binventory-dev"


class Deployed:
    """All stacks in a local AWS."""

    def __init__(self, aws: LocalAws, repository: Path, settings: Mapping[str, str]) -> None:
        self.aws = aws
        self._repository = repository
        self.settings = dict(settings)
        create: Any = boto3.client
        self.client: Callable[[str], Any] = lambda service: create(
            service,
            endpoint_url=aws.endpoint_url,
            region_name=aws.region,
            aws_access_key_id=aws.environment()["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=aws.environment()["AWS_SECRET_ACCESS_KEY"],
        )

    def cdk(self, *arguments: str) -> None:
        """Runs the CDK CLI as a user does."""
        environment = {**self.aws.environment(), **self.settings, "CDK_VALIDATION": "false"}
        assembly = self.aws.state_dir.with_name(f"{self.aws.state_dir.name}-assembly")
        cdk(self._repository, *arguments, assembly=assembly, environment=environment)

    def spend(self, amount: float) -> None:
        """Sets the budget's actual spend, which sends its notifications."""
        spend(self.aws, self.client, amount)

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


def spend(aws: LocalAws, client: Callable[[str], Any], amount: float) -> None:
    """Sets the actual spend of the account's only budget, which sends its notifications. Credits pay all of it."""
    (budget,) = client("budgets").describe_budgets(AccountId=aws.account)["Budgets"]
    spent = {"BudgetName": budget["BudgetName"], "Amount": str(amount), "Credits": str(amount)}
    aws.administer("budgets/spend", spent)
