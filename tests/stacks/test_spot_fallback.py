"""On demand after too many reclaims: the pipelines that continue, and the function that starts them, on real jobs."""

from __future__ import annotations

import io
import json
import os
import types
import uuid
import zipfile
from typing import Any, get_args

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

import spot_fallback
from binventory import executions
from binventory.cli import watch
from binventory.core.aws import connect
from local_aws.core.shapes import operation_model, violations
from local_aws.server import LocalAws
from stacks.names import CONTINUED_EXECUTION, command_of
from stacks.pipeline.continuation import cut
from stacks.settings import load
from stacks.settings.tuning_ranges import NUMBERS, WORDS, Tunable
from stacks.shared.assets import lambda_files
from tests.conftest import NAMES
from tests.contract.functions import lambda_step, make_function, returned
from tests.contract.jobs import BUCKET, IMAGE, ROLE, log_lines, source, until
from tests.contract.pipelines import define, finished_execution, processing_step, steps_of
from tests.stacks.conftest import ClientFactory
from tests.stacks.definitions import all_steps, expressions, requests
from tests.stacks.templates import as_list, changed, flat, resources, statements, synthesize

Json = dict[str, Any]
GIVEN = {
    "Embed": {"IngestReport", "SealedShards", "TestShards", "TrainShards", "ValidationShards", "WeightsFingerprint"},
    "Tune": {"Embedding", "SealedShards", "TestShards", "TrainShards", "ValidationShards"},
    "Train": {
        *("BatchSize", "Embedding", "LearningRate", "SealedShards"),
        *("TestShards", "TrainShards", "TuningJob", "ValidationShards"),
    },
}


@pytest.fixture(scope="module")
def template() -> Json:
    """The training stack with the setting on."""
    return synthesize(changed(load("dev"), "training", on_demand_after_reclaims=2))["Training"]


def definitions(template: Json) -> dict[str, Json]:
    """Every pipeline's definition by the pipeline's name."""
    return {
        pipeline["Properties"]["PipelineName"]: json.loads(
            flat(pipeline["Properties"]["PipelineDefinition"]["PipelineDefinitionBody"])
        )
        for pipeline in resources(template, "AWS::SageMaker::Pipeline").values()
    }


@pytest.mark.parametrize("first", GIVEN)
def test_a_pipeline_goes_on_with_each_step_and_needs_nothing_from_before(template: Json, first: str) -> None:
    found = definitions(template)
    main, ours = found["binventory-dev"], found[f"binventory-dev-on-demand-{first.lower()}"]
    names = [step["Name"] for step in main["Steps"]]
    assert [step["Name"] for step in ours["Steps"]] == names[names.index(first) :]
    declared = {item["Name"]: item for item in ours["Parameters"]}
    used = {path.split(".")[1] for path in expressions(ours["Steps"]) if path.startswith("Parameters.")}
    assert set(declared) == used
    required = {name for name, item in declared.items() if "DefaultValue" not in item}
    assert required == GIVEN[first] | {"ContinuedExecution"}
    own = {step["Name"] for step in all_steps(ours)}
    assert {path.split(".")[1] for path in expressions(ours["Steps"]) if path.startswith("Steps.")} <= own


def test_what_else_the_settings_search_goes_on_with_the_training() -> None:
    settings = changed(load("dev"), "training", on_demand_after_reclaims=2)
    ranges = {"weight_decay": {"min": 0.001, "max": 0.1}, "features": {"values": ["stages", "last"]}}
    found = definitions(synthesize(changed(settings, "tuning", ranges=ranges))["Training"])
    ours = found["binventory-dev-on-demand-train"]
    (trained,) = [step["Arguments"]["HyperParameters"] for step in ours["Steps"] if step["Name"] == "Train"]
    assert trained["weight-decay"] == {"Get": "Parameters.BestWeightDecay"}
    assert trained["features"] == {"Get": "Parameters.BestFeatures"}
    assert {"BestFeatures", "BestWeightDecay"} <= {item["Name"] for item in ours["Parameters"]}


