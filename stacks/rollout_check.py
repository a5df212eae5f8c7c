"""After every update of the serving stack: is what the endpoint serves what the stack asks for?"""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.base import BinventoryStack
from stacks.functions import PROMOTION_CODE, FunctionProperties, PythonFunction
from stacks.permissions import allow

# The states in which an update of a stack ends.
ENDED = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_FAILED")


class RolloutCheck(Construct):
    """The rule that hears of the stack's updates, and the function that compares and tells."""

    def __init__(self, scope: BinventoryStack, construct_id: str, *, endpoint: str, alerts: sns.ITopic) -> None:
        super().__init__(scope, construct_id)
        name = f"{scope.settings.prefix}-rollout-check"
        stack = scope.settings.stack_name("serving")
        stack_arn = scope.format_arn(service="cloudformation", resource="stack", resource_name=f"{stack}/*")
        endpoint_arn = scope.format_arn(service="sagemaker", resource="endpoint", resource_name=endpoint)
        function = PythonFunction(
            self,
            "Check",
            stack=scope,
            of=FunctionProperties(
                name=name,
                purpose="tells when the endpoint does not serve what its stack asks for",
                code=PROMOTION_CODE,
                handler="rollout_check.handler",
                timeout=Duration.minutes(1),
                statements=[
                    allow(
                        [
                            "cloudformation:DescribeStackEvents",
                            "cloudformation:DescribeStacks",
                            "cloudformation:ListStackResources",
                        ],
                        [stack_arn],
                    ),
                    allow(["sagemaker:DescribeEndpoint"], [endpoint_arn]),
                    allow(["sns:Publish"], [alerts.topic_arn]),
                ],
                environment={"SERVING_STACK": stack, "ENDPOINT": endpoint, "ALERTS_TOPIC": alerts.topic_arn},
                errors_to=alerts,
            ),
        ).function
        events.Rule(
            self,
            "Ended",
            rule_name=name,
            description="An update of the serving stack has ended",
            event_pattern=events.EventPattern(
                source=["aws.cloudformation"],
                detail_type=["CloudFormation Stack Status Change"],
                detail={
                    "stack-id": events.Match.prefix(stack_arn.removesuffix("*")),
                    "status-details": {"status": list(ENDED)},
                },
            ),
            targets=[targets.LambdaFunction(function, retry_attempts=10, max_event_age=Duration.hours(6))],
        )
