"""`approve`, `reject` and `endpoint` with the deployed function: they end with what serves, or say why not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from binventory.account import strays
from binventory.cli import run
from binventory.cli.watch import refusal
from binventory.core.aws import Aws, connect
from binventory.core.errors import Exit
from binventory.core.names import Names
from binventory.serving import reconciling
from local_aws.server import LocalAws
from tests.conftest import NAMES
from tests.contract.jobs import until
from tests.contract.serving import wait_while
from tests.stacks.conftest import ClientFactory
from tests.stacks.reconciled import LIMIT, Environment, make
from tests.stacks.templates import templates

NAME = "binventory-dev"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def made(
    aws: ClientFactory, _local_aws: LocalAws, image: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Environment]]:
    """A function that makes an environment that the command line finds: dev, its function deployed."""
    making = make(aws, _local_aws, image, monkeypatch)
    create = next(making)
    ones: list[Environment] = []

    def environment(baking: int = 0) -> Environment:
        one = create(baking=baking, name=NAME)
        ones.append(one)
        one.deploy()
        return one

    yield environment
    for one in ones:
        one.undeploy()
    for _ in making:
        pass
    for one in ones:
        one.forget()


@pytest.fixture
def environment(made: Callable[..., Environment]) -> Environment:
    """One in which nothing is approved yet."""
    return made()


def problem(capsys: Capture) -> tuple[str, str, str]:
    """The three lines of an error."""
    what, why, cure = capsys.readouterr().err.splitlines()[-3:]
    return what, why.removeprefix("Why: "), cure.removeprefix("Do:  ")


def status(capsys: Capture) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["endpoint", "status", "--json"]) == Exit.OK
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_an_approval_ends_with_the_endpoint_and_a_rejection_with_the_one_before(
    environment: Environment, capsys: Capture
) -> None:
    first, second = environment.register(), environment.register()
    assert run(["approve", first, "--yes"]) == Exit.OK
    assert environment.serves() == first
    assert run(["approve", "--yes"]) == Exit.OK
    assert environment.serves() == second
    capsys.readouterr()
    assert run(["endpoint", "on", "--dry-run", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out) == {"launch": None, "started": False}, "it is on already"
    assert run(["approve", first, "--yes"]) == Exit.USAGE
    what, why, cure = problem(capsys)
    assert first in what and "version 2 is newer and approved" in why
    assert run(cure.partition("binventory ")[2].split()) == Exit.OK, "the cure is a command"
    assert f"Rejected {second}" in capsys.readouterr().out
    until(lambda: environment.serves() == first)


def test_a_package_that_cannot_serve_is_reported_with_its_reason_wherever_people_look(
    environment: Environment, capsys: Capture
) -> None:
    good = environment.register()
    assert run(["approve", good, "--yes"]) == Exit.OK
    bad = environment.register(crash=True)
    capsys.readouterr()
    assert run(["approve", bad, "--yes"]) == Exit.FAILED
    what, why, cure = problem(capsys)
    assert NAME in what and "Rejected: Rolled back: Endpoint: " in why and "cannot load the model" in why
    assert cure == f"to try it again: binventory approve {bad} --env dev"
    (newer,) = status(capsys)["newer"]
    assert (newer["package"], newer["status"]) == (bad, "Rejected") and "cannot load" in newer["description"]
    assert run(["endpoint", "status"]) == Exit.OK
    said = capsys.readouterr().out
    assert "Version 2 is Rejected: Rolled back: " in said
    assert "InService, 1 instance\n" in said
    (watched,) = refusal(connect(os.environ), bad)
    assert watched.startswith("Rejected:     Rolled back: Endpoint: ")
    assert refusal(connect(os.environ), good) == refusal(connect(os.environ), f"{bad}0") == []


def test_off_and_on_while_a_rollout_holds_the_stack(made: Callable[..., Environment], capsys: Capture) -> None:
    environment = made(baking=3)
    assert run(["approve", environment.register(), "--yes"]) == Exit.OK
    assert run(["approve", environment.register(), "--yes", "--no-wait"]) == Exit.OK
    until(lambda: environment.stack_status().endswith("_IN_PROGRESS"))
    assert run(["endpoint", "off"]) == Exit.OK
    assert status(capsys)["status"] == "absent"
    assert run(["endpoint", "on", "--yes"]) == Exit.OK
    assert status(capsys)["status"] == "InService"
    assert run(["endpoint", "on", "--dry-run", "--json"]) == Exit.OK, "it is on already"
    assert json.loads(capsys.readouterr().out) == {"launch": None, "started": False}


def test_a_spent_budget_is_the_answer(environment: Environment, capsys: Capture) -> None:
    assert run(["approve", environment.register(), "--yes"]) == Exit.OK
    environment.spend(LIMIT * 1.5)
    until(lambda: environment.asked[1] == "off" and environment.settled())
    capsys.readouterr()
    assert run(["endpoint", "on", "--yes"]) == Exit.FAILED
    assert "75.00 of 50.00 USD (150%)" in problem(capsys)[1]
    assert run(["approve", environment.register(), "--yes"]) == Exit.FAILED
    what, why, cure = problem(capsys)
    assert "not promoted" in what and "75.00 of 50.00 USD" in why and "binventory endpoint on" in cure


def test_a_rejection_meanwhile_ends_the_waiting(
    made: Callable[..., Environment], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = made()
    assert run(["approve", environment.register(), "--yes"]) == Exit.OK
    environment.approved(held=True)
    until(lambda: environment.stack_status().endswith("_IN_PROGRESS"))
    waits = environment.register()
    compare = reconciling.compare

    def rejected(aws: Aws, names: Names, **request: str) -> reconciling.Comparison:
        environment.judge(waits, "Rejected")
        return compare(aws, names, **request)

    monkeypatch.setattr(reconciling, "compare", rejected)
    capsys.readouterr()
    assert run(["approve", waits, "--yes"]) == Exit.FAILED
    assert "it is Rejected" in problem(capsys)[1]


def test_a_package_of_another_group_is_refused(environment: Environment, capsys: Capture) -> None:
    assert run(["approve", environment.register().replace(NAME, "others"), "--yes"]) == Exit.USAGE
    assert f"packages of the group {NAME} only" in problem(capsys)[1]


def test_a_package_of_another_environment_is_not_rejected(environment: Environment, capsys: Capture) -> None:
    """Without --env a command is about dev: the package of prod must stay as it is."""
    sagemaker = environment.aws("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="binventory-prod")
    prods = environment.register(group="binventory-prod")
    assert run(["reject", prods]) == Exit.USAGE
    assert f"packages of the group {NAME} only" in problem(capsys)[1]
    assert sagemaker.describe_model_package(ModelPackageName=prods)["ModelApprovalStatus"] == "PendingManualApproval"
    sagemaker.delete_model_package(ModelPackageName=prods)
    sagemaker.delete_model_package_group(ModelPackageGroupName="binventory-prod")


def test_nothing_can_be_rejected_before_the_first_approval(environment: Environment, capsys: Capture) -> None:
    assert run(["reject"]) == Exit.NOT_READY
    assert "binventory reject ARN" in problem(capsys)[2]


def test_a_function_that_fails_is_named(environment: Environment, capsys: Capture) -> None:
    environment.aws("s3").delete_bucket(Bucket=NAME)
    assert run(["endpoint", "off"]) == Exit.FAILED
    what, why, cure = problem(capsys)
    assert f"{NAME}-reconcile failed" in what and "NoSuchBucket" in why and f"/aws/lambda/{NAME}-reconcile" in cure
    environment.aws("s3").create_bucket(Bucket=NAME)


def offered(environment: Environment) -> set[str]:
    """Models and configurations that `binventory leftovers` would remove."""
    found = strays.find(connect(os.environ), NAMES).found
    return {one.name for one in found if one.kind in {"model", "endpoint config"}}


def test_leftovers_offers_nothing_that_a_rollout_needs(made: Callable[..., Environment]) -> None:
    environment = made()
    assert run(["approve", environment.register(), "--yes"]) == Exit.OK
    sagemaker = environment.aws("sagemaker")
    before = sagemaker.describe_endpoint(EndpointName=NAME)["EndpointConfigName"]
    assert offered(environment) == set()
    environment.approved(held=True)
    until(lambda: "PendingDeploymentSummary" in sagemaker.describe_endpoint(EndpointName=NAME))
    assert offered(environment) == set()
    assert environment.stack_status().endswith("_IN_PROGRESS"), "it was asked in the middle of the rollout"
    environment.release()
    until(lambda: len(environment.configurations()) == 1)
    kept = sagemaker.describe_endpoint(EndpointName=NAME)["EndpointConfigName"]
    assert kept != before
    assert offered(environment) == set()
    # Past the stack, as a rollout that SageMaker undoes: what runs is held by no stack, and must stay.
    variant = sagemaker.describe_endpoint_config(EndpointConfigName=kept)["ProductionVariants"][0]
    asked = {key: variant[key] for key in ("VariantName", "ModelName", "InstanceType", "InitialInstanceCount")}
    sagemaker.create_endpoint_config(EndpointConfigName=f"{NAME}-by-hand", ProductionVariants=[asked])
    assert offered(environment) == {f"{NAME}-by-hand"}
    sagemaker.update_endpoint(EndpointName=NAME, EndpointConfigName=f"{NAME}-by-hand")
    assert offered(environment) == set(), "while it is rolled out"
    wait_while(environment.aws, NAME, "Updating")
    assert offered(environment) == set(), "and while it serves"
    sagemaker.update_endpoint(EndpointName=NAME, EndpointConfigName=kept)
    wait_while(environment.aws, NAME, "Updating")
    sagemaker.delete_endpoint_config(EndpointConfigName=f"{NAME}-by-hand")


@pytest.mark.parametrize(("environment_name", "seconds"), [("prod", 3120 + 600), ("dev", 2520 + 600)])
def test_the_limit_of_waiting_comes_from_the_deployed_stack(environment_name: str, seconds: float) -> None:
    template = templates(environment_name)["Serving"]
    assert reconciling.rollout_seconds(template) == seconds
    assert reconciling.wait_seconds(template) == 2 * seconds, "another update may hold the stack"


def test_a_stack_without_a_limit_gets_half_an_hour() -> None:
    resources = {"Endpoint": {"Type": "AWS::SageMaker::Endpoint", "Properties": {}}}
    assert reconciling.rollout_seconds({"Resources": resources}) == 1800 + 600
