"""A Lambda function with the project's standards: one role, one log group, an alarm on errors."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.environments import FunctionEnvironment, variables_of
from stacks.shared import permissions
from stacks.shared.assets import write_lambda_code
from stacks.shared.stack import BinventoryStack


@dataclass(frozen=True, kw_only=True)
class FunctionProperties:
    """The properties in which the functions differ."""

    name: str
    purpose: str
    """What it does, as the end of a sentence that begins with the function's name."""
    handler: str
    timeout: Duration
    statements: Sequence[iam.PolicyStatement]
    environment: FunctionEnvironment | None = None
    memory_mb: int = 256
    errors_to: sns.ITopic | None = None
    """Topic of the alarm on the function's errors; None: no alarm."""


class PythonFunction(Construct):
    """The function. It may do what its statements allow, and write its log."""

    def __init__(self, scope: Construct, construct_id: str, *, stack: BinventoryStack, of: FunctionProperties) -> None:
        super().__init__(scope, construct_id)
        log_group = stack.log_group(self, "Logs", f"/aws/lambda/{of.name}")
        self.role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"{of.name}: {of.purpose}",
        )
        self.policy = iam.Policy(
            self,
            "Policy",
            roles=[self.role],
            statements=[permissions.write_log_streams(log_group), *of.statements],
        )
        with tempfile.TemporaryDirectory() as code:
            # One asset for all functions: small, uploaded once, and no function can lack a module that it imports.
            write_lambda_code(Path(code))
            self.function = lambda_.Function(
                self,
                "Function",
                function_name=of.name,
                description=of.purpose,
                runtime=lambda_.Runtime.PYTHON_3_14,
                handler=of.handler,
                code=lambda_.Code.from_asset(code),
                role=self.role,
                log_group=log_group,
                memory_size=of.memory_mb,
                timeout=of.timeout,
                environment=variables_of(of.environment) if of.environment else {},
            )
        if of.errors_to:
            self._alarm(of.name, of.errors_to)

    def _alarm(self, name: str, topic: sns.ITopic) -> None:
        alarm = self.function.metric_errors(period=Duration.minutes(5)).create_alarm(
            self,
            "Errors",
            alarm_name=f"{name}-errors",
            alarm_description=f"{name} failed; its log group says why",
            threshold=1,
            evaluation_periods=1,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm.add_alarm_action(actions.SnsAction(topic))


def module_function(
    scope: Construct,
    construct_id: str,
    *,
    stack: BinventoryStack,
    module: str,
    purpose: str,
    timeout: Duration,
    statements: Sequence[iam.PolicyStatement],
    environment: FunctionEnvironment,
    errors_to: sns.ITopic,
) -> lambda_.Function:
    """The function of one module of lambda_code, named after it: `drift_monitor` is `binventory-dev-drift-monitor`."""
    return PythonFunction(
        scope,
        construct_id,
        stack=stack,
        of=FunctionProperties(
            name=f"{stack.settings.prefix}-{module.replace('_', '-')}",
            purpose=purpose,
            handler=f"{module}.handler",
            timeout=timeout,
            statements=statements,
            environment=environment,
            errors_to=errors_to,
        ),
    ).function
