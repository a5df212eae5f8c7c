"""The dashboard and the alarm as deployed, and the functions with logs and metrics of the local AWS."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import numpy as np
import pytest

import drift_monitor
import retraining
from binventory.cli import run
from binventory.core.errors import Exit
from local_aws.server import LocalAws
from stacks.names import command_of
from stacks.settings import InvalidSettingsError, load
from stacks.settings.monitoring import MOST_MINIMUM_PHOTOS
from tests.contract.jobs import until
from tests.stacks.conftest import ClientFactory
from tests.stacks.served import PIPELINE, TEMPLATE, create_budget, create_stack, register
from tests.stacks.templates import as_list, changed, flat, only, resources, statements, synthesize, templates

BUCKET = "monitored-models"
SHARES = (0.1, 0.2, 0.4, 0.2, 0.1)
SURE = 0.5


@pytest.fixture(scope="module")
def retrains() -> dict[str, Any]:
    """The stack where drift starts the pipeline."""
    return synthesize(changed(load("dev"), "monitoring", retrain=True, look_every_minutes=1))["Monitoring"]


def widgets(template: dict[str, Any]) -> list[dict[str, Any]]:
    """The dashboard's widgets, CloudFormation's functions made readable."""
    body = only(template, "AWS::CloudWatch::Dashboard")["Properties"]["DashboardBody"]
    found: list[dict[str, Any]] = json.loads(flat(body))["widgets"]
    return found


def metrics(template: dict[str, Any]) -> set[tuple[str, ...]]:
    """Namespace, name and dimensions of everything that is drawn."""
    drawn = [line for widget in widgets(template) for line in widget["properties"].get("metrics", [])]
    return {tuple(part for part in line if isinstance(part, str)) for line in drawn}


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_the_dashboard_answers_four_questions(environment: str) -> None:
    said = [widget["properties"]["markdown"] for widget in widgets(templates(environment)["Monitoring"])
            if widget["type"] == "text"]  # fmt: skip
    asked = [line[3:] for text in said for line in text.splitlines() if line.startswith("## ")]
    assert asked == ["Is it up?", "Is it right?", "What does it cost?", "Should it be retrained?"]


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_the_commands_on_the_dashboard_can_be_typed_and_name_its_environment(environment: str) -> None:
    shown = re.findall(r"`binventory ([^`]+)`", json.dumps(widgets(templates(environment)["Monitoring"])))
    assert shown == [f"cost --env {environment}", f"endpoint off --env {environment}"]
    for words in shown:
        assert run([*words.split(), "--help"]) == Exit.OK


def test_it_draws_what_is_really_published() -> None:
    """Metrics of ours by the names that server and monitor use, of this environment's endpoint."""
    drawn = {line for line in metrics(templates("dev")["Monitoring"]) if line[0].startswith("Binventory/")}
    server = {"PredictedCount", "Confidence", "ClientErrors", "Refused", "ServerErrors"}
    monitor = {"TestAccuracy", "SpentUsd", "CountShift", "ConfidenceShift", "Photos"}
    assert drawn == {("Binventory/Endpoint", name, "Endpoint", "binventory-dev") for name in server} | {
        (drift_monitor.NAMESPACE, name, "Endpoint", "binventory-dev") for name in monitor
    }


def test_no_widget_hides_another() -> None:
    taken: set[tuple[int, int]] = set()
    for widget in widgets(templates("dev")["Monitoring"]):
        cells = {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }
        assert not cells & taken and max(x for x, _ in cells) < 24
        taken |= cells


def test_without_retraining_nothing_may_start_the_pipeline() -> None:
    template = templates("dev")["Monitoring"]
    assert not any("StartPipelineExecution" in json.dumps(statement) for _, statement in statements(template))
    assert len(resources(template, "AWS::Lambda::Function")) == 1