@pytest.mark.parametrize("first", GIVEN)
def test_it_runs_the_same_jobs_without_spot_on_the_same_checkpoints(template: Json, first: str) -> None:
    found = definitions(template)
    ours = found[f"binventory-dev-on-demand-{first.lower()}"]
    for item in ours["Parameters"]:
        item.setdefault("DefaultValue", "s3://bucket/key")
    main = {name: request for name, _, request in requests(found["binventory-dev"])}
    for name, operation, request in requests(ours):
        assert violations(operation_model(operation).input_shape, request) == [], name
        job = request.get("TrainingJobDefinition", request)
        if "EnableManagedSpotTraining" not in job:
            continue
        assert job["EnableManagedSpotTraining"] is False
        assert "MaxWaitTimeInSeconds" not in job["StoppingCondition"]
        theirs = main[name].get("TrainingJobDefinition", main[name])
        assert theirs["EnableManagedSpotTraining"] is True
        same = ("AlgorithmSpecification", "ResourceConfig", "RoleArn", "RetryStrategy", "Environment")
        assert {key: job[key] for key in same} == {key: theirs[key] for key in same}
    train = next(step for step in ours["Steps"] if step["Name"] == "Train")
    place = train["Arguments"]["CheckpointConfig"]["S3Uri"]["Std:Join"]["Values"]
    assert {"Get": "Parameters.ContinuedExecution"} in place and {"Get": "Execution.PipelineExecutionId"} not in place


def test_a_result_that_no_parameter_brings_along_fails_the_synthesis() -> None:
    step = {"Name": "Second", "Arguments": {"of": {"Get": "Steps.First.NewProperty"}}}
    with pytest.raises(LookupError, match=r"Steps\.First\.NewProperty has no parameter"):
        cut([{"Name": "First"}, step], "Second")


def test_the_function_hears_of_interruptions_and_knows_every_pipeline(template: Json) -> None:
    patterns = patterns_of(template)
    assert len(patterns) == 3
    for pattern in patterns:
        assert pattern["detail-type"] == ["SageMaker Training Job State Change"]
        assert "Interrupted" in pattern["detail"]["SecondaryStatus"]
    functions = [item["Properties"] for item in resources(template, "AWS::Lambda::Function").values()]
    (function,) = [item for item in functions if item["FunctionName"] == "binventory-dev-spot-fallback"]
    variables = {name: flat(value) for name, value in function["Environment"]["Variables"].items()}
    assert variables["RECLAIMS"] == "2"
    known = json.loads(variables["CONTINUATIONS"])
    assert {item["name"] for item in known.values()} == set(definitions(template)) - {"binventory-dev"}


def test_lambda_takes_the_variables_of_a_search_that_varies_all_it_can() -> None:
    """4,096 bytes, measured as JSON; with the longest name of a project."""
    settings = changed(load("dev"), "training", on_demand_after_reclaims=2, strategy="full")
    ranges: Json = {name: {"values": words[:2]} for name, words in WORDS.items()}
    for name, (_, largest) in NUMBERS.items():
        ranges[name] = {"min": 0.1, "max": min(largest, 0.9)} if name != "warm_up_epochs" else {"min": 1, "max": 5}
    assert set(ranges) == set(get_args(Tunable))
    document = changed(settings, "tuning", ranges=ranges).model_dump() | {"project": "p" * 20}
    template = synthesize(type(settings).model_validate(document))["Training"]
    functions = [item["Properties"] for item in resources(template, "AWS::Lambda::Function").values()]
    (function,) = [item for item in functions if item["FunctionName"].endswith("-spot-fallback")]
    variables = {name: flat(value) for name, value in function["Environment"]["Variables"].items()}
    topic = f"arn:aws:sns:ap-southeast-2:123456789012:{'p' * 20}-prod-money-Alerts91F83244-AbCdEfGhIjKl"
    assert len(json.dumps(variables | {"ALERTS_TOPIC": topic}).encode()) <= 4096
    # Each pipeline gets the results that it takes, and nothing that it does not declare.
    results = json.loads(variables["RESULTS"])
    for pipeline in json.loads(variables["CONTINUATIONS"]).values():
        declared = {item["Name"]: item for item in definitions(template)[pipeline["name"]]["Parameters"]}
        required = {name for name, item in declared.items() if "DefaultValue" not in item}
        assert set(pipeline["takes"].split()) == set(declared)
        assert set(declared) & set(results) == required - {CONTINUED_EXECUTION}


