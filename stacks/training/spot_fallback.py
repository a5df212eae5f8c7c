"""On demand after too many spot interruptions: the pipelines that continue, and the function that starts them."""

from __future__ import annotations

import dataclasses

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk import aws_sns as sns
from constructs import Construct, IDependable

from stacks.environments import SpotFallbackEnvironment
from stacks.names import INGEST, SPOT_STEPS, TUNE
from stacks.pipeline.context import PipelineContext
from stacks.pipeline.continuation import Continuation, continuations
from stacks.settings import Settings
from stacks.shared import permissions
from stacks.shared.functions import module_function
from stacks.shared.permissions import allow
from stacks.shared.stack import BinventoryStack
from stacks.shared.triggers import EVENT_RETRY_WINDOW, call_on_event


class SpotFallback(Construct):
    """A pipeline and an event rule for each step on spot capacity, and the function that decides."""

    def __init__(
        self,
        scope: BinventoryStack,
        construct_id: str,
        *,
        context: PipelineContext,
        pipeline_role: iam.IRole,
        alerts: sns.ITopic,
    ) -> None:
        super().__init__(scope, construct_id)
        self._stack = scope
        self._settings = context.settings
        found = continuations(dataclasses.replace(context, settings=on_demand(context.settings)))
        self.pipelines: dict[str, IDependable] = {item.first: self._pipeline(item, pipeline_role) for item in found}
        function = self._function(found, alerts)
        # A rule for each step: EventBridge refuses one with the wildcards of all of them as too complex.
        for step in SPOT_STEPS:
            call_on_event(
                self,
                f"{step}Interrupted",
                function,
                name=f"{self._settings.prefix}-spot-interrupted-{step.lower()}",
                description=f"A training job of the step {step} lost its spot capacity, or starts (again)",
                source="aws.sagemaker",
                detail_type="SageMaker Training Job State Change",
                # `Starting` too: it follows every interruption, in case the event of the interruption is lost.
                detail={"SecondaryStatus": ["Interrupted", "Starting"], "TrainingJobName": _names_of_jobs(step)},
            )

    def _pipeline(self, of: Continuation, role: iam.IRole) -> sagemaker.CfnPipeline:
        return sagemaker.CfnPipeline(
            self,
            of.first,
            pipeline_name=of.name,
            pipeline_display_name=of.name,
            pipeline_description=f"Continues an execution on demand from step {of.first}",
            role_arn=role.role_arn,
            pipeline_definition={"PipelineDefinitionBody": self._stack.to_json_string(of.definition)},
        )

    def _function(self, found: tuple[Continuation, ...], alerts: sns.ITopic) -> lambda_.Function:
        # Words in place of lists, and each result once: Lambda takes variables of 4 KB.
        pipelines = {
            item.first: {
                "name": item.name,
                "takes": " ".join(parameter["Name"] for parameter in item.definition["Parameters"]),
            }
            for item in found
        }
        function = module_function(
            self,
            "Fallback",
            stack=self._stack,
            module="spot_fallback",
            purpose="continues an execution on demand when spot capacity is reclaimed too often",
            timeout=Duration.minutes(2),
            statements=self._statements(found, alerts),
            environment=SpotFallbackEnvironment(
                alerts_topic=alerts.topic_arn,
                continuations=pipelines,
                pipeline=self._settings.prefix,
                reclaims=self._settings.training.on_demand_after_reclaims,
                results={name: path for item in found for name, path in item.given.items()},
            ),
            errors_to=alerts,
        )
        function.configure_async_invoke(retry_attempts=2, max_event_age=EVENT_RETRY_WINDOW)
        return function

    def _statements(self, found: tuple[Continuation, ...], alerts: sns.ITopic) -> list[iam.PolicyStatement]:
        prefix = self._settings.prefix
        executions = permissions.sagemaker_arn(self._stack, "pipeline", f"{prefix}/execution/*")
        jobs = {
            "DescribeProcessingJob": ("processing-job", INGEST),
            "DescribeTrainingJob": ("training-job", *SPOT_STEPS),
            "DescribeHyperParameterTuningJob": ("hyper-parameter-tuning-job", TUNE),
        }
        describe = [
            allow([f"sagemaker:{action}"], permissions.step_job_arns(self._stack, kind, *steps))
            for action, (kind, *steps) in jobs.items()
        ]
        return [
            *describe,
            allow(["sagemaker:ListPipelineExecutions"], [permissions.sagemaker_arn(self._stack, "pipeline", prefix)]),
            allow(
                [
                    "sagemaker:ListPipelineExecutionSteps",
                    "sagemaker:ListPipelineParametersForExecution",
                    "sagemaker:StopPipelineExecution",
                ],
                [executions],
            ),
            allow(
                ["sagemaker:StartPipelineExecution"],
                [permissions.sagemaker_arn(self._stack, "pipeline", item.name) for item in found],
            ),
            allow(["sns:Publish"], [alerts.topic_arn]),
        ]


def _names_of_jobs(step: str) -> list[dict[str, str]]:
    """Patterns of the names that SageMaker Pipelines gives to the jobs of a spot step: other jobs do not call.

    It names a job after execution and step, and a trial after its search. Only the step is known at synthesis; names
    may have it in lower case.
    """
    start = "*" if step == TUNE else "pipelines-*"
    return [{"wildcard": f"{start}-{name}-*"} for name in (step, step.lower())]


def on_demand(settings: Settings) -> Settings:
    """The settings without spot."""
    return settings.model_copy(
        update={
            "embed": settings.embed.model_copy(update={"spot": False}),
            "training": settings.training.model_copy(update={"spot": False}),
        }
    )
