"""The endpoint. It exists only while the stack is told which model package to serve and that serving is on."""

from __future__ import annotations

from aws_cdk import CfnCondition, CfnDeletionPolicy, CfnOutput, CfnParameter, CfnResource, Fn
from aws_cdk import aws_applicationautoscaling as autoscaling
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks import permissions
from stacks.base import BinventoryStack
from stacks.batch_transform import BatchTransform
from stacks.endpoint_alarms import EndpointAlarms
from stacks.pipeline.surroundings import JobNetwork
from stacks.serving_modes import VARIANT, AsyncEndpoint, Tracking, production_variant
from stacks.settings import Settings
from stacks.storage_stack import CAPTURE_PREFIX, EXECUTIONS_PREFIX, StorageStack
from stacks.vocabulary import CLASSES

TrackedMetric = autoscaling.CfnScalingPolicy.PredefinedMetricSpecificationProperty

MODEL_PACKAGE_ARN = "ModelPackageArn"
ENDPOINT_STATE = "EndpointState"


class ServingStack(BinventoryStack):
    """What serves is changed by one act: lambda_code/reconcile.py updates this stack with a changed parameter."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        storage: StorageStack,
        alerts: sns.ITopic,
        image_repository: ecr.IRepository,
        network: JobNetwork | None = None,
    ) -> None:
        super().__init__(
            scope, construct_id, settings=settings, role="serving", purpose="the endpoint", keys=storage.keys
        )
        self._storage = storage
        self._network = network
        is_async = settings.serving.mode == "async"
        self._async = AsyncEndpoint(self, settings.serving, storage, alerts) if is_async else None
        self._model_package_arn = self._model_package_parameter()
        self._serving = self._serving_condition()
        self.endpoint_name = settings.prefix
        group_name = f"/aws/sagemaker/Endpoints/{self.endpoint_name}"
        log_group = self.log_group(self, "EndpointLogs", group_name)
        model = self._model(self._role(group_name, image_repository))
        # The role may make the group, so that it has to go after whatever acts as the role.
        self._policy.node.add_dependency(log_group)
        configuration = self._configuration(model)
        self.alarms = EndpointAlarms(
            self,
            "Alarms",
            settings=settings.serving,
            endpoint_name=self.endpoint_name,
            variant=VARIANT,
            alerts=alerts,
        )
        endpoint = self._endpoint(configuration)
        resources: list[CfnResource] = [model, configuration, endpoint, *self.alarms.alarms]
        if settings.serving.mode != "serverless" and settings.serving.max_instances > settings.serving.min_instances:
            resources += self._autoscaling(endpoint)
        for resource in resources:
            resource.cfn_options.condition = self._serving
        for replaced in (model, configuration):
            # SageMaker may take a rollout back after CloudFormation has called it a success. What served before must
            # still exist then; lambda_code/promotion/rollouts.py deletes it once nothing uses it.
            replaced.cfn_options.update_replace_policy = CfnDeletionPolicy.RETAIN
            replaced.cfn_options.deletion_policy = CfnDeletionPolicy.DELETE
        BatchTransform(self, "Batch", settings=settings, storage=storage, images=image_repository, network=network)
        # The name is known while nothing is served: whoever calls gets SageMaker's own "not found" then.
        CfnOutput(self, "EndpointName", value=self.endpoint_name)
        CfnOutput(self, "ServingMode", value=settings.serving.mode)
        if self._async:
            CfnOutput(self, "AsyncInputUri", value=self._async.input_uri)

    def _model_package_parameter(self) -> CfnParameter:
        return CfnParameter(
            self,
            MODEL_PACKAGE_ARN,
            default="",
            description="The model package to serve; empty: none. Promotion sets it.",
            allowed_pattern=r"^$|^arn:[a-z-]+:sagemaker:[a-z0-9-]+:[0-9]{12}:model-package/[a-zA-Z0-9/-]+$",
            constraint_description="must be the ARN of a model package, or empty",
        )

    def _serving_condition(self) -> CfnCondition:
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
                Fn.condition_not(Fn.condition_equals(self._model_package_arn.value_as_string, "")),
                Fn.condition_equals(state.value_as_string, "on"),
            ),
        )

    def _role(self, log_group: str, image_repository: ecr.IRepository) -> iam.Role:
        role = iam.Role(
            self,
            "Role",
            assumed_by=permissions.sagemaker_principal(self),
            description=f"{self.settings.prefix}: loads the model and serves it",
        )
        statements = [
            *permissions.read_objects(self._storage.model_bucket.bucket_arn, EXECUTIONS_PREFIX),
            *permissions.pull_images(image_repository.repository_arn),
            *permissions.join_network(self, self._network),
            *permissions.write_logs(self, log_group),
            permissions.put_metrics("/aws/sagemaker/Endpoints", "AWS/SageMaker"),
        ]
        if self.settings.serving.data_capture_percent:
            statements.append(
                permissions.allow(["s3:PutObject"], [self._storage.data_bucket.arn_for_objects(f"{CAPTURE_PREFIX}/*")])
            )
        if self._async:
            statements += self._async.statements()
        self._policy = iam.Policy(self, "Policy", roles=[role], statements=statements)
        return role

    def _model(self, role: iam.Role) -> sagemaker.CfnModel:
        package = self._model_package_arn.value_as_string
        model = sagemaker.CfnModel(
            self,
            "Model",
            execution_role_arn=role.role_arn,
            # The container never needs the network: it gets photos, not addresses. Serverless endpoints know no
            # isolation; their container still fetches nothing, and its role reads the model's artefact only.
            enable_network_isolation=self.settings.serving.mode != "serverless",
            vpc_config=self._vpc_config(),
            containers=[
                sagemaker.CfnModel.ContainerDefinitionProperty(
                    model_package_name=package,
                    # The container names package and endpoint in its answers and metrics, and refuses other classes.
                    environment={
                        "MODEL_PACKAGE_ARN": package,
                        "BINVENTORY_ENDPOINT": self.endpoint_name,
                        # Callers are promised these: a model that counts anything else never gets a request.
                        "BINVENTORY_CLASSES": ",".join(map(str, CLASSES)),
                    },
                )
            ],
        )
        model.node.add_dependency(self._policy)
        return model

    def _configuration(self, model: sagemaker.CfnModel) -> sagemaker.CfnEndpointConfig:
        serving = self.settings.serving
        return sagemaker.CfnEndpointConfig(
            self,
            "EndpointConfig",
            production_variants=[production_variant(serving, name=VARIANT, model_name=model.attr_model_name)],
            async_inference_config=self._async.config if self._async else None,
            data_capture_config=self._data_capture(),
            # A serverless endpoint has no volume to encrypt.
            kms_key_id=self.keys.data.key_arn if self.keys and serving.mode != "serverless" else None,
        )

    def _vpc_config(self) -> sagemaker.CfnModel.VpcConfigProperty | None:
        if self._network is None:
            return None
        return sagemaker.CfnModel.VpcConfigProperty(
            subnets=list(self._network.subnet_ids), security_group_ids=list(self._network.security_group_ids)
        )

    def _data_capture(self) -> sagemaker.CfnEndpointConfig.DataCaptureConfigProperty | None:
        percent = self.settings.serving.data_capture_percent
        if not percent:
            return None
        return sagemaker.CfnEndpointConfig.DataCaptureConfigProperty(
            enable_capture=True,
            initial_sampling_percentage=percent,
            destination_s3_uri=f"s3://{self._storage.data_bucket.bucket_name}/{CAPTURE_PREFIX}",
            capture_options=[
                sagemaker.CfnEndpointConfig.CaptureOptionProperty(capture_mode=mode) for mode in ("Input", "Output")
            ],
            capture_content_type_header=sagemaker.CfnEndpointConfig.CaptureContentTypeHeaderProperty(
                json_content_types=["application/json"]
            ),
        )

    def _endpoint(self, configuration: sagemaker.CfnEndpointConfig) -> sagemaker.CfnEndpoint:
        if self.settings.serving.mode == "serverless":
            # SageMaker itself shifts all requests at once, to a new version that has passed its health check.
            return sagemaker.CfnEndpoint(
                self,
                "Endpoint",
                endpoint_name=self.endpoint_name,
                endpoint_config_name=configuration.attr_endpoint_config_name,
            )
        endpoint = sagemaker.CfnEndpoint(
            self,
            "Endpoint",
            endpoint_name=self.endpoint_name,
            endpoint_config_name=configuration.attr_endpoint_config_name,
            deployment_config=sagemaker.CfnEndpoint.DeploymentConfigProperty(
                blue_green_update_policy=self._blue_green(),
                auto_rollback_configuration=sagemaker.CfnEndpoint.AutoRollbackConfigProperty(
                    alarms=[sagemaker.CfnEndpoint.AlarmProperty(alarm_name=alarm.ref) for alarm in self.alarms.alarms]
                ),
            ),
            # Autoscaling may have added instances; a new model gets as many as the old one has.
            retain_all_variant_properties=True,
            exclude_retained_variant_properties=[
                sagemaker.CfnEndpoint.VariantPropertyProperty(variant_property_type="DataCaptureConfig")
            ],
        )
        endpoint.node.add_dependency(self.alarms)
        return endpoint

    def _blue_green(self) -> sagemaker.CfnEndpoint.BlueGreenUpdatePolicyProperty:
        serving = self.settings.serving
        baking = serving.canary_minutes * 60
        if serving.min_instances <= 1:
            # A canary is at most half of the fleet, and half of one instance is none: the new fleet takes over at
            # once, and the old one waits as long as a canary would bake, ready to take back.
            routing = sagemaker.CfnEndpoint.TrafficRoutingConfigProperty(
                type="ALL_AT_ONCE", wait_interval_in_seconds=baking
            )
        else:
            routing = sagemaker.CfnEndpoint.TrafficRoutingConfigProperty(
                type="CANARY",
                canary_size=sagemaker.CfnEndpoint.CapacitySizeProperty(
                    type="CAPACITY_PERCENT", value=serving.canary_percent
                ),
                wait_interval_in_seconds=baking,
            )
        return sagemaker.CfnEndpoint.BlueGreenUpdatePolicyProperty(
            traffic_routing_configuration=routing,
            termination_wait_in_seconds=120,
            # Provisioning two fleets takes minutes; beyond half an hour more than the waits something is wrong.
            maximum_execution_timeout_in_seconds=2 * baking + 120 + 30 * 60,
        )

    def _autoscaling(self, endpoint: sagemaker.CfnEndpoint) -> list[CfnResource]:
        serving = self.settings.serving
        target = autoscaling.CfnScalableTarget(
            self,
            "ScalableTarget",
            min_capacity=serving.min_instances,
            max_capacity=serving.max_instances,
            service_namespace="sagemaker",
            scalable_dimension="sagemaker:variant:DesiredInstanceCount",
            resource_id=f"endpoint/{self.endpoint_name}/variant/{VARIANT}",
        )
        target.add_resource_dependency(endpoint)
        if self._async:
            return [target, *self._async.scaling(target, self.endpoint_name)]
        policy = autoscaling.CfnScalingPolicy(
            self,
            "ScalingPolicy",
            policy_name=f"{self.endpoint_name}-invocations",
            policy_type="TargetTrackingScaling",
            scaling_target_id=target.ref,
            target_tracking_scaling_policy_configuration=Tracking(
                target_value=serving.invocations_per_instance_minute,
                predefined_metric_specification=TrackedMetric(
                    predefined_metric_type="SageMakerVariantInvocationsPerInstance"
                ),
                scale_in_cooldown=300,
                scale_out_cooldown=60,
            ),
        )
        return [target, policy]