def test_the_drift_alarm_starts_the_pipeline_when_settings_say_so(retrains: dict[str, Any]) -> None:
    drift = next(alarm["Properties"] for alarm in resources(retrains, "AWS::CloudWatch::Alarm").values()
                 if alarm["Properties"].get("MetricName") == "Drift")  # fmt: skip
    (topic,) = resources(retrains, "AWS::SNS::Topic")
    assert {"Ref": topic} in drift["AlarmActions"]
    (subscription,) = resources(retrains, "AWS::SNS::Subscription").values()
    assert subscription["Properties"]["TopicArn"] == {"Ref": topic}
    assert flat(subscription["Properties"]["Endpoint"]).startswith("<Retraining")
    assert only(retrains, "AWS::Scheduler::Schedule")["Properties"]["ScheduleExpression"] == "rate(1 minute)"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"window_hours": 0.5}, "monitoring.window_hours = '0.5'\n    must be at least look_every_minutes (60)"),
        ({"window_hours": 337}, "monitoring.window_hours = '337'"),
        ({"minimum_photos": 50}, "monitoring.minimum_photos = '50'\n    must be at least 93"),
        ({"minimum_photos": 10_001}, "monitoring.minimum_photos = '10001'"),
        ({"count_shares": {1: 0.5, 2: 0.4}}, "must add up to 1, they add up to 0.9"),
        (
            {"count_shares": {0: 0.1, 1: 0.5, 6: 0.4}},
            "must have shares of 1 to 5 items only, the counts of the model, not of 0, 6",
        ),
        ({"count_shift_threshold": 0}, "monitoring.count_shift_threshold"),
        ({"confidence_shift_threshold": 1}, "monitoring.confidence_shift_threshold"),
        ({"retrain_days": -1}, "monitoring.retrain_days"),
        ({"look_every_minutes": 0}, "monitoring.look_every_minutes"),
    ],
)
def test_settings_that_do_not_fit_are_named(
    values: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"BINVENTORY_MONITORING__{name.upper()}", json.dumps(value))
    with pytest.raises(InvalidSettingsError) as caught:
        load("dev")
    said = "\n".join(line.split("  (from")[0] for line in str(caught.value).splitlines())
    assert message in said


def test_a_window_longer_than_the_log_is_kept_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINVENTORY_STORAGE__LOG_RETENTION_DAYS", "1")
    monkeypatch.setenv("BINVENTORY_MONITORING__WINDOW_HOURS", "48")
    with pytest.raises(InvalidSettingsError, match=r"must be at most 24: .* storage.log_retention_days \(1\)"):
        load("dev")


