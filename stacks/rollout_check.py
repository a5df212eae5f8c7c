"""After every update of the serving stack: is what the endpoint serves what the stack asks for?"""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks import permissions
from stacks.base import BinventoryStack
from stacks.functions import module_function
from stacks.permissions import allow
from stacks.triggers import call_on_event

# The states in which an update of a stack ends.
ENDED = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_FAILED")


class RolloutCheck(Construct):
    """The rule that hears of the stack's updates, and the function that compares and tells."""

    def __init__(self, scope: BinventoryStack, construct_id: str, *, endpoint: str, alerts: sns.ITopic) -> None:
        super().__init__(scope, construct_id)
        stack = scope.settings.stack_name("serving")
        stack_arn = permissions.stack_arn(scope, stack)
        endpoint_arn = permissions.sagemaker_arn(scope, "endpoint", endpoint)
        function = module_function(
            self,
            "Check",
            stack=scope,
            module="rollout_check",
            purpose="tells when the endpoint does not serve what its stack asks for",
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
        )
        call_on_event(
            self,
            "Ended",
            function,
            name=f"{scope.settings.prefix}-rollout-check",
            description="An update of the serving stack has ended",
            source="aws.cloudformation",
            detail_type="CloudFormation Stack Status Change",
            detail={
                "stack-id": events.Match.prefix(stack_arn.removesuffix("*")),
                "status-details": {"status": list(ENDED)},
            },
        )