def patterns_of(template: Json) -> list[Json]:
    """The patterns of the rules that hear of interruptions, one of each step on spot capacity."""
    return [
        item["Properties"]["EventPattern"]
        for item in resources(template, "AWS::Events::Rule").values()
        if item["Properties"]["Name"].startswith("binventory-dev-spot-interrupted-")
    ]


def test_no_rule_is_too_complex_for_eventbridge(template: Json) -> None:
    """It has taken rules with six wildcards and refused one with eight, as `Rule is too complex`:
    https://github.com/vals-ai/Valkyrie/pull/278
    """
    rules = resources(template, "AWS::Events::Rule").values()
    patterns = [json.dumps(rule["Properties"]["EventPattern"]) for rule in rules]
    assert max(text.count("*") for text in patterns if '"wildcard"' in text) <= 6


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("pipelines-0a1b2c3d4e5f-Embed-Zk3cXq9LmN", True),
        ("pipelines-0a1b2c3d4e5f-Train-Zk3cXq9LmN", True),
        ("pipelines-0a1b2c3d4e5f-train-zk3cxq9lmn", True),
        ("0a1b2c3d4e5f-Tune-Zk3cXq9LmN-003-5f1c2e7a", True),
        ("pipelines-0a1b2c3d4e5f-Ingest-Zk3cXq9LmN", False),
        ("churn-2026-11-29-Trainer", False),
        ("xgboost-003-5f1c2e7a", False),
    ],
)
def test_the_rule_hears_of_jobs_by_the_names_that_pipelines_give(
    aws: ClientFactory, template: Json, name: str, ours: bool
) -> None:
    sent = {
        "id": "1", "account": "123456789012", "source": "aws.sagemaker", "time": "2026-11-29T07:00:00Z",
        "region": "us-east-1", "resources": [], "detail-type": "SageMaker Training Job State Change",
        "detail": {"TrainingJobName": name, "SecondaryStatus": "Interrupted"},
    }  # fmt: skip
    matched = [
        aws("events").test_event_pattern(EventPattern=json.dumps(pattern), Event=json.dumps(sent))["Result"]
        for pattern in patterns_of(template)
    ]
    assert matched.count(True) == int(ours), "one rule calls, so the function is called once"


def test_a_job_that_the_function_may_not_describe_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**dict.fromkeys(VARIABLES, "{}"), "RECLAIMS": "1"}.items():
        monkeypatch.setenv(name, value)
    sagemaker = boto3.client("sagemaker", "us-east-1", aws_access_key_id="any", aws_secret_access_key="any")
    monkeypatch.setattr(boto3, "client", lambda _: sagemaker)
    with Stubber(sagemaker) as answers:
        answers.add_client_error("describe_training_job", "AccessDeniedException", "User: ... is not authorized")
        found = spot_fallback.handler(event("pipelines-0a1b2c3d4e5f-Train-theirs"), None)
        assert found["outcome"] == "left" and "not a job of this environment" in found["reason"]
        answers.add_client_error("describe_training_job", "ThrottlingException", "Rate exceeded")
        with pytest.raises(ClientError, match="Rate exceeded"):
            spot_fallback.handler(event("pipelines-0a1b2c3d4e5f-Train-ours"), None)


@pytest.mark.parametrize("of_search", [False, True])
def test_a_step_is_found_by_an_arn_in_other_letters(of_search: bool) -> None:
    """One operation may keep the capitals of a job's name in its ARN, and another write them small."""
    jobs = "arn:aws:sagemaker:us-east-1:123456789012"
    kind, search = ("TuningJob", "hyper-parameter-tuning-job") if of_search else ("TrainingJob", "training-job")
    shown = f"{jobs}:{search}/pipelines-2m8k1p0qyz3a-Train-aBcDeFgHiJ"
    job = {"TrainingJobArn": f"{jobs}:training-job/any" if of_search else shown.lower(), f"{kind}Arn": shown.lower()}
    pages = {
        "list_pipeline_executions": {
            "PipelineExecutionSummaries": [{"PipelineExecutionStatus": "Executing", "PipelineExecutionArn": "arn:e/1"}]
        },
        "list_pipeline_execution_steps": {
            "PipelineExecutionSteps": [{"StepName": "Train", "Metadata": {kind: {"Arn": shown}}}]
        },
    }

    class SageMaker:
        """The two listings, each of one page."""

        def get_paginator(self, operation: str) -> Any:
            return types.SimpleNamespace(paginate=lambda **request: [pages[operation]])

    found = spot_fallback._step_of(SageMaker(), "bins", job)
    assert found is not None and (found[0], found[1].arn) == ("Train", "arn:e/1")