class Endpoint:
    """A serving stack that is on, the evaluation of its model, its log, and its budget."""

    def __init__(self, aws: ClientFactory) -> None:
        self.aws = aws
        self.name = f"seen-{uuid.uuid4().hex[:8]}"
        self.log_group = f"/aws/sagemaker/Endpoints/{self.name}"
        aws("s3").create_bucket(Bucket=BUCKET)
        aws("sagemaker").create_model_package_group(ModelPackageGroupName=self.name)
        self.package = self.register(self.evaluation())
        create_budget(aws, self.name, 50)
        self.deploy("on")
        aws("logs").create_log_group(logGroupName=self.log_group)
        aws("logs").create_log_stream(logGroupName=self.log_group, logStreamName="primary/i-1")

    @staticmethod
    def evaluation() -> dict[str, Any]:
        """Every test photo is counted right, each with the same confidence."""
        confusion = [[round(share * 1000) if row == column else 0 for column in range(5)]
                     for row, share in enumerate(SHARES)]  # fmt: skip
        return {
            "multiclass_classification_metrics": {"accuracy": {"value": 0.42}},
            "binventory": {
                "classes": [1, 2, 3, 4, 5],
                "confusion": confusion,
                "confidence": {str(count): {"mean": SURE, "variance": 0.01} for count in range(1, 6)},
            },
        }

    def register(self, evaluation: dict[str, Any] | None) -> str:
        """A model package with the evaluation as its baseline, or without any."""
        baseline: dict[str, Any] = {}
        if evaluation is not None:
            key = f"executions/{uuid.uuid4().hex}/evaluation.json"
            self.aws("s3").put_object(Bucket=BUCKET, Key=key, Body=json.dumps(evaluation).encode())
            statistics = {"ContentType": "application/json", "S3Uri": f"s3://{BUCKET}/{key}"}
            baseline = {"DriftCheckBaselines": {"ModelQuality": {"Statistics": statistics}}}
        return register(self.aws, self.name, **baseline)

    def deploy(self, state: str, package: str | None = None) -> str:
        """Makes a serving stack in that state; returns its name."""
        stack = f"{self.name}-{uuid.uuid4().hex[:6]}-serving"
        values = {"ModelPackageArn": package or self.package, "EndpointState": state}
        parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()]
        create_stack(self.aws, stack, TEMPLATE, Parameters=parameters)
        self.stack = stack
        return stack

    def says(
        self,
        photos: int,
        shares: tuple[float, ...] = SHARES,
        sure: float = SURE,
        package: str = "",
        hours_ago: float = 0.01,
    ) -> None:
        """Writes the server's log lines for that many photos, 100 a line, between other lines of a container."""
        draws = np.random.default_rng(photos)
        counts = draws.choice(range(1, 6), size=photos, p=shares).tolist()
        confidences = np.clip(draws.normal(sure, 0.1, photos), 0.2, 1).tolist()
        lines = [
            json.dumps({"ModelPackage": package or self.package, "PredictedCount": counts[at : at + 100],
                        "Confidence": confidences[at : at + 100]})
            for at in range(0, photos, 100)
        ]  # fmt: skip
        then = int((time.time() - hours_ago * 3600) * 1000)
        self.aws("logs").put_log_events(
            logGroupName=self.log_group,
            logStreamName="primary/i-1",
            logEvents=[{"timestamp": then, "message": line} for line in ["PredictedCount is not JSON here", *lines]],
        )

    def published(self) -> dict[str, float]:
        """The newest value of each metric of the monitor."""
        cloudwatch = self.aws("cloudwatch")
        found = {}
        for metric in cloudwatch.list_metrics(Namespace=drift_monitor.NAMESPACE)["Metrics"]:
            if metric["Dimensions"] == [{"Name": "Endpoint", "Value": self.name}]:
                now = datetime.now(UTC)
                points = cloudwatch.get_metric_statistics(
                    **{key: metric[key] for key in ("Namespace", "MetricName", "Dimensions")},
                    StartTime=now - timedelta(minutes=5), EndTime=now + timedelta(minutes=1),
                    Period=3600, Statistics=["Maximum"],
                )["Datapoints"]  # fmt: skip
                found[metric["MetricName"]] = points[-1]["Maximum"]
        return found


