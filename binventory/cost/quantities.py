"""Quantities that bill, from the templates: the endpoint, resources that bill by the month, and the pipeline's jobs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from binventory.assembly.definitions import defaults_of, definitions
from binventory.assembly.templates import Json, flatten, read_stacks, resources
from binventory.cost.jobs import Job, input_size_of, jobs_of
from stacks.names import ENDPOINT_STATE

# What the endpoint's server publishes through its log; no template names them. A test counts them in the server.
ENDPOINT_METRICS = 11
_ENDPOINT_NAMESPACE = "Binventory/Endpoint"
# A metric in a dashboard's body: ["Namespace","Name",...
_SHOWN = re.compile(r'\["([^"/]+/[^"]+)","([^"]+)"')


@dataclass(frozen=True)
class BilledEndpoint:
    """The endpoint while it is on. A serverless one has memory instead of machines."""

    instance_type: str  # "" for serverless
    min_instances: int
    max_instances: int
    on_by_default: bool
    mode: str = "realtime"  # realtime | serverless | async
    memory_gb: float = 0.0
    concurrency: int = 0  # requests at once at most, serverless


@dataclass(frozen=True)
class BatchMachines:
    """The machines of a Batch Transform job."""

    instance_type: str
    instance_count: int


@dataclass(frozen=True)
class Quantities:
    """Everything that bills in one environment."""

    environment: str
    region: str
    jobs: tuple[Job, ...]
    again: tuple[Job, ...]  # what may run once more on demand, after too many reclaims of the first spot job
    parameters: dict[str, Any]  # defaults of the pipeline's parameters
    input_size: int  # side in pixels of the photos that the network sees
    endpoint: BilledEndpoint | None
    batch: BatchMachines | None
    keys: int
    alarms: int
    endpoint_alarms: int
    dashboards: int
    metrics: int  # custom metrics that exist whether or not the endpoint is on
    endpoint_metrics: int
    interface_endpoints: int  # one in each availability zone
    nat_gateways: int
    executions_kept_days: int  # until the shards and features of an execution expire


def read(folder: Path) -> Quantities:
    """Reads a cloud assembly folder such as cdk.out. Raises Problem where it is none, or has no pipeline."""
    stacks = read_stacks(folder)
    templates = [stack.template for stack in stacks]
    definition, *others = definitions(templates)
    alarms = _resources(templates, "AWS::CloudWatch::Alarm")
    return Quantities(
        environment=stacks[0].environment,
        region=stacks[0].region,
        jobs=jobs_of(definition),
        again=max((jobs_of(other) for other in others), key=len, default=()),
        parameters=defaults_of(definition),
        input_size=input_size_of(definition),
        endpoint=endpoint_of(templates),
        batch=_batch(templates),
        keys=len(_resources(templates, "AWS::KMS::Key")),
        alarms=sum("Condition" not in alarm for alarm in alarms),
        endpoint_alarms=sum("Condition" in alarm for alarm in alarms) + _tracking_alarms(templates),
        dashboards=len(_resources(templates, "AWS::CloudWatch::Dashboard")),
        metrics=_metrics(templates),
        endpoint_metrics=ENDPOINT_METRICS,
        interface_endpoints=_interface_endpoints(templates),
        nat_gateways=len(_resources(templates, "AWS::EC2::NatGateway")),
        executions_kept_days=_kept_days(templates),
    )


def _resources(templates: list[Json], kind: str) -> list[Json]:
    return [resource for template in templates for resource in resources(template, kind).values()]


def endpoint_of(templates: list[Json]) -> BilledEndpoint | None:
    """The endpoint in the serving stack's template; None where no stack has one."""
    configs = _resources(templates, "AWS::SageMaker::EndpointConfig")
    if not configs:
        return None
    properties = configs[0]["Properties"]
    variant = properties["ProductionVariants"][0]
    states = [
        template["Parameters"][ENDPOINT_STATE].get("Default", "off")
        for template in templates
        if ENDPOINT_STATE in template.get("Parameters", {})
    ]
    is_on = "on" in states or not states
    if "ServerlessConfig" in variant:
        serverless = variant["ServerlessConfig"]
        memory = int(serverless["MemorySizeInMB"]) / 1024
        return BilledEndpoint("", 0, 0, is_on, "serverless", memory, int(serverless["MaxConcurrency"]))
    targets = _resources(templates, "AWS::ApplicationAutoScaling::ScalableTarget")
    fewest = int(targets[0]["Properties"].get("MinCapacity", variant["InitialInstanceCount"])) if targets else None
    return BilledEndpoint(
        instance_type=variant["InstanceType"],
        min_instances=int(variant["InitialInstanceCount"]) if fewest is None else fewest,
        max_instances=int(targets[0]["Properties"]["MaxCapacity"]) if targets else int(variant["InitialInstanceCount"]),
        on_by_default=is_on,
        mode="async" if "AsyncInferenceConfig" in properties else "realtime",
    )


def _batch(templates: list[Json]) -> BatchMachines | None:
    outputs = {name: output["Value"] for template in templates for name, output in template.get("Outputs", {}).items()}
    if "BatchInstanceType" not in outputs:
        return None
    return BatchMachines(str(outputs["BatchInstanceType"]), int(outputs.get("BatchInstanceCount", 1)))


def _tracking_alarms(templates: list[Json]) -> int:
    """Alarms that Application Auto Scaling makes by itself: two for each policy that tracks a target."""
    policies = _resources(templates, "AWS::ApplicationAutoScaling::ScalingPolicy")
    return sum(2 * (policy["Properties"]["PolicyType"] == "TargetTrackingScaling") for policy in policies)


def _metrics(templates: list[Json]) -> int:
    """How many custom metrics the alarms and dashboards name, without those of the endpoint's server."""
    named = {
        (alarm["Properties"].get("Namespace", ""), alarm["Properties"].get("MetricName", ""))
        for alarm in _resources(templates, "AWS::CloudWatch::Alarm")
    }
    for dashboard in _resources(templates, "AWS::CloudWatch::Dashboard"):
        named.update(_SHOWN.findall(flatten(dashboard["Properties"]["DashboardBody"])))
    return sum(bool(space) and not space.startswith(("AWS/", "/aws/", _ENDPOINT_NAMESPACE)) for space, _ in named)


def _interface_endpoints(templates: list[Json]) -> int:
    """Interface endpoints bill by the hour and availability zone; gateway endpoints are free."""
    return sum(
        max(1, len(endpoint["Properties"].get("SubnetIds", [])))
        for endpoint in _resources(templates, "AWS::EC2::VPCEndpoint")
        if endpoint["Properties"].get("VpcEndpointType") == "Interface"
    )


def _kept_days(templates: list[Json]) -> int:
    """Days until a lifecycle rule deletes objects under executions/; a year where there is no such rule."""
    rules = [
        rule
        for bucket in _resources(templates, "AWS::S3::Bucket")
        for rule in bucket.get("Properties", {}).get("LifecycleConfiguration", {}).get("Rules", [])
    ]
    days = [int(rule["ExpirationInDays"]) for rule in rules if rule.get("Prefix") == "executions/"]
    return min(days, default=365)
