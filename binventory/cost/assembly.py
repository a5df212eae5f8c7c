"""Reads quantities from what `cdk synth` wrote: the endpoint, what bills by the month, and the pipeline's jobs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from binventory.core.errors import Exit, Problem
from binventory.cost.definition import Definition, Job, defaults_of, jobs_of

Template = dict[str, Any]
# What the endpoint's server publishes through its log; no template names them. A test counts them in the server.
ENDPOINT_METRICS = 11
_ENDPOINT_NAMESPACE = "Binventory/Endpoint"
# A metric in a dashboard's body: ["Namespace","Name",...
_SHOWN = re.compile(r'\["([^"/]+/[^"]+)","([^"]+)"')


@dataclass(frozen=True)
class Endpoint:
    """What serves, while it is on. A serverless one has memory instead of machines."""

    instance_type: str  # "" for serverless
    min_instances: int
    max_instances: int
    on_by_default: bool
    mode: str = "realtime"  # realtime | serverless | async
    memory_gb: float = 0.0
    concurrency: int = 0  # requests at once at most, serverless


@dataclass(frozen=True)
class Batch:
    """The machines of a Batch Transform job."""

    instance_type: str
    instance_count: int


@dataclass(frozen=True)
class Assembly:
    """Everything that bills in one environment."""

    environment: str
    region: str
    jobs: tuple[Job, ...]
    again: tuple[Job, ...]  # what may run once more on demand, after too many reclaims of the first spot job
    parameters: dict[str, Any]  # defaults of the pipeline's parameters
    endpoint: Endpoint | None
    batch: Batch | None
    keys: int
    alarms: int
    endpoint_alarms: int
    dashboards: int
    metrics: int  # of our own, whether or not the endpoint is on
    endpoint_metrics: int
    interface_endpoints: int  # one in each availability zone
    nat_gateways: int
    executions_kept_days: int  # until the shards and features of an execution expire


def read(folder: Path) -> Assembly:
    """Reads a cloud assembly folder such as cdk.out."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise Problem(
            f"{folder} is no cloud assembly",
            "there is no manifest.json in it",
            "synthesize first: npx cdk synth --quiet",
            code=Exit.USAGE,
        )
    stacks = [
        artifact
        for artifact in json.loads(manifest.read_text())["artifacts"].values()
        if artifact["type"] == "aws:cloudformation:stack"
    ]
    templates: list[Template] = [
        json.loads((folder / stack["properties"]["templateFile"]).read_text()) for stack in stacks
    ]
    definition, *others = _definitions(templates)
    alarms = _resources(templates, "AWS::CloudWatch::Alarm")
    return Assembly(
        environment=_environment([str(stack["properties"].get("stackName", "")) for stack in stacks]),
        region=stacks[0]["environment"].rsplit("/", 1)[-1],
        jobs=jobs_of(definition),
        again=max((jobs_of(other) for other in others), key=len, default=()),
        parameters=defaults_of(definition),
        endpoint=endpoint_of(templates),
        batch=_batch(templates),
        keys=len(_resources(templates, "AWS::KMS::Key")),
        alarms=sum("Condition" not in alarm for alarm in alarms),
        endpoint_alarms=sum("Condition" in alarm for alarm in alarms),
        dashboards=len(_resources(templates, "AWS::CloudWatch::Dashboard")),
        metrics=_metrics(templates),
        endpoint_metrics=ENDPOINT_METRICS,
        interface_endpoints=_interface_endpoints(templates),
        nat_gateways=len(_resources(templates, "AWS::EC2::NatGateway")),
        executions_kept_days=_kept_days(templates),
    )


def _resources(templates: list[Template], kind: str) -> list[dict[str, Any]]:
    return [
        resource
        for template in templates
        for resource in template.get("Resources", {}).values()
        if resource["Type"] == kind
    ]


def _environment(stack_names: list[str]) -> str:
    """`dev` of `binventory-dev-storage`."""
    parts = stack_names[0].split("-") if stack_names else []
    return parts[1] if len(parts) > 2 else ""