@pytest.fixture
def endpoint(aws: ClientFactory, _local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    """An endpoint for one test, and the monitor's variables as the stack sets them."""
    made = Endpoint(aws)
    template = templates("dev")["Monitoring"]
    for name, value in only(template, "AWS::Lambda::Function")["Properties"]["Environment"]["Variables"].items():
        monkeypatch.setenv(name, flat(value))
    own = {
        "SERVING_STACK": made.stack,
        "ENDPOINT": made.name,
        "ENDPOINT_LOGS": made.log_group,
        "BUDGET": made.name,
        "ACCOUNT": "123456789012",
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    return made


def test_the_same_photos_are_no_drift(endpoint: Endpoint) -> None:
    endpoint.says(1000)
    look = drift_monitor.handler({}, None)
    assert (look["outcome"], look["photos"]) == ("no drift", 1000), look
    published = endpoint.published()
    assert published["Drift"] == 0
    assert (published["Photos"], published["TestAccuracy"], published["SpentUsd"]) == (1000, 0.42, 0)
    assert published["CountShift"] < 0.05 and published["ConfidenceShift"] < 0.05


@pytest.mark.parametrize(
    ("stream", "which"),
    [
        ({"shares": (0.0, 0.0, 0.0, 0.1, 0.9)}, "count_shift"),  # only full bins
        ({"sure": 0.3}, "confidence_shift"),  # as many, but dark photos
        ({"sure": 0.75}, "confidence_shift"),  # surer than it has a right to be
    ],
)
def test_other_photos_are_drift(endpoint: Endpoint, stream: dict[str, Any], which: str) -> None:
    endpoint.says(500, **stream)
    look = drift_monitor.handler({}, None)
    assert look["outcome"] == "drift"
    assert look[which] > 0.1
    assert endpoint.published()["Drift"] == 1


def test_too_few_photos_are_not_judged(endpoint: Endpoint) -> None:
    endpoint.says(199, shares=(0, 0, 0, 0, 1))
    look = drift_monitor.handler({}, None)
    assert (look["outcome"], look["reason"]) == ("too few photos", "199 photos in the window, 200 are needed")
    assert "Drift" not in endpoint.published()


def test_answers_of_the_model_before_do_not_count(endpoint: Endpoint) -> None:
    endpoint.says(900, shares=(0, 0, 0, 0, 1), package="arn:aws:sagemaker:us-east-1:123456789012:model-package/old/1")
    assert drift_monitor.handler({}, None)["photos"] == 0


def test_of_a_busy_day_evenly_spread_parts_are_read(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift_monitor, "MOST_PHOTOS", drift_monitor.SLICES * 300)
    hours = (1, 5, 9, 23)
    for hour in hours:
        endpoint.says(1000, hours_ago=hour)
    endpoint.says(1000, hours_ago=25)
    look = drift_monitor.handler({}, None)
    assert (look["outcome"], look["photos"]) == ("no drift", len(hours) * 300)


def test_the_monitor_reads_as_many_photos_as_settings_may_ask_for() -> None:
    """Also where all photos of a window come in one part of it."""
    assert drift_monitor.MOST_PHOTOS // drift_monitor.SLICES >= MOST_MINIMUM_PHOTOS


def test_an_endpoint_that_is_off_only_has_its_spend_published(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVING_STACK", endpoint.deploy("off"))
    assert drift_monitor.handler({}, None)["outcome"] == "off"
    assert endpoint.published() == {"SpentUsd": 0}


def test_a_model_without_a_baseline_is_an_error_that_says_what_to_do(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVING_STACK", endpoint.deploy("on", endpoint.register(None)))
    with pytest.raises(RuntimeError, match="carries no drift baseline: register it by the pipeline"):
        drift_monitor.handler({}, None)
    old = endpoint.evaluation()
    del old["binventory"]["confidence"]
    package = endpoint.register(old)
    monkeypatch.setenv("SERVING_STACK", endpoint.deploy("on", package))
    endpoint.says(300, package=package)
    with pytest.raises(RuntimeError, match=r"lacks the baseline for drift .* train again"):
        drift_monitor.handler({}, None)


Alarm = Callable[..., dict[str, Any]]


@pytest.fixture
def rings(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Alarm:
    """The alarm's message to the function that retrains a pipeline of this test's own."""
    pipelines = [endpoint.name, f"{endpoint.name}-on-demand-train"]
    for pipeline in pipelines:
        endpoint.aws("sagemaker").create_pipeline(
            PipelineName=pipeline,
            PipelineDefinition=json.dumps(PIPELINE),
            ClientRequestToken=uuid.uuid4().hex,
            RoleArn="arn:aws:iam::123456789012:role/pipeline",
        )
    topic = endpoint.aws("sns").create_topic(Name=endpoint.name)["TopicArn"]
    for name, value in {"PIPELINES": " ".join(pipelines), "RETRAIN_DAYS": "7", "GUARD_PERCENT": "100",
                        "ALERTS_TOPIC": topic}.items():  # fmt: skip
        monkeypatch.setenv(name, value)

    def ring(state: str = "ALARM", at: str = "2026-11-21T10:00:00Z") -> dict[str, Any]:
        alarm = {"AlarmName": f"{endpoint.name}-drift", "NewStateValue": state, "StateChangeTime": at}
        return retraining.handler({"Records": [{"Sns": {"Message": json.dumps(alarm)}}]}, None)

    return ring


def executions(endpoint: Endpoint) -> list[dict[str, Any]]:
    """The executions of the test's pipeline."""
    sagemaker = endpoint.aws("sagemaker")
    found: list[dict[str, Any]] = sagemaker.list_pipeline_executions(PipelineName=endpoint.name)[
        "PipelineExecutionSummaries"
    ]
    return found


def test_an_alarm_starts_one_execution_and_no_other_soon(
    endpoint: Endpoint, rings: Alarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(retraining, "tell", lambda topic, subject, message: said.append(message))
    assert rings("OK")["outcome"] == "left"
    assert rings()["outcome"] == "started"
    assert said[0].endswith(command_of(endpoint.name, "approve")), "without --env it would be about dev"
    (execution,) = executions(endpoint)
    assert "-drift since 2026-11-21" in execution["PipelineExecutionDescription"]
    again = rings(at="2026-11-21T12:00:00Z")
    assert again["outcome"] == "left"
    assert "still running" in again["reason"] or "less than 7" in again["reason"]
    # CloudWatch repeats no action while an alarm lasts.
    assert "nothing starts later by itself" in said[1] and said[1].endswith(command_of(endpoint.name, "train"))
    assert len(executions(endpoint)) == 1


def test_a_message_that_comes_twice_starts_one_execution_and_says_so_twice(endpoint: Endpoint, rings: Alarm) -> None:
    """A second delivery, or a call that Lambda repeats, must not say that nothing was started."""
    assert rings() == rings()
    assert len(executions(endpoint)) == 1


def test_an_execution_that_goes_on_on_demand_is_one(
    endpoint: Endpoint, rings: Alarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRAIN_DAYS", "0")
    started = endpoint.aws("sagemaker").start_pipeline_execution(
        PipelineName=f"{endpoint.name}-on-demand-train", ClientRequestToken=uuid.uuid4().hex
    )["PipelineExecutionArn"]
    monkeypatch.setattr(retraining, "client", running(started))
    answer = rings()
    assert (answer["outcome"], answer["reason"]) == ("left", f"{started} is still running")
    assert executions(endpoint) == []


def test_an_execution_that_runs_on_behind_a_newer_one_is_one(
    endpoint: Endpoint, rings: Alarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRAIN_DAYS", "0")
    first, _ = (
        endpoint.aws("sagemaker").start_pipeline_execution(
            PipelineName=endpoint.name, ClientRequestToken=uuid.uuid4().hex
        )["PipelineExecutionArn"]
        for _ in range(2)
    )
    until(lambda: "Executing" not in {each["PipelineExecutionStatus"] for each in executions(endpoint)})
    monkeypatch.setattr(retraining, "client", running(first))
    assert rings() == {"outcome": "left", "reason": f"{first} is still running"}
    assert len(executions(endpoint)) == 2


def running(execution: str) -> Callable[[str], Any]:
    """Clients to which an execution has not ended yet."""

    def still(parsed: dict[str, Any], **_: object) -> None:
        for each in parsed["PipelineExecutionSummaries"]:
            if each["PipelineExecutionArn"] == execution:
                each["PipelineExecutionStatus"] = "Executing"

    def create(service: str) -> Any:
        make: Any = boto3.client
        made = make(service)
        made.meta.events.register("after-call.sagemaker.ListPipelineExecutions", still)
        return made

    return create


def test_the_right_to_start_is_to_the_pipeline_that_begins() -> None:
    settings = changed(load("dev"), "training", on_demand_after_reclaims=2)
    template = synthesize(changed(settings, "monitoring", retrain=True))["Monitoring"]
    rights = {
        action: sorted(flat(resource).rpartition("/")[2] for resource in as_list(statement["Resource"]))
        for _, statement in statements(template)
        for action in as_list(statement["Action"])
    }
    assert rights["sagemaker:StartPipelineExecution"] == ["binventory-dev"]
    assert rights["sagemaker:ListPipelineExecutions"] == [
        "binventory-dev", *(f"binventory-dev-on-demand-{step}" for step in ("embed", "train", "tune"))
    ]  # fmt: skip


def test_a_spent_budget_is_not_overspent_by_drift(endpoint: Endpoint, rings: Alarm, _local_aws: LocalAws) -> None:
    _local_aws.administer("budgets/spend", {"BudgetName": endpoint.name, "Amount": "51"})
    answer = rings()
    assert (answer["outcome"], executions(endpoint)) == ("left", [])
    assert "51.00 of 50.00 USD (102%)" in answer["reason"]