def test_a_workflow_may_follow_where_it_goes_on_and_the_budget_guard_stops_it_there() -> None:
    settings = changed(load("dev"), "training", on_demand_after_reclaims=2)
    stacks = synthesize(changed(settings, "github", repository="somebody/binventory"))
    followed, stopped = ("Github", "", "ListPipelineExecutions"), ("Training", "Reconcile", "StopPipelineExecution")
    for stack, policy, action in (followed, stopped):
        allowed = [
            flat(resource)
            for name, statement in statements(stacks[stack])
            if name.startswith(policy) and f"sagemaker:{action}" in as_list(statement["Action"])
            for resource in as_list(statement["Resource"])
        ]
        for first in GIVEN:
            assert any(
                item.endswith(f"pipeline/binventory-dev-on-demand-{first.lower()}/execution/*") for item in allowed
            )


def test_without_the_setting_there_is_one_pipeline() -> None:
    template = synthesize(load("dev"))["Training"]
    assert len(resources(template, "AWS::SageMaker::Pipeline")) == 1
    assert "on-demand" not in json.dumps(template)


VARIABLES = ("PIPELINE", "RECLAIMS", "ALERTS_TOPIC", "CONTINUATIONS", "RESULTS")
COUNTING = """
    import json, os, pathlib, time
    hp = json.loads(os.environ["SM_HPS"])
    folder = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"], "checkpoints")
    done = folder / "step"
    start = int(done.read_text()) if done.exists() else 0
    print(f"starts at {start} with {hp['shards']} and {hp['weights']}", flush=True)
    (folder / "step.part").write_text(str(start + 1))
    os.replace(folder / "step.part", done)
    print(f"saved {start + 1}", flush=True)
    time.sleep(0 if hp["ends"] else 60)
"""


def _train_step(aws: ClientFactory, *, spot: bool) -> Json:
    limits = {"MaxRuntimeInSeconds": 100, **({"MaxWaitTimeInSeconds": 200} if spot else {})}
    shards = {"Get": "Steps.Ingest.ProcessingOutputConfig.Outputs['train'].S3Output.S3Uri"}
    checkpoints = [f"s3://{BUCKET}/checkpoints", {"Get": "Execution.PipelineExecutionId"}, "train", ""]
    return {
        "Name": "Train",
        "Type": "Training",
        "Arguments": {
            "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
            "HyperParameters": {
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": source(aws, "counting", COUNTING),
                "shards": shards,
                "weights": returned("Fingerprint", "Weights"),
                "ends": json.dumps(not spot),
            },
            "RoleArn": ROLE,
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/output"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": limits,
            "EnableManagedSpotTraining": spot,
            "CheckpointConfig": {"S3Uri": {"Std:Join": {"On": "/", "Values": checkpoints}}},
        },
    }


