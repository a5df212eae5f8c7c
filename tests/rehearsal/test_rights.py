"""No unneeded permission: every part of every role's policies is needed by a request of a rehearsal.

Everything a role is for is done once while policies are enforced, and what they allowed is written down. Then each
statement, action and resource of each role is taken away in turn: one of those requests must be denied without it.
The requests that prove it are kept in tests/stacks/witnessed.json, where a fast test holds the templates to them;
`WITNESS=1 make test-rehearsal ARGS=tests/rehearsal/test_rights.py` writes them anew after a change of rights.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from binventory.core.aws import connect
from binventory.core.errors import Exit
from binventory.rehearsal import source
from local_aws.core import decisions
from local_aws.server import LocalAws
from tests import grey_model
from tests.contract.jobs import until
from tests.github_account import Account, checkout, step
from tests.rehearsal.deployed import spend
from tests.rights import Deployment, Request, condition_keys, generalise, survivors, with_every_role, witnesses
from tests.stacks.templates import synthesize
from tests.stacks.test_rights import WITNESSED, excused

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(1800)]
NAME = "binventory-dev"
# The rights are those of tests.rights.with_every_role; the rest makes the work short.
SETTINGS = {
    "CDK_VALIDATION": "false",
    "BINVENTORY_MONEY__IDLE_HOURS": "0.01",
    "BINVENTORY_MONEY__SERVING_HOURS": json.dumps(
        {"days": "MON-FRI", "start": "07:00", "end": "19:00", "time_zone": "UTC"}
    ),
    "BINVENTORY_TRAINING__WEIGHTS": "none",
    "BINVENTORY_TRAINING__EPOCHS": "2",
    "BINVENTORY_TRAINING__VIEWS": "1",
    "BINVENTORY_TUNING__JOBS": "2",
    "BINVENTORY_TUNING__PARALLEL_JOBS": "1",
    "BINVENTORY_EVALUATION__ACCURACY_THRESHOLD": "0",
    "BINVENTORY_SERVING__DATA_CAPTURE_PERCENT": "100",
}


@dataclass(frozen=True)
class Made:
    """The work that was done."""

    requests: dict[str, list[Request]]
    """What each role was allowed."""
    failed: list[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """The requests that each role was allowed while it did all its work."""
    failed = []
    with LocalAws(tmp_path_factory.mktemp("aws"), enforce_iam=True, time_scale=0.02) as aws:
        account = Account(aws, checkout(tmp_path_factory.mktemp("checkout")), SETTINGS)
        account.deploy()
        roles = physical_names(account)
        photos = source.render(tmp_path_factory.mktemp("photos"), 90)
        source.fill(connect(aws.environment()), photos, lambda done, total: None)
        for act in ACTS:
            try:
                act(account)
            except AssertionError as error:  # the others still show what their rights are for
                failed.append(f"{act.__name__}: {error}")
        yield Made(requests_of(aws, roles), failed)


def runner(account: Account) -> dict[str, str]:
    """The files to which a step writes its summary and its outputs."""
    return {
        "GITHUB_STEP_SUMMARY": str(account.folder / "summary.md"),
        "GITHUB_OUTPUT": str(account.folder / "output"),
    }


def train(account: Account) -> None:
    """The scheduled workflow trains, and shows the log of an execution that fails."""
    summary = runner(account)
    bucket = "aft-vbi-pds"
    photo = account.client("s3").list_objects_v2(Bucket=bucket, Prefix="bin-images/", MaxKeys=1)["Contents"][0]["Key"]
    # Ingest, a processing job, refuses a photo as its labels. The next training is compared with the last execution.
    for parameter, status in ((f"LabelsUri=s3://{bucket}/{photo}", 1), ("", 0)):
        rights = account.credentials("train", "repo:acme/bins:ref:refs/heads/main")
        for name in ("Train and wait", "Write metrics and cost to the summary, and the evaluation as a page"):
            done = account.shell(step("train", name), {**rights, **summary, "PARAMETER": parameter})
            assert done.returncode == (status if name == "Train and wait" else 0), done.stdout + done.stderr


def promote(account: Account) -> None:
    """A person approves; the next training compares itself with what serves; a second version replaces the first."""
    sagemaker = account.client("sagemaker")
    package = sagemaker.list_model_packages(ModelPackageGroupName=NAME)["ModelPackageSummaryList"][0]
    sagemaker.update_model_package(ModelPackageArn=package["ModelPackageArn"], ModelApprovalStatus="Approved")
    wait_for(account, "InService")
    rights = account.credentials("train", "repo:acme/bins:ref:refs/heads/main")
    with called(account):  # or the idle guard would turn it off meanwhile
        done = account.shell(
            step("train", "Train and wait"), {**rights, **runner(account), "PARAMETER": "TuningJobs=1"}
        )
    # Two epochs on a few photos: the champion may well win.
    assert done.returncode == 0 or "The pipeline refused the model" in done.stderr, done.stdout + done.stderr
    again = approve_copy(account, package["ModelPackageArn"])
    until(lambda: serves(account) == again, seconds=120)
    until(lambda: len(sagemaker.list_endpoint_configs()["EndpointConfigs"]) == 1, seconds=60)


def refuse(account: Account) -> None:
    """A version that cannot be loaded is rolled back, and is rejected with the reason."""
    turn_on(account)
    sagemaker = account.client("sagemaker")
    listed = sagemaker.list_model_packages(ModelPackageGroupName=NAME, SortOrder="Descending")
    package = listed["ModelPackageSummaryList"][0]
    outputs = account.client("cloudformation").describe_stacks(StackName=f"{NAME}-storage")["Stacks"][0]["Outputs"]
    (bucket,) = (item["OutputValue"] for item in outputs if item["OutputKey"] == "ModelBucketName")
    broken = "executions/broken/model.tar.gz"
    account.client("s3").put_object(Bucket=bucket, Key=broken, Body=b"no archive")
    bad = approve_copy(account, package["ModelPackageArn"], f"s3://{bucket}/{broken}")

    def status() -> str:
        return str(sagemaker.describe_model_package(ModelPackageName=bad)["ModelApprovalStatus"])

    until(lambda: status() == "Rejected", seconds=120)


def approve_copy(account: Account, of: str, archive: str = "") -> str:
    """Registers a package again as another version, or with another archive, and approves it; returns its ARN."""
    sagemaker = account.client("sagemaker")
    described = sagemaker.describe_model_package(ModelPackageName=of)
    specification = described["InferenceSpecification"]
    if archive:
        specification["Containers"][0]["ModelDataUrl"] = archive
    package: str = sagemaker.create_model_package(
        ModelPackageGroupName=NAME,
        ModelApprovalStatus="PendingManualApproval",
        InferenceSpecification=specification,
        DriftCheckBaselines=described["DriftCheckBaselines"],
    )["ModelPackageArn"]
    sagemaker.update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")
    return package


def serves(account: Account) -> str:
    """The package that the serving stack names once it is at rest; empty before."""
    stack = account.client("cloudformation").describe_stacks(StackName=f"{NAME}-serving")["Stacks"][0]
    values = {item["ParameterKey"]: item["ParameterValue"] for item in stack["Parameters"]}
    return values["ModelPackageArn"] if stack["StackStatus"].endswith("_COMPLETE") else ""


@contextmanager
def called(account: Account) -> Iterator[None]:
    """Somebody counts a photo every few seconds."""
    photo, ended = grey_model.photo(120), threading.Event()

    def count() -> None:
        runtime = account.client("sagemaker-runtime")
        while not ended.wait(3):
            with suppress(ClientError):  # one that meets a rollout
                runtime.invoke_endpoint(EndpointName=NAME, Body=photo, ContentType="image/jpeg")

    caller = threading.Thread(target=count)
    caller.start()
    try:
        yield
    finally:
        ended.set()
        caller.join()


def count(account: Account) -> None:
    """The smoke test after a deployment."""
    turn_on(account)
    rights = account.credentials("deploy", "repo:acme/bins:environment:dev")
    changed = {"BINVENTORY_ENV": "dev", "GITHUB_STEP_SUMMARY": str(account.folder / "summary.md"), "FLAG": ""}
    # The photo first: the others take longer than the idle guard leaves the endpoint on.
    for name in ("Count a photo through the endpoint", "Show the diff", "Deploy"):
        done = account.shell(step("deploy", name), {**rights, **changed})
        assert done.returncode == 0, done.stdout + done.stderr
    looking = account.credentials("diff", "repo:acme/bins:pull_request")
    done = account.shell(step("pull-request", "Diff against what is deployed"), {**looking, **changed})
    assert done.returncode == 0, done.stdout + done.stderr


def batch(account: Account) -> None:
    """A person counts a prefix; the transform job has the role that was passed to it."""
    count = "source .venv/bin/activate\nbinventory count s3://aft-vbi-pds/bin-images/ --yes"
    done = account.shell(count, {"BINVENTORY_ENV": "dev"})
    # One of the rendered photos is damaged on purpose: it has no count, and so the command has not done all.
    assert done.returncode == Exit.FAILED and "1 x none" in done.stdout, done.stdout + done.stderr


def guards(account: Account) -> None:
    """The functions that schedules, the budget and idleness call."""
    turn_on(account)
    invoke(account, "drift-monitor")
    turn_on(account)
    time.sleep(40)  # idle for longer than the limit; the schedule looks every minute, and so does this
    invoke(account, "reconcile")
    wait_for(account, "absent")
    turn_on(account)
    sagemaker = account.client("sagemaker")
    execution = sagemaker.start_pipeline_execution(PipelineName=NAME)["PipelineExecutionArn"]
    spend(account.aws, account.client, 1_000_000)
    wait_for(account, "absent")
    deadline = time.monotonic() + 60
    while status_of(sagemaker, execution) in ("Executing", "Stopping") and time.monotonic() < deadline:
        time.sleep(0.5)
    assert status_of(sagemaker, execution) == "Stopped"
    spend(account.aws, account.client, 0)


def destroy(account: Account) -> None:
    """The workflow destroys everything while an execution runs."""
    sagemaker = account.client("sagemaker")

    def runs() -> bool:
        # Steps from the cache would have ended before the stacks are deleted.
        everything = [{"Name": "Fresh", "Value": str(time.time_ns())}]
        started = sagemaker.start_pipeline_execution(PipelineName=NAME, PipelineParameters=everything)
        time.sleep(3)
        return status_of(sagemaker, started["PipelineExecutionArn"]) == "Executing"

    # A call of reconcile that has read the spent budget stops what runs now.
    until(runs, seconds=60)
    rights = account.credentials("deploy", "repo:acme/bins:environment:dev")
    done = account.shell(step("destroy", "Destroy"), {**rights, "BINVENTORY_ENV": "dev"})
    assert done.returncode == 0, done.stdout + done.stderr


ACTS: tuple[Callable[[Account], None], ...] = (train, promote, refuse, count, batch, guards, destroy)


def invoke(account: Account, function: str, **event: str) -> None:
    """Calls a function as its schedule does."""
    reply = account.client("lambda").invoke(FunctionName=f"{NAME}-{function}", Payload=json.dumps(event).encode())
    assert "FunctionError" not in reply, reply["Payload"].read()


def turn_on(account: Account) -> None:
    """A new endpoint, which the idle guard leaves its time."""
    invoke(account, "reconcile", endpoint="off", by="the serving hours")
    wait_for(account, "absent")
    invoke(account, "reconcile", endpoint="on", by="the serving hours")
    wait_for(account, "InService")


def wait_for(account: Account, state: str, seconds: float = 120) -> None:
    """Waits until the endpoint has the state and the serving stack is at rest."""
    deadline = time.monotonic() + seconds
    while (found := endpoint(account)) != (state, True):
        assert time.monotonic() < deadline, f"the endpoint is {found[0]}, not {state}"
        time.sleep(0.5)


def endpoint(account: Account) -> tuple[str, bool]:
    """The endpoint's state, and whether its stack is at rest."""
    stack = account.client("cloudformation").describe_stacks(StackName=f"{NAME}-serving")["Stacks"][0]
    rests = stack["StackStatus"].endswith("_COMPLETE")
    try:
        return str(account.client("sagemaker").describe_endpoint(EndpointName=NAME)["EndpointStatus"]), rests
    except ClientError as error:
        assert "Could not find" in str(error), error
        return "absent", rests


