"""Endpoints: create, describe, list, update with a rollout, scale, delete. live_endpoints.py runs them."""

from __future__ import annotations

import copy
from typing import Any

from botocore.exceptions import ClientError

from local_aws.core.context import Context
from local_aws.core.errors import validation
from local_aws.core.listing import list_page
from local_aws.core.protocol import Document
from local_aws.core.tags import store_new
from local_aws.core.wire import describe, summarise
from local_aws.hosting import autoscaling
from local_aws.hosting.async_queue import AsyncQueue
from local_aws.hosting.live_endpoints import FAMILY, EndpointRecord, Endpoints
from local_aws.hosting.models import config_of, plan_of
from local_aws.hosting.rollout import RolloutPlan

_STEP_PERCENT = {"CanarySize": (0, 50), "LinearStepSize": (10, 50), "MaximumBatchSize": (5, 50)}
_IN_PROGRESS = {"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"}


def create_endpoint(context: Context, request: Document) -> Document:
    """Start an endpoint; it is InService when every instance has passed its health check."""
    name = request["EndpointName"]
    plan = plan_of(context, request["EndpointConfigName"])
    arn = context.arn("endpoint", name)
    now = context.now()
    endpoint = {
        "EndpointName": name,
        "EndpointArn": arn,
        "EndpointConfigName": request["EndpointConfigName"],
        "EndpointStatus": "Creating",
        "CreationTime": now,
        "LastModifiedTime": now,
        "Plan": plan,
    }
    _keep_deployment_config(context, endpoint, request.get("DeploymentConfig"))
    if not store_new(context, FAMILY, name, endpoint, arn, request.get("Tags")):
        raise validation(f"Cannot create already existing endpoint {arn}.")
    EndpointRecord(context, name).announce(endpoint, None)
    context.shared(Endpoints).create(name)
    if plan.get("Async"):
        context.shared(AsyncQueue)
    return {"EndpointArn": arn}


def describe_endpoint(context: Context, request: Document) -> Document:
    """An endpoint, the current state of its variants, and its pending deployment, if any."""
    endpoint = EndpointRecord(context, request["EndpointName"]).read()
    running = context.shared(Endpoints).variants(endpoint["EndpointName"])
    reply = describe("DescribeEndpoint", endpoint)
    variants = [_variant(variant, running) for variant in endpoint["Plan"]["Variants"]]
    if endpoint["EndpointStatus"] not in {"Creating", "Failed"}:
        reply["ProductionVariants"] = variants
    if capture := endpoint["Plan"].get("Capture"):
        reply["DataCaptureConfig"] = {
            "EnableCapture": True,
            "CaptureStatus": "Started",
            "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
            "DestinationS3Uri": capture["DestinationS3Uri"],
            "KmsKeyId": capture.get("KmsKeyId", ""),
        }
    if endpoint["Plan"].get("Async"):
        reply["AsyncInferenceConfig"] = endpoint["Plan"]["Async"]
    pending = endpoint.get("Pending")
    if pending:
        starting = context.shared(Endpoints).pending(endpoint["EndpointName"])
        reply["PendingDeploymentSummary"] = {
            "EndpointConfigName": pending["EndpointConfigName"],
            "StartTime": endpoint["LastModifiedTime"],
            "ProductionVariants": [_variant(variant, starting) for variant in pending["Variants"]],
        }
    return reply


def list_endpoints(context: Context, request: Document) -> Document:
    """All endpoints."""
    page = list_page(context.table(FAMILY).all(), request, name="EndpointName", status="EndpointStatus")
    return page.reply("Endpoints", summarise("ListEndpoints", "Endpoints", page.documents))


def update_endpoint(context: Context, request: Document) -> Document:
    """Roll out another configuration; if that fails, the endpoint stays InService with its present one."""
    name = request["EndpointName"]
    record = EndpointRecord(context, name)
    endpoint = record.read()
    target = plan_of(context, request["EndpointConfigName"])
    _refuse_conversion(name, endpoint["Plan"], target)
    _refuse_scaled_variants(context, endpoint, request["EndpointConfigName"])
    _refuse_retained_capture(request)
    if request.get("RetainAllVariantProperties"):
        _retain(endpoint["Plan"], target, request)  # steps are parts of the instances that there will be
    deployment = _deployment_config(context, request, endpoint, target)

    def change(endpoint: Document) -> None:
        _refuse_change(endpoint)
        if request.get("RetainAllVariantProperties"):
            _retain(endpoint["Plan"], target, request)  # autoscaling may have changed them since
        _keep_deployment_config(context, endpoint, deployment)
        endpoint["EndpointStatus"] = "Updating"
        endpoint["Pending"] = target
        endpoint.pop("FailureReason", None)

    record.change(change)
    context.shared(Endpoints).update(name, target, deployment)
    return {"EndpointArn": endpoint["EndpointArn"]}