class Environment:
    """A pipeline of two steps whose second waits on spot, the pipeline that continues it, and a queue of messages."""

    def __init__(self, aws: ClientFactory, local: LocalAws) -> None:
        self.aws = aws
        self._local = local
        self.name = f"bins-{uuid.uuid4().hex[:8]}-dev"
        ingest = processing_step("Ingest", "mkdir -p $out; echo shard > $out/0")
        ingest["Arguments"]["ProcessingOutputConfig"]["Outputs"][0]["OutputName"] = "train"
        function = make_function(aws, f"{self.name}-looks", "return {'Weights': 'the sum of the weights'}")
        look = lambda_step("Fingerprint", function, Weights="String")
        kept, self.given = cut([look, ingest, _train_step(aws, spot=False)], "Train")
        required = [{"Name": name, "Type": "String"} for name in (*self.given, CONTINUED_EXECUTION)]
        self._create(self.name, define(look, ingest, _train_step(aws, spot=True)))
        self._create(f"{self.name}-on-demand-train", define(*kept, parameters=required))
        self.takes = [item["Name"] for item in required]
        self.topic: str = aws("sns").create_topic(Name=self.name)["TopicArn"]
        self._queue: str = aws("sqs").create_queue(QueueName=self.name)["QueueUrl"]
        attributes = aws("sqs").get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])["Attributes"]
        aws("sns").subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=attributes["QueueArn"])

    def _create(self, name: str, definition: str) -> None:
        self.aws("sagemaker").create_pipeline(
            PipelineName=name, PipelineDefinition=definition, RoleArn=ROLE, ClientRequestToken=uuid.uuid4().hex
        )

    def start(self) -> tuple[str, str]:
        """Starts the pipeline; the execution's ARN and its training job, which is training."""
        arn = self.aws("sagemaker").start_pipeline_execution(PipelineName=self.name)["PipelineExecutionArn"]
        step = until(lambda: steps_of(self.aws, arn).get("Train", {}).get("Metadata"))
        job = step["TrainingJob"]["Arn"].rsplit("/", 1)[-1]
        self.saved(job, 1)
        return str(arn), str(job)

    def saved(self, job: str, count: int) -> None:
        """Waits until the job's checkpoint says so many times."""
        described = self.aws("sagemaker").describe_training_job(TrainingJobName=job)
        prefix = described["CheckpointConfig"]["S3Uri"].removeprefix(f"s3://{BUCKET}/")

        def found() -> bool:
            listed = self.aws("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}step")
            return any(
                self.aws("s3").get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read() == str(count).encode()
                for item in listed.get("Contents", [])
            )

        until(found)

    def reclaim(self, job: str) -> None:
        """Takes the job's spot capacity away, once it has saved after the last time."""
        before = self._interruptions(job)
        self.saved(job, before + 1)
        self._local.administer("sagemaker/reclaim", {"TrainingJobName": job})
        until(lambda: self._interruptions(job) == before + 1)

    def _interruptions(self, job: str) -> int:
        described = self.aws("sagemaker").describe_training_job(TrainingJobName=job)
        return sum(item["Status"] == "Interrupted" for item in described["SecondaryStatusTransitions"])

    def continued(self) -> list[str]:
        """ARNs of the executions that continue on demand."""
        listed = self.aws("sagemaker").list_pipeline_executions(PipelineName=f"{self.name}-on-demand-train")
        return [item["PipelineExecutionArn"] for item in listed["PipelineExecutionSummaries"]]

    def deploy(self, template: Json, variables: dict[str, str]) -> None:
        """The function and its rules as the stack has them, but for their names."""
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as packed:
            for name, path in lambda_files().items():
                packed.write(path, name)
        function = self.aws("lambda").create_function(
            FunctionName=self.name, Runtime="python3.14", Role=ROLE, Handler="spot_fallback.handler",
            Code={"ZipFile": archive.getvalue()}, Timeout=120, Environment={"Variables": variables},
        )["FunctionArn"]  # fmt: skip
        for number, pattern in enumerate(patterns_of(template)):
            rule = f"{self.name}-{number}"
            self.aws("events").put_rule(Name=rule, EventPattern=json.dumps(pattern))
            self.aws("events").put_targets(Rule=rule, Targets=[{"Id": "function", "Arn": function}])

    def alerts(self) -> list[str]:
        """The messages so far."""
        messages = self.aws("sqs").receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(message["Body"])["Message"] for message in messages]


