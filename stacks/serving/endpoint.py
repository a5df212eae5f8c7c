"""The endpoint and its configuration: machines, data capture, and how a new model takes over."""

from __future__ import annotations

from aws_cdk import aws_sagemaker as sagemaker

from stacks.serving.alarms import EndpointAlarms
from stacks.serving.asynchronous import AsyncEndpoint
from stacks.serving.generated_names import logical_id
from stacks.settings.serving import ServingSettings
from stacks.shared.stack import BinventoryStack
from stacks.storage.buckets import CAPTURE_PREFIX
from stacks.storage.stack import StorageStack

Variant = sagemaker.CfnEndpointConfig.ProductionVariantProperty
VARIANT = "primary"
"""Name of the endpoint's only variant. It must not change: SageMaker keeps scaling and weights by this name."""


def endpoint_configuration(
    stack: BinventoryStack, *, model: sagemaker.CfnModel, storage: StorageStack, queue: AsyncEndpoint | None
) -> sagemaker.CfnEndpointConfig:
    """The endpoint configuration: model, machines, queue, data capture, key of the volume and of what is captured."""
    serving = stack.settings.serving
    key = stack.keys.data.key_arn if stack.keys else None
    return sagemaker.CfnEndpointConfig(
        stack,
        logical_id(stack.settings.prefix, "endpoint-config"),
        production_variants=[_production_variant(serving, model.attr_model_name)],
        async_inference_config=queue.config if queue else None,
        data_capture_config=_data_capture(serving, storage, key),
        # A serverless endpoint has no volume to encrypt.
        kms_key_id=key if serving.mode != "serverless" else None,
    )


def _production_variant(settings: ServingSettings, model_name: str) -> Variant:
    """The endpoint's only variant."""
    if settings.mode == "serverless":
        return Variant(
            variant_name=VARIANT,
            model_name=model_name,
            initial_variant_weight=1,
            serverless_config=sagemaker.CfnEndpointConfig.ServerlessConfigProperty(
                memory_size_in_mb=settings.serverless.memory_mb, max_concurrency=settings.serverless.max_concurrency
            ),
        )
    return Variant(
        variant_name=VARIANT,
        model_name=model_name,
        instance_type=settings.instance_type,
        # An endpoint must start with a machine; autoscaling removes it.
        initial_instance_count=max(1, settings.min_instances),
        initial_variant_weight=1,
        container_startup_health_check_timeout_in_seconds=120,
    )


def _data_capture(
    serving: ServingSettings, storage: StorageStack, key: str | None
) -> sagemaker.CfnEndpointConfig.DataCaptureConfigProperty | None:
    percent = serving.data_capture_percent
    if not percent:
        return None
    return sagemaker.CfnEndpointConfig.DataCaptureConfigProperty(
        enable_capture=True,
        initial_sampling_percentage=percent,
        destination_s3_uri=f"s3://{storage.data_bucket.bucket_name}/{CAPTURE_PREFIX}",
        kms_key_id=key,
        capture_options=[
            sagemaker.CfnEndpointConfig.CaptureOptionProperty(capture_mode=mode) for mode in ("Input", "Output")
        ],
        capture_content_type_header=sagemaker.CfnEndpointConfig.CaptureContentTypeHeaderProperty(
            json_content_types=["application/json"]
        ),
    )


def served_endpoint(
    stack: BinventoryStack, *, name: str, configuration: sagemaker.CfnEndpointConfig, alarms: EndpointAlarms
) -> sagemaker.CfnEndpoint:
    """The endpoint, and how a new model takes over: with a canary, and rolled back by the alarms."""
    if stack.settings.serving.mode == "serverless":
        # SageMaker shifts all requests at once, after the health check of the new version.
        return sagemaker.CfnEndpoint(
            stack,
            "Endpoint",
            endpoint_name=name,
            endpoint_config_name=configuration.attr_endpoint_config_name,
        )
    endpoint = sagemaker.CfnEndpoint(
        stack,
        "Endpoint",
        endpoint_name=name,
        endpoint_config_name=configuration.attr_endpoint_config_name,
        deployment_config=sagemaker.CfnEndpoint.DeploymentConfigProperty(
            blue_green_update_policy=_blue_green(stack.settings.serving),
            auto_rollback_configuration=sagemaker.CfnEndpoint.AutoRollbackConfigProperty(
                alarms=[sagemaker.CfnEndpoint.AlarmProperty(alarm_name=alarm.ref) for alarm in alarms.alarms]
            ),
        ),
        # Autoscaling may have added instances: the new model gets as many as the old one has. It may also have removed
        # all of them: then the new model would be rolled out without a machine that has loaded it. It gets one.
        # Without autoscaling nothing else would ever bring the endpoint to the number that the settings have now.
        retain_all_variant_properties=stack.settings.serving.scales and stack.settings.serving.min_instances > 0,
    )
    endpoint.node.add_dependency(alarms)
    return endpoint


def _blue_green(serving: ServingSettings) -> sagemaker.CfnEndpoint.BlueGreenUpdatePolicyProperty:
    baking = serving.canary_minutes * 60
    if serving.min_instances <= 1:
        # A canary is at most half of the fleet, so one instance allows none. The new fleet takes over at once, and the
        # old one stays as long as a canary would take, for a rollback.
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
        # Creating two fleets takes minutes. Half an hour more than the waits means a failure.
        maximum_execution_timeout_in_seconds=2 * baking + 120 + 30 * 60,
    )