def update_endpoint_weights_and_capacities(context: Context, request: Document) -> Document:
    """Change instance counts and weights of running variants; every request is still answered."""
    name = request["EndpointName"]
    desired = {item["VariantName"]: item for item in request["DesiredWeightsAndCapacities"]}
    before: Document = {}

    def change(endpoint: Document) -> None:
        _refuse_change(endpoint)
        before.update(copy.deepcopy(endpoint["Plan"]))
        variants = {variant["VariantName"]: variant for variant in endpoint["Plan"]["Variants"]}
        unknown = sorted(set(desired) - set(variants))
        if unknown:
            raise validation(f"Endpoint {name} has no variant {', '.join(unknown)}; it has {', '.join(variants)}")
        for variant_name, item in desired.items():
            if "DesiredInstanceCount" in item and variants[variant_name].get("ServerlessConfig"):
                raise validation(f"Variant {variant_name} is serverless: it takes no DesiredInstanceCount")
            variants[variant_name]["Count"] = item.get("DesiredInstanceCount", variants[variant_name]["Count"])
            variants[variant_name]["Weight"] = item.get("DesiredWeight", variants[variant_name]["Weight"])
        endpoint["EndpointStatus"] = "Updating"

    EndpointRecord(context, name).change(change)
    context.shared(Endpoints).rescale(name, before)
    return {"EndpointArn": context.arn("endpoint", name)}


def delete_endpoint(context: Context, request: Document) -> Document:
    """Stop an endpoint, then remove it; its variants are no scalable targets any more."""
    name = request["EndpointName"]

    def change(endpoint: Document) -> None:
        _refuse_in_progress(endpoint)
        endpoint["EndpointStatus"] = "Deleting"

    EndpointRecord(context, name).change(change)
    autoscaling.deregister_variants(context, name)
    context.shared(Endpoints).delete(name)
    return {}


def _refuse_in_progress(endpoint: Document) -> None:
    """AWS's words, also where DeleteEndpoint is refused, with the status."""
    status = endpoint["EndpointStatus"]
    if status in _IN_PROGRESS:
        raise validation(f'Cannot update in-progress endpoint "{endpoint["EndpointArn"]}". Its status is {status}')


def _refuse_change(endpoint: Document) -> None:
    _refuse_in_progress(endpoint)
    if endpoint["EndpointStatus"] == "Failed":
        raise validation(
            f'Endpoint "{endpoint["EndpointArn"]}" is Failed: DeleteEndpoint is the only operation on a failed endpoint'
        )


def _refuse_scaled_variants(context: Context, endpoint: Document, target: str) -> None:
    """A variant that autoscaling scales keeps its name and instance type. Reads the configuration in use, as AWS does:
    without it no update is possible."""
    name = endpoint["EndpointName"]
    before = config_of(context, endpoint["EndpointConfigName"])["ProductionVariants"]
    types = {item["VariantName"]: item.get("InstanceType") for item in config_of(context, target)["ProductionVariants"]}
    changed = [
        item["VariantName"]
        for item in before
        if types.get(item["VariantName"]) != item.get("InstanceType")
        and autoscaling.target_of(context, name, item["VariantName"]) is not None
    ]
    if changed:
        raise validation(
            f"The variant(s) {changed} must be deregistered as scalable targets with AWS Application Auto Scaling "
            "before they can be removed or have their instance type updated."
        )


def _refuse_conversion(name: str, current: Document, target: Document) -> None:
    if current.get("Async") and not target.get("Async"):
        raise validation(f"The AsyncInferenceConfig parameter cannot be removed from this endpoint {name}.")
    if any(variant.get("ServerlessConfig") for variant in target["Variants"]) and not all(
        variant.get("ServerlessConfig") for variant in current["Variants"]
    ):
        raise validation("An endpoint with instances cannot be converted to a serverless one: make another endpoint")


def _refuse_retained_capture(request: Document) -> None:
    for item in request.get("ExcludeRetainedVariantProperties", []):
        if item["VariantPropertyType"] == "DataCaptureConfig":
            raise validation("ExcludeRetainedVariantProperties: DataCaptureConfig is not currently supported")


def _retain(current: Document, target: Document, request: Document) -> None:
    """Keep the counts and weights that UpdateEndpointWeightsAndCapacities or autoscaling has set."""
    excluded = {item["VariantPropertyType"] for item in request.get("ExcludeRetainedVariantProperties", [])}
    kept = {variant["VariantName"]: variant for variant in current["Variants"]}
    for variant in target["Variants"]:
        old = kept.get(variant["VariantName"])
        if old is None:
            continue
        if "DesiredInstanceCount" not in excluded:
            variant["Count"] = old["Count"]
        if "DesiredWeight" not in excluded:
            variant["Weight"] = old["Weight"]