def _definitions(templates: list[Template]) -> list[Definition]:
    """The pipelines' definitions, that of a whole execution first; the others go on with a part of it on demand."""
    pipelines = _resources(templates, "AWS::SageMaker::Pipeline")
    bodies = [pipeline["Properties"]["PipelineDefinition"]["PipelineDefinitionBody"] for pipeline in pipelines]
    found = [dict(json.loads(_flat(body))) for body in bodies]
    return sorted(found, key=lambda definition: -len(definition["Steps"])) or [{"Parameters": [], "Steps": []}]


def _flat(value: Any) -> str:
    """A string in which CDK's tokens, whose values nobody knows before the deploy, are replaced by their text."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and "Fn::Join" in value:
        glue, parts = value["Fn::Join"]
        return str(glue).join(_flat(part) for part in parts)
    return json.dumps(value).replace('"', "'")


def endpoint_of(templates: list[Template]) -> Endpoint | None:
    """What serves, as the serving stack's template has it; None where no stack has an endpoint."""
    configs = _resources(templates, "AWS::SageMaker::EndpointConfig")
    if not configs:
        return None
    properties = configs[0]["Properties"]
    variant = properties["ProductionVariants"][0]
    states = [
        template["Parameters"]["EndpointState"].get("Default", "off")
        for template in templates
        if "EndpointState" in template.get("Parameters", {})
    ]
    is_on = "on" in states or not states
    if "ServerlessConfig" in variant:
        serverless = variant["ServerlessConfig"]
        memory = int(serverless["MemorySizeInMB"]) / 1024
        return Endpoint("", 0, 0, is_on, "serverless", memory, int(serverless["MaxConcurrency"]))
    targets = _resources(templates, "AWS::ApplicationAutoScaling::ScalableTarget")
    fewest = int(targets[0]["Properties"].get("MinCapacity", variant["InitialInstanceCount"])) if targets else None
    return Endpoint(
        instance_type=variant["InstanceType"],
        min_instances=int(variant["InitialInstanceCount"]) if fewest is None else fewest,
        max_instances=int(targets[0]["Properties"]["MaxCapacity"]) if targets else int(variant["InitialInstanceCount"]),
        on_by_default=is_on,
        mode="async" if "AsyncInferenceConfig" in properties else "realtime",
    )


def _batch(templates: list[Template]) -> Batch | None:
    outputs = {name: output["Value"] for template in templates for name, output in template.get("Outputs", {}).items()}
    if "BatchInstanceType" not in outputs:
        return None
    return Batch(str(outputs["BatchInstanceType"]), int(outputs.get("BatchInstanceCount", 1)))


def _metrics(templates: list[Template]) -> int:
    """How many metrics of our own alarms and dashboards name, without those of the endpoint's server."""
    named = {
        (alarm["Properties"].get("Namespace", ""), alarm["Properties"].get("MetricName", ""))
        for alarm in _resources(templates, "AWS::CloudWatch::Alarm")
    }
    for dashboard in _resources(templates, "AWS::CloudWatch::Dashboard"):
        named.update(_SHOWN.findall(_flat(dashboard["Properties"]["DashboardBody"])))
    return sum(bool(space) and not space.startswith(("AWS/", "/aws/", _ENDPOINT_NAMESPACE)) for space, _ in named)


def _interface_endpoints(templates: list[Template]) -> int:
    """Interface endpoints bill by the hour and availability zone; gateway endpoints are free."""
    return sum(
        max(1, len(endpoint["Properties"].get("SubnetIds", [])))
        for endpoint in _resources(templates, "AWS::EC2::VPCEndpoint")
        if endpoint["Properties"].get("VpcEndpointType") == "Interface"
    )


def _kept_days(templates: list[Template]) -> int:
    """Age at which a lifecycle rule deletes what lies under executions/; a year where none does."""
    rules = [
        rule
        for bucket in _resources(templates, "AWS::S3::Bucket")
        for rule in bucket.get("Properties", {}).get("LifecycleConfiguration", {}).get("Rules", [])
    ]
    days = [int(rule["ExpirationInDays"]) for rule in rules if rule.get("Prefix") == "executions/"]
    return min(days, default=365)