def status_of(sagemaker: Any, execution: str) -> str:
    """State of a pipeline execution."""
    found = sagemaker.describe_pipeline_execution(PipelineExecutionArn=execution)
    return str(found["PipelineExecutionStatus"])


def physical_names(account: Account) -> dict[str, str]:
    """The names that CloudFormation made up, with those of `Deployment`."""
    names = Deployment(synthesize(with_every_role())).names()
    found = {}
    for stack in account.client("cloudformation").describe_stacks()["Stacks"]:
        role = stack["StackName"].removeprefix(f"{NAME}-").title()
        for item in account.client("cloudformation").describe_stack_resources(StackName=stack["StackName"])[
            "StackResources"
        ]:
            name = names.get((role, item["LogicalResourceId"]))
            if item["ResourceType"] == "AWS::Budgets::Budget":
                continue  # the template says its name, and so do the policies
            physical = re.split(r"[:/]", item["PhysicalResourceId"])[-1]
            if name is not None and len(physical) > len("binventory-dev-") and physical not in name:
                found[physical] = name
    return found


def requests_of(aws: LocalAws, names: dict[str, str]) -> dict[str, list[Request]]:
    """The allowed requests by role, with the names of `Deployment`, without the roles of `cdk bootstrap`."""
    longest_first = sorted(names.items(), key=lambda item: -len(item[0]))

    def named(text: str) -> str:
        for physical, name in longest_first:
            text = text.replace(physical, name)
        return generalise(text)

    found: dict[str, dict[Request, None]] = {}
    for decision in decisions.read(aws.decisions_path):
        role = named(decision.role)
        if role.startswith("cdk-"):
            continue
        keys = condition_keys(
            {
                key: named(value) if isinstance(value, str) else [named(item) for item in value]
                for key, value in decision.keys.items()
            }
        )
        found.setdefault(role, {})[Request(decision.action, named(decision.resource), keys)] = None
    return {role: list(requests) for role, requests in found.items()}


def test_everything_is_done_with_the_roles_own_rights(made: Made) -> None:
    assert not made.failed, "\n".join(made.failed)


def test_every_part_of_every_policy_lets_something_through(made: Made) -> None:
    roles = Deployment(synthesize(with_every_role())).roles()
    if os.environ.get("WITNESS"):
        WITNESSED.write_text(witnesses(roles, made.requests))
    left = [mutant for mutant in survivors(roles, made.requests) if not excused(mutant)]
    named = [f"{mutant.role}: {mutant.without}" for mutant in left]
    assert not named, "\n".join(named)