def _deployment_config(context: Context, request: Document, endpoint: Document, target: Document) -> Document | None:
    """The DeploymentConfig of an update to the plan `target`, checked; None without one."""
    config: Document | None = request.get("DeploymentConfig")
    if config is None and request.get("RetainDeploymentConfig"):
        config = endpoint.get("LastDeploymentConfig")
    if config is None:
        return None
    if config.get("BlueGreenUpdatePolicy") and config.get("RollingUpdatePolicy"):
        raise validation("Give at most one of BlueGreenUpdatePolicy and RollingUpdatePolicy")
    routing = config.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration", {})
    needed = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}.get(routing.get("Type", ""))
    if needed and needed not in routing:
        raise validation(f"TrafficRoutingConfiguration of type {routing['Type']} needs {needed}")
    old = {variant["VariantName"] for variant in endpoint["Plan"]["Variants"]}
    new = {variant["VariantName"] for variant in target["Variants"]}
    rolling = config.get("RollingUpdatePolicy", {})
    if (needed or rolling) and old != new:
        kind = routing["Type"] if needed else "rolling"
        raise validation(f"A {kind} update cannot rename variants: from {sorted(old)} to {sorted(new)}")
    if rolling and len(target["Variants"]) > 1:
        raise validation(f"RollingUpdatePolicy needs an endpoint of one variant, not of {', '.join(sorted(new))}")
    if rolling and any(variant.get("ServerlessConfig") for variant in target["Variants"]):
        raise validation("RollingUpdatePolicy needs variants with instances, and a serverless variant has none")
    instances = max(variant["Count"] for variant in target["Variants"])
    _refuse_large_steps(routing, rolling, instances)
    _refuse_short_timeout(config, instances)
    _refuse_missing_alarms(context, config)
    return config


def _refuse_large_steps(routing: Document, rolling: Document, instances: int) -> None:
    """Hold a step to the part of the instances that AWS documents for it."""
    for policy, member in ((routing, "CanarySize"), (routing, "LinearStepSize"), (rolling, "MaximumBatchSize")):
        if (size := policy.get(member)) is None:
            continue
        least, most = _STEP_PERCENT[member]
        percent = size["Value"] if size["Type"] == "CAPACITY_PERCENT" else 100 * size["Value"] / max(1, instances)
        if not least <= percent <= most:
            raise validation(
                f"{member} {size['Value']} ({size['Type']}) must be {least}% to {most}% of the variant's instances, "
                f"of which there are {instances}"
            )


def _refuse_short_timeout(config: Document, instances: int) -> None:
    """Where the waits alone take longer, SageMaker would undo every update; here they may be shorter."""
    seconds = config.get("BlueGreenUpdatePolicy", {}).get("MaximumExecutionTimeoutInSeconds")
    plan = RolloutPlan.read(config, instances)
    waits = plan.termination_seconds + sum(stage.bake_seconds for stage in plan.stages)
    if seconds is not None and seconds <= waits:
        raise validation(
            f"MaximumExecutionTimeoutInSeconds {seconds} must be larger than the waits of the update, {waits:.0f} s"
        )


def _refuse_missing_alarms(context: Context, config: Document) -> None:
    names = [alarm["AlarmName"] for alarm in config.get("AutoRollbackConfiguration", {}).get("Alarms", [])]
    if not names:
        return
    try:
        found: Any = context.client("cloudwatch").describe_alarms(
            AlarmNames=names, AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
    except ClientError as error:
        raise validation(f"The alarms of AutoRollbackConfiguration cannot be read: {error}") from None
    known = {alarm["AlarmName"] for kind in ("MetricAlarms", "CompositeAlarms") for alarm in found.get(kind, [])}
    missing = sorted(set(names) - known)
    if missing:
        raise validation(f"Alarms of AutoRollbackConfiguration do not exist: {', '.join(missing)}")


def _keep_deployment_config(context: Context, endpoint: Document, config: Document | None) -> None:
    if config is None:
        endpoint.pop("LastDeploymentConfig", None)
    else:
        endpoint["LastDeploymentConfig"] = config


def _variant(variant: Document, running: dict[str, Document]) -> Document:
    name = variant["VariantName"]
    image = variant["Container"]["Image"]
    current = running.get(name, {"CurrentWeight": 0.0, "CurrentInstanceCount": 0})
    shown: Document = {
        "VariantName": name,
        "DeployedImages": [{"SpecifiedImage": image, "ResolvedImage": variant["ResolvedImage"]}],
        "CurrentWeight": current["CurrentWeight"],
        "DesiredWeight": variant["Weight"],
        **({"VariantStatus": current["VariantStatus"]} if "VariantStatus" in current else {}),
    }
    serverless = variant.get("ServerlessConfig")
    if serverless:
        return shown | {"CurrentServerlessConfig": serverless, "DesiredServerlessConfig": serverless}
    return shown | {
        "CurrentInstanceCount": current["CurrentInstanceCount"],
        "DesiredInstanceCount": variant["Count"],
    }
