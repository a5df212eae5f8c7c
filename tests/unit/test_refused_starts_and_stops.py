"""Why an execution was not started, or has not stopped in time, each with the cure of its reason."""

from __future__ import annotations

import re

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from binventory import executions, serving
from binventory.cli.failures import problem_of
from binventory.core.aws import Aws
from binventory.core.errors import Problem
from binventory.executions import Execution, ExecutionStep, stopping
from tests.conftest import NAMES


@pytest.mark.parametrize(
    ("code", "what", "cure"),
    [
        ("ValidationException", "The pipeline binventory-dev did not start", "correct the parameter it names"),
        ("ResourceNotFound", "There is no pipeline binventory-dev", "npx cdk deploy"),
        ("AccessDeniedException", "AWS refused StartPipelineExecution", "check that these credentials may do this"),
        ("ResourceLimitExceeded", "AWS refused StartPipelineExecution", "a higher quota"),
    ],
)
def test_a_start_that_sagemaker_refuses_has_the_cure_of_its_reason(code: str, what: str, cure: str) -> None:
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    with Stubber(aws.client("sagemaker")) as stub:
        stub.add_client_error("start_pipeline_execution", code, "this is why")
        with pytest.raises((Problem, ClientError)) as caught:
            executions.start(aws, NAMES, {"Epochs": 3})
    problem = problem_of(caught.value)
    assert problem.what == what and cure in problem.cure
    assert "this is why" in problem.why or code == "ResourceNotFound"


def test_an_execution_that_was_stopped_says_how_to_look_at_it() -> None:
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    problem = executions.explain(aws, Execution("arn:pipeline/p/execution/e", "Stopped", "", ()))
    assert problem.what == "The pipeline execution ended as Stopped" and problem.why == "the service gives no reason"
    assert "list-pipeline-execution-steps --pipeline-execution-arn arn:pipeline/p/execution/e" in problem.cure


@pytest.mark.parametrize("code", ["AccessDeniedException", "ValidationException"])
def test_an_approval_that_may_not_be_given_is_not_called_an_unknown_package(code: str) -> None:
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    with Stubber(aws.client("sagemaker")) as stub:
        stub.add_client_error("update_model_package", code, "this is why")
        with pytest.raises((Problem, ClientError)) as caught:
            serving.reject(aws, "arn:aws:sagemaker:us-east-1:123456789012:model-package/p/1", "counts too low")
    problem = problem_of(caught.value)
    assert ("check that these credentials may do this" in problem.cure) == (code == "AccessDeniedException")
    assert ("list-model-packages" in problem.cure) == (code == "ValidationException")


RUNS = ExecutionStep("Train", "Executing", None, None, "", "TrainingJob", "arn:training-job/train")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("Stopping", "The execution e has not stopped yet: it is Stopping (Train executing), and may still bill"),
        ("Stopped", "The job train has not stopped yet: it is Stopping, and may still bill"),
    ],
)
def test_what_has_not_stopped_in_time_is_said_to_bill(status: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "look", lambda aws, arn: Execution("arn:execution/e", status, "", (RUNS,)))
    monkeypatch.setattr(stopping, "describe", lambda aws, kind, job: {"TrainingJobStatus": "Stopping"})
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    with pytest.raises(Problem, match=re.escape(said)) as caught:
        list(stopping.stop(aws, "arn:execution/e", timeout=-1))
    assert caught.value.cure == "wait for it: run the same command again"


def test_a_job_that_may_not_be_stopped_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "look", lambda aws, arn: Execution("arn:execution/e", "Stopped", "", (RUNS,)))
    monkeypatch.setattr(stopping, "describe", lambda aws, kind, job: {"TrainingJobStatus": "InProgress"})
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    with Stubber(aws.client("sagemaker")) as stub:
        stub.add_client_error("stop_training_job", "AccessDeniedException", "you may not stop it")
        with pytest.raises(ClientError, match="you may not stop it"):
            list(stopping.stop(aws, "arn:execution/e"))
