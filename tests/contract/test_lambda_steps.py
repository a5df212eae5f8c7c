"""Pipeline steps that invoke a function: arguments in, typed outputs out, and what AWS refuses."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.pipelines.lambda_step import LIMIT_VARIABLE
from local_aws.server import LocalAws
from tests.contract.conftest import ClientFactory, connect
from tests.contract.functions import lambda_step, make_function, returned
from tests.contract.jobs import BUCKET, log_lines, until
from tests.contract.pipelines import (
    create,
    define,
    execute,
    finished_execution,
    get,
    join,
    processing_step,
    steps_of,
)
from tests.contract.test_authorisation import role, statement


@pytest.fixture(scope="module", autouse=True)
def bucket(client: ClientFactory) -> None:
    client("s3").create_bucket(Bucket=BUCKET)


def run(client: ClientFactory, *steps: dict[str, Any], **members: Any) -> tuple[str, dict[str, dict[str, Any]]]:
    """The status of an execution of these steps, and its steps."""
    name = f"p-{uuid.uuid4().hex[:8]}"
    create(client, name, *steps, **members)
    arn = execute(client, name)
    return finished_execution(client, arn)["PipelineExecutionStatus"], steps_of(client, arn)


def failure(client: ClientFactory, body: str, **outputs: str) -> str:
    """Why a step fails whose function has this body."""
    function = make_function(client, f"f-{uuid.uuid4().hex[:8]}", body)
    status, steps = run(client, lambda_step("Ask", function, **outputs))
    assert (status, steps["Ask"]["StepStatus"]) == ("Failed", "Failed")
    return str(steps["Ask"]["FailureReason"])


def test_arguments_go_in_and_outputs_come_out_with_their_types(client: ClientFactory) -> None:
    body = """
        text = f"{event['word']} of {event['of'][0]}"
        return {"Text": text, "Count": event["count"] + 1, "Share": 1, "Good": True, "Nested": {"a": [1]}, "More": 7}
    """
    function = make_function(client, "types", body)
    given = {"word": get("Parameters.Word"), "of": [join("e-", get("Execution.PipelineName"))], "count": 2}
    ask = lambda_step(
        "Ask", function, given, Text="String", Count="Integer", Share="Float", Good="Boolean", Nested="String"
    )
    say = processing_step("Say", 'echo "$@"', *(join(returned("Ask", name)) for name in ("Text", "Count", "Nested")))
    gate = {
        "Name": "Gate",
        "Type": "Condition",
        "Arguments": {
            "Conditions": [
                {"Type": "Equals", "LeftValue": returned("Ask", "Good"), "RightValue": True},
                {"Type": "GreaterThan", "LeftValue": returned("Ask", "Count"), "RightValue": 2},
            ],
            "IfSteps": [],
            "ElseSteps": [],
        },
    }
    word = {"Name": "Word", "Type": "String", "DefaultValue": "one"}
    create(client, "typed", ask, say, gate, parameters=[word])
    arn = execute(client, "typed")
    steps = steps_of(client, arn) if finished_execution(client, arn) else {}
    assert {step["StepStatus"] for step in steps.values()} == {"Succeeded"}, steps
    assert steps["Gate"]["Metadata"]["Condition"]["Outcome"] == "True"
    # Outputs that are not declared are dropped; what is shown is text.
    assert steps["Ask"]["Metadata"]["Lambda"] == {
        "Arn": function,
        "OutputParameters": [
            {"Name": "Text", "Value": "one of e-typed"},
            {"Name": "Count", "Value": "3"},
            {"Name": "Share", "Value": "1.0"},
            {"Name": "Good", "Value": "true"},
            {"Name": "Nested", "Value": '{"a":[1]}'},
        ],
    }
    job = steps["Say"]["Metadata"]["ProcessingJob"]["Arn"].rsplit("/", 1)[-1]
    assert log_lines(client, "/aws/sagemaker/ProcessingJobs", job) == ['one of e-typed 3 {"a":[1]}']


def test_what_a_cached_step_reads_from_a_function_decides_whether_it_runs(client: ClientFactory) -> None:
    """The function is invoked by every execution; the step after it runs when its answer is another one."""
    body = f"""
        import boto3
        found = boto3.client("s3").list_objects_v2(Bucket="{BUCKET}", Prefix="listed/")
        return {{"Keys": ",".join(item["Key"] for item in found.get("Contents", []))}}
    """
    look = lambda_step("Look", make_function(client, "looks", body), Keys="String")
    read = processing_step("Read", "true", returned("Look", "Keys"), CacheConfig={"Enabled": True})
    create(client, "looking", look, read)

    def hit() -> str | None:
        arn = execute(client, "looking")
        assert finished_execution(client, arn)["PipelineExecutionStatus"] == "Succeeded"
        steps = steps_of(client, arn)
        assert "CacheHitResult" not in steps["Look"]
        source: str | None = steps["Read"].get("CacheHitResult", {}).get("SourcePipelineExecutionArn")
        return source

    client("s3").put_object(Bucket=BUCKET, Key="listed/1", Body=b"")
    assert hit() is None
    first = client("sagemaker").list_pipeline_executions(PipelineName="looking")["PipelineExecutionSummaries"][0]
    assert hit() == first["PipelineExecutionArn"]
    client("s3").put_object(Bucket=BUCKET, Key="listed/2", Body=b"")
    assert hit() is None
    client("s3").delete_object(Bucket=BUCKET, Key="listed/2")
    assert hit() == first["PipelineExecutionArn"], "what was read once is still there"


@pytest.mark.parametrize(
    ("packed", "found"),
    [({}, "botocore.loaders"), ({"botocore/__init__.py": "", "botocore/loaders.py": "class Loader: ...\n"}, "own")],
    ids=["the runtime's", "its own"],
)
def test_a_function_gets_the_boto3_that_it_packs_and_else_the_runtimes(
    client: ClientFactory, packed: dict[str, str], found: str
) -> None:
    """A cold start is quicker because descriptions are read in another way, which must fit what the function has."""
    body = """
        from botocore import loaders
        own = not hasattr(loaders, "JSONFileLoader")
        described = {} if own else loaders.Loader().load_service_model("sqs", "service-2")
        return {"Found": "own" if own else loaders.__name__, "First": next(iter(described), "none")}
    """
    function = make_function(client, f"f-{uuid.uuid4().hex[:8]}", body, files=packed)
    answer = json.load(client("lambda").invoke(FunctionName=function)["Payload"])
    assert answer == {"Found": found, "First": "none" if packed else "version"}


def test_a_function_that_raises_fails_the_step_with_its_words(client: ClientFactory) -> None:
    assert failure(client, 'raise ValueError("s3://nowhere/ does not exist")').endswith("s3://nowhere/ does not exist")


@pytest.mark.parametrize(
    ("body", "outputs", "words"),
    [
        ("return {'A': 1}", {"A": "Integer", "B": "String"}, "did not return B"),
        ("return None", {"A": "String"}, "did not return A"),
        ("return {'A': 'many'}", {"A": "Integer"}, "A is 'many', which is no Integer"),
        ("return {'A': True}", {"A": "Integer"}, "A is True, which is no Integer"),
        ("return {'A': 1}", {"A": "Boolean"}, "A is 1, which is no Boolean"),
        ("return {'A': 'x' * 1025}", {"A": "String"}, "longer than 1024 characters"),
    ],
)
def test_outputs_are_held_to_what_is_declared(
    client: ClientFactory, body: str, outputs: dict[str, str], words: str
) -> None:
    assert words in failure(client, body, **outputs)


def test_a_function_that_does_not_exist_fails_the_step(client: ClientFactory) -> None:
    status, steps = run(client, lambda_step("Ask", "arn:aws:lambda:us-east-1:123456789012:function:nobody"))
    assert status == "Failed"
    assert "Function not found" in steps["Ask"]["FailureReason"]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"RetryPolicies": [{"ExceptionType": ["Step.THROTTLING"]}]}, "RetryPolicies are for steps of type .*Lambda"),
        ({"OutputParameters": [{"OutputName": "A", "OutputType": "List"}]}, "output A has type 'List'"),
        ({"OutputParameters": [{"OutputName": "A", "OutputType": "String"}] * 2}, "each of another name"),
        ({"OutputParameters": [{"OutputName": "A"}]}, "OutputType"),
    ],
)
def test_wrong_lambda_steps_are_refused_when_they_are_made(
    client: ClientFactory, members: dict[str, Any], words: str
) -> None:
    with pytest.raises(ClientError, match=words):
        create(client, "wrong", lambda_step("Ask", "arn:x") | members)


def test_a_step_without_a_function_is_refused(client: ClientFactory) -> None:
    with pytest.raises(ClientError, match="FunctionArn"):
        create(client, "wrong", {"Name": "Ask", "Type": "Lambda", "Arguments": {}})


def test_a_reference_to_an_output_that_is_not_declared_is_refused(client: ClientFactory) -> None:
    ask = lambda_step("Ask", "arn:x", Known="String")
    for reference in (returned("Ask", "Other"), get("Steps.Ask.Known"), get("Steps.Ask.OutputParameters")):
        with pytest.raises(ClientError, match=r"Ask, which has: OutputParameters\['Known'\]"):
            create(client, "wrong", ask, processing_step("After", "true", reference))


@pytest.fixture
def hasty(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClientFactory]:
    """A local AWS whose Lambda steps wait four seconds."""
    monkeypatch.setenv(LIMIT_VARIABLE, "4")
    with LocalAws(state_dir) as aws:
        yield connect(aws)


def test_a_step_waits_no_longer_than_its_limit_and_asks_once(hasty: ClientFactory) -> None:
    hasty("s3").create_bucket(Bucket=BUCKET)
    body = f"""
        import boto3, time, uuid
        boto3.client("s3").put_object(Bucket="{BUCKET}", Key=f"asked/{{uuid.uuid4()}}", Body=b"")
        time.sleep(8)
    """
    status, steps = run(hasty, lambda_step("Ask", make_function(hasty, "slow", body)))
    assert status == "Failed"
    assert "did not end within the 4 seconds of a step" in steps["Ask"]["FailureReason"]
    # A busy machine may still start the function when its step is given up.
    assert until(lambda: hasty("s3").list_objects_v2(Bucket=BUCKET, Prefix="asked/")["KeyCount"]) == 1


@pytest.mark.parametrize(("aws", "end"), [("client", "Stopped"), ("hasty", "Failed")])
def test_stopping_waits_for_the_function_and_fails_at_the_limit(
    request: pytest.FixtureRequest, aws: str, end: str, tmp_path: Path
) -> None:
    """As StopPipelineExecution documents: a function cannot be stopped."""
    client: ClientFactory = request.getfixturevalue(aws)
    go = tmp_path / "go"
    body = f"""
        import pathlib, time
        while not pathlib.Path({str(go)!r}).exists():
            time.sleep(0.05)
    """
    ask = lambda_step("Ask", make_function(client, "busy", body))
    create(client, "stopping", ask, processing_step("After", "true", DependsOn=["Ask"]))
    arn = execute(client, "stopping")
    until(lambda: "Metadata" in steps_of(client, arn).get("Ask", {}))
    client("sagemaker").stop_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=uuid.uuid4().hex)
    if end == "Stopped":
        stopping = client("sagemaker").describe_pipeline_execution(PipelineExecutionArn=arn)
        assert stopping["PipelineExecutionStatus"] == "Stopping"
        go.touch()  # the other one is given up while it works
    assert finished_execution(client, arn)["PipelineExecutionStatus"] == end
    go.touch()
    assert list(steps_of(client, arn)) == ["Ask"]


def test_an_execution_goes_on_with_its_function_after_a_restart(state_dir: Path) -> None:
    with LocalAws(state_dir) as aws:
        client = connect(aws)
        make_function(client, "restarted", "import time; time.sleep(event['seconds']); return {'A': 1}")
        step = lambda_step(
            "Ask", "arn:aws:lambda:us-east-1:123456789012:function:restarted", {"seconds": 4}, A="Integer"
        )
        create(client, "restarted", step)
        arn = execute(client, "restarted")
        until(lambda: "Metadata" in steps_of(client, arn).get("Ask", {}))
    with LocalAws(state_dir) as aws:
        client = connect(aws)
        assert finished_execution(client, arn)["PipelineExecutionStatus"] == "Succeeded"


def test_the_pipelines_role_must_be_allowed_to_invoke_the_function(state_dir: Path) -> None:
    with LocalAws(state_dir, enforce_iam=True) as aws:
        client = connect(aws)
        runs = role(client, "runs", {"Service": "lambda.amazonaws.com"})
        function = make_function(client, "guarded", "return {'A': 1}", runs)
        other = make_function(client, "other", "return {'A': 1}", runs)
        allowed = statement("lambda:InvokeFunction", resource=function)
        may = role(client, "may", {"Service": "sagemaker.amazonaws.com"}, allowed)
        outcomes = {}
        for name, arn in (("own", function), ("foreign", other)):
            definition = define(lambda_step("Ask", arn, A="Integer"))
            client("sagemaker").create_pipeline(
                PipelineName=name, PipelineDefinition=definition, RoleArn=may, ClientRequestToken=uuid.uuid4().hex
            )
            execution = execute(client, name)
            finished_execution(client, execution)
            outcomes[name] = steps_of(client, execution)["Ask"]
    assert outcomes["own"]["StepStatus"] == "Succeeded", outcomes["own"]
    assert "not authorized to perform: lambda:InvokeFunction" in outcomes["foreign"]["FailureReason"]
