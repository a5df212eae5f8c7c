"""The endpoint. It exists only while the stack's parameters name a model package and turn serving on."""

from __future__ import annotations

from aws_cdk import CfnCondition, CfnDeletionPolicy, CfnOutput, CfnParameter, CfnResource, Fn
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.names import ENDPOINT_STATE, MODEL_DIGEST, MODEL_PACKAGE_ARN, endpoint_log_group
from stacks.serving.alarms import EndpointAlarms
from stacks.serving.asynchronous import AsyncEndpoint
from stacks.serving.batch_transform import batch_outputs
from stacks.serving.endpoint import VARIANT, endpoint_configuration, served_endpoint
from stacks.serving.model import ServedPackage, served_model
from stacks.serving.roles import ServingRoles
from stacks.serving.scaling import autoscaling_of
from stacks.settings import Settings
from stacks.shared.job_network import JobNetwork
from stacks.shared.stack import BinventoryStack
from stacks.storage.stack import StorageStack


class ServingStack(BinventoryStack):
    """What serves is changed in one way: lambda_code/reconcile.py updates this stack with a changed parameter.

    It holds no IAM resources, because the function may not change any (stacks/serving/roles.py).
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        storage: StorageStack,
        alerts: sns.ITopic,
        roles: ServingRoles,
        network: JobNetwork | None = None,
    ) -> None:
        super().__init__(
            scope, construct_id, settings=settings, role="serving", purpose="the endpoint", keys=storage.keys
        )
        name, serving = settings.prefix, settings.serving
        queue = AsyncEndpoint(serving, storage, alerts) if serving.mode == "async" else None
        package = self._model_package_parameter().value_as_string
        condition = self._serving_condition(package)
        log_group = self.log_group(self, "EndpointLogs", endpoint_log_group(name))
        served = ServedPackage(package, self._digest_parameter().value_as_string)
        model = served_model(self, role=roles.endpoint, served=served, endpoint_name=name, network=network)
        # The container may create the group, so a destroy deletes the group after everything that runs it.
        model.node.add_dependency(log_group)
        configuration = endpoint_configuration(self, model=model, storage=storage, queue=queue)
        alarms = EndpointAlarms(self, "Alarms", settings=serving, endpoint_name=name, variant=VARIANT, alerts=alerts)
        endpoint = served_endpoint(self, name=name, configuration=configuration, alarms=alarms)
        resources: list[CfnResource] = [model, configuration, endpoint, *alarms.alarms]
        if serving.scales:
            resources += autoscaling_of(self, endpoint=endpoint, endpoint_name=name)
        for resource in resources:
            resource.cfn_options.condition = condition
        for replaced in (model, configuration):
            # SageMaker may roll back after CloudFormation has reported success, and then needs the old model and
            # configuration. The function `reconcile` deletes them when nothing uses them.
            replaced.cfn_options.update_replace_policy = CfnDeletionPolicy.RETAIN
            replaced.cfn_options.deletion_policy = CfnDeletionPolicy.DELETE
        batch_outputs(self, role=roles.batch, storage=storage, network=network)
        # Also while nothing is served: a caller then gets SageMaker's "not found".
        CfnOutput(self, "EndpointName", value=name)
        CfnOutput(self, "ServingMode", value=serving.mode)
        if queue:
            CfnOutput(self, "AsyncInputUri", value=queue.input_uri)
            CfnOutput(self, "AsyncExpireDays", value=str(serving.asynchronous.expire_days))

    def _model_package_parameter(self) -> CfnParameter:
        return CfnParameter(
            self,
            MODEL_PACKAGE_ARN,
            default="",
            description="The model package to serve; empty: none. Promotion sets it.",
            allowed_pattern=r"^$|^arn:[a-z-]+:sagemaker:[a-z0-9-]+:[0-9]{12}:model-package/[a-zA-Z0-9/-]+$",
            constraint_description="must be the ARN of a model package, or empty",
        )

    def _digest_parameter(self) -> CfnParameter:
        return CfnParameter(
            self,
            MODEL_DIGEST,
            default="",
            description="Digest of the package's archive; the container serves no other. Promotion sets it.",
            allowed_pattern="^$|^[0-9a-f]{64}$",
            constraint_description="must be a SHA-256 in hexadecimal, or empty",
        )

    def _serving_condition(self, package: str) -> CfnCondition:
        state = CfnParameter(
            self,
            ENDPOINT_STATE,
            default="off",
            allowed_values=["on", "off"],
            description="Whether the endpoint exists, and so whether it bills",
        )
        return CfnCondition(
            self,
            "Serving",
            expression=Fn.condition_and(
                Fn.condition_not(Fn.condition_equals(package, "")),
                Fn.condition_equals(state.value_as_string, "on"),
            ),
        )