@pytest.fixture
def environment(aws: ClientFactory, _local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment, and the variables of its function."""
    try:
        aws("s3").create_bucket(Bucket=BUCKET)
    except ClientError as error:
        assert "BucketAlreadyOwnedByYou" in str(error)
    made = Environment(aws, _local_aws)
    goes_on = {"Train": {"name": f"{made.name}-on-demand-train", "takes": " ".join(made.takes)}}
    variables = {
        "PIPELINE": made.name,
        "RECLAIMS": "2",
        "ALERTS_TOPIC": made.topic,
        "CONTINUATIONS": json.dumps(goes_on),
        # One more than this pipeline takes: another one's.
        "RESULTS": json.dumps(made.given | {"LearningRate": "Steps.Tune.BestTrainingJob.TunedHyperParameters['lr']"}),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return made


def event(job: str) -> Json:
    return {"detail": {"TrainingJobName": job, "SecondaryStatus": "Interrupted"}}


def test_the_second_reclaim_sends_the_training_on_demand_and_it_goes_on_where_it_was(
    environment: Environment, template: Json, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the stack's rule: only reclaims call the function here."""
    aws = environment.aws
    environment.deploy(template, {name: os.environ[name] for name in VARIABLES})
    execution, job = environment.start()
    environment.reclaim(job)
    # The same question by hand, for its answer.
    assert "reclaimed 1 times; it continues on demand after 2" in spot_fallback.handler(event(job), None)["reason"]
    assert environment.continued() == []
    environment.reclaim(job)
    (continued,) = until(environment.continued)
    assert finished_execution(aws, execution)["PipelineExecutionStatus"] == "Stopped"
    done = finished_execution(aws, continued)
    assert done["PipelineExecutionStatus"] == "Succeeded", done.get("FailureReason")
    assert execution in done["PipelineExecutionDescription"]
    step = steps_of(aws, continued)["Train"]
    described = aws("sagemaker").describe_training_job(
        TrainingJobName=step["Metadata"]["TrainingJob"]["Arn"].rsplit("/", 1)[-1]
    )
    assert described["EnableManagedSpotTraining"] is False
    lines = log_lines(aws, "/aws/sagemaker/TrainingJobs", described["TrainingJobName"])
    identifier = execution.rsplit("/", 1)[-1]
    (start,) = [line for line in lines if line.startswith("starts at")]
    assert int(start.split()[2]) >= 2, "the third start finds what two reclaimed ones have saved"
    given = f"with s3://{BUCKET}/{identifier}/Ingest and the sum of the weights"
    assert start.endswith(given), "and what earlier steps of the execution that it continues have found"
    assert spot_fallback.handler(event(job), None)["outcome"] == "left", "a late event changes nothing"
    assert environment.continued() == [continued], "once, although several events report it"
    (message,) = set(until(environment.alerts))
    assert command_of(execution.split("/")[-3], f"watch {continued}") in message
    # A person who watches the stopped execution is led to the one that continues.
    line = connect(os.environ)
    assert executions.continued(line, execution) == continued
    assert executions.continued(line, continued) is None
    capsys.readouterr()
    watch.follow(line, NAMES, execution, json=True)
    shown = capsys.readouterr()
    assert json.loads(shown.out)["execution"] == continued
    assert "it continues on demand" in shown.err


def test_an_execution_that_a_person_has_retried_is_continued_again(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for the first time: neither is the old one taken for its continuation, nor does it wait for spot for ever."""
    monkeypatch.setenv("RECLAIMS", "0")
    execution, job = environment.start()
    assert spot_fallback.handler(event(job), None)["outcome"] == "started"
    assert finished_execution(environment.aws, execution)["PipelineExecutionStatus"] == "Stopped"
    (first,) = environment.continued()
    finished_execution(environment.aws, first)
    environment.aws("sagemaker").retry_pipeline_execution(
        PipelineExecutionArn=execution, ClientRequestToken=uuid.uuid4().hex
    )
    step = until(lambda: steps_of(environment.aws, execution).get("Train", {}).get("Metadata"))
    again = step["TrainingJob"]["Arn"].rsplit("/", 1)[-1]
    assert again != job
    for _ in range(2):  # the second finds it ended, or is the same request
        spot_fallback.handler(event(again), None)
    assert finished_execution(environment.aws, execution)["PipelineExecutionStatus"] == "Stopped"
    assert len(environment.continued()) == 2


def test_a_start_that_is_refused_leaves_the_execution_waiting(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution, job = environment.start()
    monkeypatch.setenv("RECLAIMS", "0")
    monkeypatch.setenv("CONTINUATIONS", json.dumps({"Train": {"name": "gone", "takes": ""}}))
    with pytest.raises(ClientError, match="gone"):
        spot_fallback.handler(event(job), None)
    status = environment.aws("sagemaker").describe_pipeline_execution(PipelineExecutionArn=execution)
    assert status["PipelineExecutionStatus"] == "Executing"
    assert environment.alerts() == []
    # Somebody else's job, and one that is over.
    monkeypatch.setenv("PIPELINE", f"{environment.name}-on-demand-train")
    assert "belongs to no running execution" in spot_fallback.handler(event(job), None)["reason"]
    environment.aws("sagemaker").stop_pipeline_execution(PipelineExecutionArn=execution)
    assert finished_execution(environment.aws, execution)["PipelineExecutionStatus"] == "Stopped"
    monkeypatch.setenv("PIPELINE", environment.name)
    assert "belongs to no running execution" in spot_fallback.handler(event(job), None)["reason"]
