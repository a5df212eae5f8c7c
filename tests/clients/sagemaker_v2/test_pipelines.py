"""Pipelines that version 2 builds: the abalone template's shape, and the other kinds of steps and conditions."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from sagemaker.inputs import TrainingInput
from sagemaker.lambda_helper import Lambda
from sagemaker.model import Model
from sagemaker.model_metrics import MetricsSource, ModelMetrics
from sagemaker.processing import ProcessingInput, ProcessingOutput, ScriptProcessor
from sagemaker.tuner import ContinuousParameter, HyperparameterTuner
from sagemaker.workflow.condition_step import ConditionStep
from sagemaker.workflow.conditions import (
    ConditionEquals,
    ConditionGreaterThan,
    ConditionGreaterThanOrEqualTo,
    ConditionIn,
    ConditionLessThan,
    ConditionLessThanOrEqualTo,
    ConditionNot,
    ConditionOr,
)
from sagemaker.workflow.execution_variables import ExecutionVariables
from sagemaker.workflow.fail_step import FailStep
from sagemaker.workflow.functions import Join, JsonGet
from sagemaker.workflow.lambda_step import LambdaOutput, LambdaOutputTypeEnum, LambdaStep
from sagemaker.workflow.model_step import ModelStep
from sagemaker.workflow.parameters import ParameterFloat, ParameterInteger, ParameterString
from sagemaker.workflow.pipeline import Pipeline
from sagemaker.workflow.pipeline_context import PipelineSession
from sagemaker.workflow.properties import PropertyFile
from sagemaker.workflow.retry import SageMakerJobExceptionTypeEnum, SageMakerJobStepRetryPolicy
from sagemaker.workflow.step_collections import RegisterModel
from sagemaker.workflow.steps import CacheConfig, ProcessingStep, TrainingStep, TuningStep

GROUP = "AbaloneLike"
FUNCTION = "def handler(event, context):\n    return {'doubled': 2 * event['number'], 'said': 'done'}\n"


def processor(session: Any, role: str, image: str) -> ScriptProcessor:
    return ScriptProcessor(
        image_uri=image, command=["python3"], role=role, instance_type="ml.m5.large", instance_count=1,
        sagemaker_session=session,
    )  # fmt: skip


@pytest.fixture(scope="module")
def template(session, role, bucket, scripts, training_image, image):  # type: ignore[no-untyped-def]
    """Preprocess, train, evaluate, and register if the error is small: as public templates do, paths below /opt/ml."""
    from sagemaker.pytorch import PyTorch

    source = ParameterString("InputDataUrl", default_value=f"s3://{bucket}/bins/")
    approval = ParameterString("ModelApprovalStatus", default_value="PendingManualApproval")
    threshold = ParameterFloat("MseThreshold", default_value=6.0)
    epochs = ParameterInteger("Epochs", default_value=40)
    cache = CacheConfig(enable_caching=True, expire_after="P1D")
    preprocess = ProcessingStep(
        "Preprocess", processor=processor(session, role, training_image), code=str(scripts / "preprocess.py"),
        inputs=[ProcessingInput(source=source, destination="/opt/ml/processing/input", input_name="input")],
        outputs=[
            ProcessingOutput(output_name=name, source=f"/opt/ml/processing/{name}")
            for name in ("train", "validation", "test")
        ],
        cache_config=cache,
    )  # fmt: skip
    outputs = preprocess.properties.ProcessingOutputConfig.Outputs
    estimator = PyTorch(
        entry_point="train.py", source_dir=str(scripts), role=role, image_uri=training_image,
        instance_type="ml.m5.large", instance_count=1, hyperparameters={"epochs": epochs}, sagemaker_session=session,
    )  # fmt: skip
    train = TrainingStep(
        "Train", estimator=estimator, inputs={"train": TrainingInput(outputs["train"].S3Output.S3Uri)},
        cache_config=cache,
        retry_policies=[
            SageMakerJobStepRetryPolicy(exception_types=[SageMakerJobExceptionTypeEnum.CAPACITY_ERROR], max_attempts=2)
        ],
    )  # fmt: skip
    report = PropertyFile("EvaluationReport", output_name="evaluation", path="evaluation.json")
    evaluate = ProcessingStep(
        "Evaluate", processor=processor(session, role, training_image), code=str(scripts / "evaluate.py"),
        inputs=[
            ProcessingInput(
                source=train.properties.ModelArtifacts.S3ModelArtifacts, destination="/opt/ml/processing/model",
                input_name="model",
            ),
            ProcessingInput(
                source=outputs["test"].S3Output.S3Uri, destination="/opt/ml/processing/test", input_name="test"
            ),
        ],
        outputs=[ProcessingOutput(output_name="evaluation", source="/opt/ml/processing/evaluation")],
        property_files=[report],
    )  # fmt: skip
    evaluation = evaluate.properties.ProcessingOutputConfig.Outputs["evaluation"].S3Output.S3Uri
    metrics = ModelMetrics(
        model_statistics=MetricsSource(
            s3_uri=Join("/", [evaluation, "evaluation.json"]), content_type="application/json"
        )
    )
    register = RegisterModel(
        "Register", estimator=estimator, image_uri=image, model_data=train.properties.ModelArtifacts.S3ModelArtifacts,
        content_types=["text/csv"], response_types=["application/json"], inference_instances=["ml.m5.large"],
        transform_instances=["ml.m5.large"], model_package_group_name=GROUP, approval_status=approval,
        model_metrics=metrics,
    )  # fmt: skip
    error = JsonGet(step_name="Evaluate", property_file=report, json_path="regression_metrics.mse.value")
    condition = ConditionStep(
        "CheckMse", conditions=[ConditionLessThanOrEqualTo(left=error, right=threshold)], if_steps=[register],
        else_steps=[FailStep("TooBad", error_message=Join(" ", ["The error is greater than", threshold]))],
    )  # fmt: skip
    made = Pipeline(
        "AbaloneLike", parameters=[source, approval, threshold, epochs],
        steps=[preprocess, train, evaluate, condition], sagemaker_session=session,
    )  # fmt: skip
    made.upsert(role_arn=role)
    return made


def ended(execution: Any) -> dict[str, Any]:
    """The steps of an execution by name, once it has ended."""
    try:
        execution.wait(delay=1, max_attempts=240)
    except Exception:
        assert execution.describe()["PipelineExecutionStatus"] == "Failed"
    return {step["StepName"]: step for step in execution.list_steps()}


@pytest.fixture(scope="module")
def run(template: Pipeline) -> dict[str, Any]:
    return ended(template.start())


def test_a_public_template_runs_to_the_registry(run: dict[str, Any], session: Any) -> None:
    assert {step["StepStatus"] for step in run.values()} == {"Succeeded"}, run
    assert run["CheckMse"]["Metadata"]["Condition"]["Outcome"] == "True"
    (package,) = session.sagemaker_client.list_model_packages(ModelPackageGroupName=GROUP)["ModelPackageSummaryList"]
    found = session.sagemaker_client.describe_model_package(ModelPackageName=package["ModelPackageArn"])
    assert found["ModelApprovalStatus"] == "PendingManualApproval"
    statistics = found["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]
    report = json.loads(_read(statistics))
    assert report["regression_metrics"]["mse"]["value"] < 0.01


def test_a_second_execution_takes_steps_from_the_cache_and_fails_by_a_parameter(
    run: dict[str, Any], template: Pipeline
) -> None:
    execution = template.start(parameters={"MseThreshold": -1.0})
    steps = ended(execution)
    assert steps["CheckMse"]["Metadata"]["Condition"]["Outcome"] == "False"
    assert steps["TooBad"]["Metadata"]["Fail"]["ErrorMessage"] == "The error is greater than -1.0"
    assert steps["Preprocess"]["CacheHitResult"]["SourcePipelineExecutionArn"]
    assert steps["Train"]["CacheHitResult"]["SourcePipelineExecutionArn"]
    assert execution.describe()["PipelineExecutionStatus"] == "Failed"


def test_a_second_create_says_what_aws_says(template: Pipeline, role: str) -> None:
    """Since September 2026 without "already exists", for which `upsert` of this version looks: so it raises."""
    for again in (template.create, template.upsert):
        with pytest.raises(ClientError, match="Pipeline names must be unique within an AWS account and region"):
            again(role)
    changed = template.update(role, description="another")
    assert changed["PipelineArn"].endswith("/abalonelike")
    assert template.describe()["PipelineDescription"] == "another"


def test_a_function_a_search_and_a_condition_that_negates(  # type: ignore[no-untyped-def]
    session, role, estimator, numbers
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("index.py", FUNCTION)
    import os

    function = boto3.client("lambda").create_function(
        FunctionName="doubles", Runtime="python3.12", Role=os.environ["CLIENTS_FUNCTION_ROLE"],
        Handler="index.handler", Code={"ZipFile": packed.getvalue()},
    )["FunctionArn"]  # fmt: skip
    double = LambdaStep(
        "Double", lambda_func=Lambda(function_arn=function, session=session), inputs={"number": 21},
        outputs=[LambdaOutput("doubled", LambdaOutputTypeEnum.Integer), LambdaOutput("said")],
    )  # fmt: skip
    tuner = HyperparameterTuner(
        estimator(), "validation:loss", {"lr": ContinuousParameter(0.01, 0.1)}, objective_type="Minimize", max_jobs=2,
        max_parallel_jobs=2, metric_definitions=[{"Name": "validation:loss", "Regex": r"validation:loss=([0-9.]+);"}],
    )  # fmt: skip
    tune = TuningStep("Tune", tuner=tuner, inputs={"train": TrainingInput(numbers)}, depends_on=[double])
    negated = ConditionNot(ConditionGreaterThan(left=double.properties.Outputs["doubled"], right=42))
    stop = FailStep("Stop", error_message=Join(":", [ExecutionVariables.PIPELINE_NAME, "negated"]))
    check = ConditionStep("Check", conditions=[negated], if_steps=[stop], else_steps=[], depends_on=[tune])
    made = Pipeline("Others", steps=[double, tune, check], sagemaker_session=session)
    made.create(role_arn=role)
    steps = ended(made.start())
    parameters = {item["Name"]: item["Value"] for item in steps["Double"]["Metadata"]["Lambda"]["OutputParameters"]}
    assert parameters == {"doubled": "42", "said": "done"}
    assert steps["Tune"]["StepStatus"] == "Succeeded"
    assert steps["Stop"]["Metadata"]["Fail"]["ErrorMessage"] == "Others:negated"


def test_every_condition_of_the_sdk(session: Any, role: str) -> None:
    """One step for each as it holds, and one as it does not."""
    number = ParameterInteger("Number", default_value=3)
    word = ParameterString("Word", default_value="bin")
    conditions = {
        "Equals": (ConditionEquals(number, 3), ConditionEquals(word, "photo")),
        "Greater": (ConditionGreaterThan(number, 2), ConditionGreaterThan(number, 3)),
        "AtLeast": (ConditionGreaterThanOrEqualTo(number, 3), ConditionGreaterThanOrEqualTo(number, 4)),
        "Less": (ConditionLessThan(number, 4), ConditionLessThan(number, 3)),
        "AtMost": (ConditionLessThanOrEqualTo(number, 3), ConditionLessThanOrEqualTo(number, 2)),
        "In": (ConditionIn(word, ["bin", "shelf"]), ConditionIn(word, ["photo"])),
        "Not": (ConditionNot(ConditionIn(number, [1, 2])), ConditionNot(ConditionEquals(word, "bin"))),
        "Or": (
            ConditionOr([ConditionEquals(number, 1), ConditionEquals(word, "bin")]),
            ConditionOr([ConditionEquals(number, 1), ConditionEquals(word, "photo")]),
        ),
    }
    steps = [
        ConditionStep(f"{name}{wanted}", conditions=[pair[index]], if_steps=[], else_steps=[])
        for name, pair in conditions.items()
        for index, wanted in enumerate(("True", "False"))
    ]
    made = Pipeline("Conditions", parameters=[number, word], steps=steps, sagemaker_session=session)
    made.create(role_arn=role)
    execution = made.start()
    ended(execution)
    # `list_steps` of the SDK has the first ten only, as on AWS.
    asked = {"PipelineExecutionArn": execution.arn, "MaxResults": 100}
    listed = session.sagemaker_client.list_pipeline_execution_steps(**asked)["PipelineExecutionSteps"]
    found = {step["StepName"]: step["Metadata"]["Condition"]["Outcome"] for step in listed}
    assert len(found) == 16
    assert {name: outcome for name, outcome in found.items() if not name.endswith(outcome)} == {}


def test_a_step_is_retried_for_what_its_policy_names(session: Any, role: str, estimator: Any, numbers: str) -> None:
    tuner = HyperparameterTuner(
        estimator(), "validation:loss", {"lr": ContinuousParameter(0.01, 0.1)}, objective_type="Minimize",
        max_jobs=500, max_parallel_jobs=200,
        metric_definitions=[{"Name": "validation:loss", "Regex": r"validation:loss=([0-9.]+);"}],
    )  # fmt: skip
    policy = SageMakerJobStepRetryPolicy(
        exception_types=[SageMakerJobExceptionTypeEnum.RESOURCE_LIMIT], interval_seconds=1, backoff_rate=1,
        max_attempts=2,
    )  # fmt: skip
    tune = TuningStep("TooMany", tuner=tuner, inputs={"train": TrainingInput(numbers)}, retry_policies=[policy])
    made = Pipeline("Retried", steps=[tune], sagemaker_session=session)
    made.create(role_arn=role)
    step = ended(made.start())["TooMany"]
    assert (step["StepStatus"], step["AttemptCount"]) == ("Failed", 3)
    assert "At most 100 training jobs" in step["FailureReason"]


def test_steps_from_calls_that_a_pipeline_session_keeps(  # type: ignore[no-untyped-def]
    role, bucket, scripts, training_image, image, estimator
) -> None:
    """The later form of the template: `run`, `fit` and `register` start nothing, and become steps."""
    later = PipelineSession()
    split = processor(later, role, training_image)
    preprocess = ProcessingStep(
        "Preprocess",
        step_args=split.run(
            code=str(scripts / "preprocess.py"),
            inputs=[ProcessingInput(source=f"s3://{bucket}/bins/", destination="/opt/ml/processing/input")],
            outputs=[
                ProcessingOutput(output_name=name, source=f"/opt/ml/processing/{name}")
                for name in ("train", "validation", "test")
            ],
        ),
    )
    rows = preprocess.properties.ProcessingOutputConfig.Outputs["train"].S3Output.S3Uri
    fit = estimator(sagemaker_session=later).fit({"train": TrainingInput(rows)})
    train = TrainingStep("Train", step_args=fit)
    data = train.properties.ModelArtifacts.S3ModelArtifacts
    model = Model(image_uri=image, model_data=data, role=role, sagemaker_session=later)
    register = ModelStep(
        "Fitted",
        step_args=model.register(
            content_types=["text/csv"], response_types=["application/json"], inference_instances=["ml.m5.large"],
            transform_instances=["ml.m5.large"], model_package_group_name="Later", approval_status="Approved",
        ),
    )  # fmt: skip
    made = Pipeline("Later", steps=[preprocess, train, register], sagemaker_session=later)
    made.create(role_arn=role)
    steps = ended(made.start())
    assert {step["StepStatus"] for step in steps.values()} == {"Succeeded"}, steps
    (registered,) = [step for name, step in steps.items() if name.startswith("Fitted")]
    package = later.sagemaker_client.describe_model_package(
        ModelPackageName=registered["Metadata"]["RegisterModel"]["Arn"]
    )
    assert package["ModelApprovalStatus"] == "Approved"
    trained = later.sagemaker_client.describe_training_job(
        TrainingJobName=steps["Train"]["Metadata"]["TrainingJob"]["Arn"].rpartition("/")[2]
    )
    assert (
        package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"]
        == trained["ModelArtifacts"]["S3ModelArtifacts"]
    )


def _read(uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    body: bytes = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return body
