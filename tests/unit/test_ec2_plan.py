"""The flags of a run on EC2: the settings, the best trial's values, and what a person sets for this run."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from binventory import executions
from binventory.cli.train_ec2 import Ec2Options, train_on_ec2
from binventory.core.aws import Aws
from binventory.core.errors import Exit, Problem
from binventory.core.known_photos import KnownPhotos
from binventory.cost.lines import SPOT_SHARE
from binventory.ec2 import plan, price, runs
from stacks.settings import load
from tests.conftest import NAMES

WHERE = plan.Place("data", "models", "binventory-dev-ec2", (), "sg-1", "t3.2xlarge", 180, 100)
TRAIN = {
    "Name": "Train",
    "Type": "Training",
    "Arguments": {
        "HyperParameters": {
            "loss": "ordinal",
            "head": "softmax",
            "mlflow": "https://tracking",
            "weights": "channel",
            "sagemaker_program": '"train.py"',
            "dropout": {"Get": "Steps.Tune.BestTrainingJob.TunedHyperParameters['dropout']"},
        }
    },
}
DEFINITION: dict[str, Any] = {"Parameters": [{"Name": "Weights", "DefaultValue": "s3://b/w"}], "Steps": [TRAIN]}


@pytest.mark.parametrize(("given", "rate"), [({}, "0.1"), ({"LearningRate": 0.5}, "0.5")])
def test_what_is_set_comes_before_what_was_tuned_and_all_of_it_reaches_the_machine(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, float], rate: str
) -> None:
    execution = executions.Execution("arn:execution/1", "Succeeded", "", ())
    for name, answer in {
        "_ingested": execution,
        "_shards": {},
        "_tuned": {"lr": "0.1", "batch-size": "64", "dropout": "0.2"},
        "model_package_group": "group",
    }.items():
        monkeypatch.setattr(plan, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(executions, "definition", lambda *_: DEFINITION)
    monkeypatch.setattr(executions, "parameters_of", lambda *_: {})
    aws: Any = None
    made = plan.make(aws, NAMES, WHERE, "ec2-1", given)
    assert made["flags"]["train"] == {
        "weights": "s3://b/w", "lr": rate, "batch-size": "64", "dropout": "0.2", "loss": "ordinal", "head": "softmax",
    }  # fmt: skip
    assert "dropout" not in made["flags"]["embed"]


def test_a_run_is_priced_by_what_it_does_and_not_by_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    definition: dict[str, Any] = {
        "Parameters": [{"Name": name, "DefaultValue": 1} for name in ("Epochs", "Views", "LimitPerClass")]
    }
    monkeypatch.setattr(executions, "parameters_of", lambda *_: {"Epochs": "20", "LimitPerClass": "300"})
    made = {
        "execution": "arn:execution/1",
        "flags": {"embed": {"views": "3"}, "train": {"epochs": "50"}, "evaluate": {}},
    }
    aws: Any = None
    assert plan.values_of(aws, definition, made) == {"Epochs": "50", "Views": "3", "LimitPerClass": "300"}


WHERE = plan.Place("data", "models", "template", ("subnet",), "group", "t3.2xlarge", 60, 100)


@pytest.mark.parametrize(("instance", "credits"), [("m5.2xlarge", 0.0), ("t3.2xlarge", 8 * 0.6 * 0.05)])
def test_a_machine_is_priced_with_the_cpu_credits_that_it_needs(instance: str, credits: float) -> None:
    """A T3 works from its start to its end; AWS bills what is above its base share, on spot as well."""
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    shown = price.launch(aws, NAMES, replace(WHERE, instance_type=instance), "ec2-1", {}, KnownPhotos(9_000_000), 224)
    hour, disk = {"m5.2xlarge": 0.384, "t3.2xlarge": 0.3328}[instance], 100 * 0.08 / 730
    assert shown.worst == pytest.approx(hour + disk + credits), "it is ended after an hour"
    assert shown.expected == pytest.approx(SPOT_SHARE * hour + disk + credits)
    assert any("$0.24 an hour of it are CPU credits" in note for note in shown.notes) == bool(credits)


def states(monkeypatch: pytest.MonkeyPatch, machines: list[str | None], said: list[str]) -> list[str]:
    """The states that following a run yields, where EC2 lists these machines and the status file says this, in turn."""
    there, files = iter(machines), iter(said)
    monkeypatch.setattr(runs, "machine_of", lambda aws, run: next(there))
    monkeypatch.setattr(runs, "_get", lambda aws, uri: {"state": next(files), "step": "", "reason": ""})
    aws: Any = None
    return [status.state for status in runs.follow(aws, WHERE, "ec2-1", every=0)]


def test_a_machine_that_ec2_does_not_list_yet_has_not_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """EC2 lists an instance some seconds after it was started."""
    found = states(
        monkeypatch, [None, None, "i-1", "i-1", None], ["starting", "starting", "starting", "running", "succeeded"]
    )
    assert found == ["starting", "starting", "starting", "running", "succeeded"]


def test_a_machine_that_is_gone_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    assert states(monkeypatch, ["i-1", None], ["running", "running"])[-1] == "gone"
    assert states(monkeypatch, ["i-1", None], ["starting", "starting"])[-1] == "gone", "it was there"
    assert states(monkeypatch, [None] * 20, ["starting"] * 20)[-1] == "gone", "it never came"
    assert states(monkeypatch, [None], ["running"]) == ["gone"], "of an earlier day"


def test_a_machine_on_a_later_page_is_stopped_and_works_on_its_run() -> None:
    """An account with many machines: EC2 may answer with an empty page, and more to come."""
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    nothing: dict[str, Any] = {"Reservations": [], "NextToken": "more"}
    there = {"Reservations": [{"Instances": [{"InstanceId": "i-1"}]}]}
    with Stubber(aws.client("ec2")) as ec2:
        for page in (nothing, there):
            ec2.add_response("describe_instances", page)
        assert runs.machine_of(aws, "ec2-1") == "i-1"
        for page in (nothing, there):
            ec2.add_response("describe_instances", page)
        ec2.add_response("terminate_instances", {}, {"InstanceIds": ["i-1"]})
        assert next(runs.stop(aws, NAMES, "ec2-1")) == "i-1 is ending"
        ec2.assert_no_pending_responses()


def test_a_run_is_not_called_ended_before_ec2_lists_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """`stop` right after a start: the machine would work on, and bill, until its limit."""
    there = iter([None, None, "i-1", None])
    monkeypatch.setattr(runs, "machine_of", lambda aws, run: next(there))
    monkeypatch.setattr(runs, "place", lambda *_: WHERE)
    monkeypatch.setattr(runs, "_get", lambda aws, uri: {"state": "starting"})
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    with Stubber(aws.client("ec2")) as ec2:
        ec2.add_response("terminate_instances", {}, {"InstanceIds": ["i-1"]})
        said = list(runs.stop(aws, NAMES, "ec2-1"))
        ec2.assert_no_pending_responses()
    waiting = "it was started, and EC2 does not list its machine yet"
    assert said == [waiting, waiting, "i-1 is ending", "no machine works on it; its checkpoints are kept"]


@pytest.mark.parametrize(("state", "looks"), [("starting", 7), ("failed", 1), (None, 1)])
def test_a_run_whose_machine_never_came_is_ended_after_some_looks(
    state: str | None, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(runs, "machine_of", lambda aws, run: seen.append(run))
    monkeypatch.setattr(runs, "place", lambda *_: WHERE)
    monkeypatch.setattr(runs, "_get", lambda aws, uri: {"state": state} if state else None)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    assert list(runs.stop(aws, NAMES, "ec2-1"))[-1] == "no machine works on it; its checkpoints are kept"
    assert len(seen) == looks


def refusing(*codes: str, subnets: int = 2) -> tuple[Aws, Any, plan.Place]:
    """An account whose EC2 answers so, one subnet after the other; its stub of EC2, and the place of its runs."""
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    s3, ec2 = Stubber(aws.client("s3")), Stubber(aws.client("ec2"))
    s3.add_response("put_object", {})
    version: Any = {"VersionNumber": 7, "LaunchTemplateData": {}}
    ec2.add_response("describe_launch_template_versions", {"LaunchTemplateVersions": [version]})
    for code in codes:
        ec2.add_client_error("run_instances", code, f"{code} in this zone")
    s3.activate()
    ec2.activate()
    return aws, ec2, replace(WHERE, subnet_ids=tuple(f"subnet-{number}" for number in range(subnets)))


def test_without_spot_capacity_in_any_zone_the_run_can_be_resumed() -> None:
    aws, ec2, where = refusing("InsufficientInstanceCapacity", "SpotMaxPriceTooLow")
    with pytest.raises(Problem, match=r"No t3\.2xlarge is available on spot") as caught:
        runs.start(aws, NAMES, where, "ec2-1")
    ec2.assert_no_pending_responses()
    assert caught.value.why == "SpotMaxPriceTooLow in this zone"
    assert "binventory train --on ec2 --resume ec2-1" in caught.value.cure


@pytest.mark.parametrize("code", ["MaxSpotInstanceCountExceeded", "VcpuLimitExceeded"])
def test_a_quota_that_is_used_up_is_named_and_no_other_zone_is_tried(code: str) -> None:
    aws, ec2, where = refusing(code)
    with pytest.raises(Problem, match="may start no further machine on spot") as caught:
        runs.start(aws, NAMES, where, "ec2-1")
    ec2.assert_no_pending_responses()
    assert caught.value.code is Exit.NOT_READY and caught.value.why == f"{code} in this zone"
    assert "quota of Spot Instance Requests" in caught.value.cure and "--resume ec2-1" in caught.value.cure


def test_a_machine_that_may_not_be_started_is_refused_as_aws_says_it() -> None:
    aws, ec2, where = refusing("UnauthorizedOperation")
    with pytest.raises(ClientError, match="UnauthorizedOperation in this zone"):
        runs.start(aws, NAMES, where, "ec2-1")
    ec2.assert_no_pending_responses()


def test_a_run_without_an_evaluation_says_where_its_log_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_get", lambda aws, uri: None)
    aws: Any = None
    with pytest.raises(Problem, match="The run ec2-1 has no evaluation") as caught:
        runs.evaluation(aws, WHERE, "ec2-1")
    assert "s3://models/executions/ec2-1/evaluation/evaluation.json" in caught.value.why
    assert "aws s3 cp s3://data/executions/ec2-1/log.txt -" in caught.value.cure


def test_a_pipeline_that_registers_nothing_registers_no_model_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executions, "definition", lambda *_: DEFINITION)
    aws: Any = None
    with pytest.raises(Problem, match="The model cannot be registered") as caught:
        runs.register(aws, NAMES, WHERE, {"run": "ec2-1"})
    assert "cdk deploy" in caught.value.cure


GATE = {"passed": False, "reasons": ["accuracy 0.31 is below 0.5"]}


@pytest.mark.parametrize(
    ("resume", "values", "said", "cure"),
    [
        ("ec2-1", {"Epochs": "3"}, "--set and --resume do not go together", "leave one of them out"),
        ("ec2-1", {}, "The run ec2-1 is still at work: i-1 works on it", "train --on ec2 --watch ec2-1"),
    ],
)
def test_what_would_spoil_checkpoints_is_refused_before_anything_starts(
    resume: str, values: dict[str, str], said: str, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "place", lambda *_: WHERE)
    monkeypatch.setattr(runs, "read_plan", lambda *_: {"run": resume})
    monkeypatch.setattr(runs, "machine_of", lambda *_: "i-1")
    monkeypatch.setattr(runs, "start", pytest.fail)
    aws: Any = None
    asked = Ec2Options(values, resume, None, detach=False, dry_run=False, yes=True, json=False)
    with pytest.raises(Problem, match=said) as caught:
        train_on_ec2(aws, load("dev"), asked)
    assert caught.value.code is Exit.USAGE and cure in caught.value.cure


def test_a_run_whose_model_the_gate_refuses_registers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = runs.Status("succeeded", "send", "")
    monkeypatch.setattr(plan, "place", lambda *_: WHERE)
    monkeypatch.setattr(runs, "read_plan", lambda *_: {"run": "ec2-1"})
    monkeypatch.setattr(runs, "follow", lambda *_, **__: iter([ended]))
    monkeypatch.setattr(runs, "evaluation", lambda *_: {"binventory": {"gate": GATE}})
    monkeypatch.setattr(runs, "register", pytest.fail)
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    asked = Ec2Options({}, None, "ec2-1", detach=False, dry_run=False, yes=True, json=False)
    with pytest.raises(Problem, match=r"The gate refused the model of ec2-1: accuracy 0\.31 is below 0\.5") as caught:
        train_on_ec2(aws, load("dev"), asked)
    assert "s3://models/executions/ec2-1/evaluation/evaluation.html" in caught.value.cure


def test_a_run_that_failed_ends_the_watch_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "place", lambda *_: WHERE)
    monkeypatch.setattr(runs, "read_plan", lambda *_: {"run": "ec2-1"})
    monkeypatch.setattr(runs, "follow", lambda *_, **__: iter([runs.Status("failed", "train", "no photos")]))
    monkeypatch.setattr(runs, "log_tail", lambda *_: ("the last line",))
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    asked = Ec2Options({}, None, "ec2-1", detach=False, dry_run=False, yes=True, json=False)
    with pytest.raises(Problem, match="The run ec2-1 failed at train: no photos") as caught:
        train_on_ec2(aws, load("dev"), asked)
    assert caught.value.log == ("the last line",) and "train --on ec2" in caught.value.cure
