"""Finds what is left of an environment: resources with its name or tag that none of its stacks holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from botocore.exceptions import ClientError

from binventory.account import machines, sagemaker, services
from binventory.account.resources import AccountReader, AccountResource, ResourceKind, entries
from binventory.account.sagemaker import config_of
from binventory.core.aws import DENIED, Aws, error_code, error_message
from binventory.core.names import DEPLOYMENT_TAG, Names
from binventory.cost import prices
from stacks.names import pipeline_names

KINDS: tuple[ResourceKind, ...] = (*services.KINDS, *sagemaker.KINDS, *machines.KINDS)
ENDS_BY = "ends-by"  # tag of a machine that ends itself: when it must have
_LISTED_ELSEWHERE = re.compile(
    r":sagemaker:[^:]*:\d*:([a-z-]+-job|pipeline|model-package|experiment[a-z-]*)/"
    r"|:ec2:[^:]*:\d*:(instance|volume|snapshot|network-interface|spot-instances-request)/"
)
"""ARNs of resources that the listings cover, and of records that AWS keeps for free, such as ended jobs."""
EVERY_TAGGED = "every resource with the tag"
_LONGEST_COUNT = timedelta(days=1)
_AT_REST = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")


@dataclass(frozen=True)
class Unseen:
    """A kind of resources that these credentials may not list, and what AWS says."""

    kind: str
    why: str


@dataclass(frozen=True)
class Strays:
    """What was found, and the kinds that were searched: without them an empty list would mean little."""

    environment: str
    found: tuple[AccountResource, ...]
    kinds: tuple[str, ...]
    unseen: tuple[Unseen, ...] = ()
    """Of a kind in this list, some or all may be left."""

    @property
    def dollars_a_month(self) -> float:
        """Dollars a month of those with a known price."""
        return sum(resource.dollars_a_month or 0.0 for resource in self.found)

    @property
    def unpriced(self) -> int:
        """How many have no known price."""
        return sum(resource.dollars_a_month is None for resource in self.found)


def find(aws: Aws, names: Names) -> Strays:
    """Searches the account and region. It only reads.

    What the stacks hold must be known: without it everything would be taken for left.
    """
    reader = AccountReader(aws, prices.known(aws.region))
    stacks, live = _stacks(aws, names), _live_executions(aws, names)
    held = stacks.held | _served(aws, stacks.held) | _counting(aws, names)
    unseen: list[Unseen] = []
    tagged: dict[str, AccountResource] = {}
    with _allowed(EVERY_TAGGED, unseen):
        tagged = _tagged(aws, names)
    found: list[AccountResource] = []
    for kind in KINDS:
        for resource in _seen(kind, reader, unseen):
            ours = (
                _named(resource.name, names)
                or resource.tags.get(DEPLOYMENT_TAG) == names.prefix
                or resource.arn in tagged
            )
            for arn in [arn for arn in tagged if resource.arn == arn or resource.name in _forms(arn)]:
                del tagged[arn]
            # CloudFormation's events may name what an update has just made later than SageMaker lists it.
            rolling = stacks.busy and resource.kind in {"model", "endpoint config"}
            if ours and not rolling and not _in_use(resource, held, live):
                found.append(resource)
    found += [
        resource
        for resource in tagged.values()
        if not held & _forms(resource.arn) and not services.goes_by_itself(reader, resource.arn)
    ]
    lacking = {each.kind for each in unseen}
    labels = [kind.label for kind in KINDS] + [EVERY_TAGGED]
    return Strays(names.prefix, tuple(found), tuple(each for each in labels if each not in lacking), tuple(unseen))


@contextmanager
def _allowed(kind: str, unseen: list[Unseen]) -> Iterator[None]:
    """Notes in `unseen` that the listing of a kind was denied, and goes no further with it."""
    try:
        yield
    except ClientError as error:
        if error_code(error) not in DENIED:
            raise
        unseen.append(Unseen(kind, f"{error_code(error)}: {error_message(error)}"))


def _seen(kind: ResourceKind, reader: AccountReader, unseen: list[Unseen]) -> Iterator[AccountResource]:
    """The resources of a kind, as far as they may be listed."""
    with _allowed(kind.label, unseen):
        yield from kind.find(reader)


def _named(name: str, names: Names) -> bool:
    """Whether a name is the prefix, or begins with it, also as a part of a path."""
    return re.search(rf"(^|/){re.escape(names.prefix)}($|[-_/.])", name) is not None


def _in_use(resource: AccountResource, held: set[str], live: set[str]) -> bool:
    """Whether a stack holds it or uses it."""
    if resource.kind == "stack":
        return resource.tags["status"] in _AT_REST or resource.tags["status"].endswith("_IN_PROGRESS")
    if resource.kind == "running job":
        return resource.name in held or any(execution in resource.name for execution in live)
    if ends_by := resource.tags.get(ENDS_BY):
        return datetime.now(UTC) < datetime.fromisoformat(ends_by)
    return bool(held & ({resource.name} | _forms(resource.arn)))


@dataclass(frozen=True)
class _Stacks:
    """The environment's stacks: names and ARNs of everything in them, and whether an update is not over.

    During an update CloudFormation does not list what it replaces, which a rollback needs. Its events do.
    """

    held: set[str]
    busy: bool


def _stacks(aws: Aws, names: Names) -> _Stacks:
    held: set[str] = set()
    busy = False
    for stack in entries(aws, "cloudformation", "describe_stacks", "Stacks"):
        if stack["StackName"].startswith(f"{names.prefix}-"):
            name, status = stack["StackName"], stack["StackStatus"]
            if status.endswith(("_IN_PROGRESS", "ROLLBACK_FAILED")):
                busy = True
                held |= _of_update(aws, name)
            resources = entries(aws, "cloudformation", "list_stack_resources", "StackResourceSummaries", StackName=name)
            for resource in resources:
                held |= _forms(resource.get("PhysicalResourceId", ""))
    return _Stacks(held, busy)


def _of_update(aws: Aws, stack: str) -> set[str]:
    """Names and ARNs of everything that the stack's latest update made, changed or replaced."""
    found: set[str] = set()
    for event in entries(aws, "cloudformation", "describe_stack_events", "StackEvents", StackName=stack):
        identifier = event.get("PhysicalResourceId", "")
        if identifier == event["StackId"]:
            if event["ResourceStatus"] in {"UPDATE_IN_PROGRESS", "CREATE_IN_PROGRESS"}:
                return found  # the newest event comes first
        else:
            found |= _forms(identifier)
    return found


def _served(aws: Aws, held: set[str]) -> set[str]:
    """Names of the configurations and models that the stacks' endpoints run or are rolling out.

    After a rollout that SageMaker undid the endpoint runs a configuration that its stack holds no more.
    """
    sagemaker = aws.client("sagemaker")
    found: set[str] = set()
    for endpoint in entries(aws, "sagemaker", "list_endpoints", "Endpoints"):
        if not held & _forms(endpoint["EndpointArn"]):
            continue
        described = sagemaker.describe_endpoint(EndpointName=endpoint["EndpointName"])
        for deployed in (described, described.get("PendingDeploymentSummary", {})):
            if name := deployed.get("EndpointConfigName"):
                config = config_of(aws, name) or {"ProductionVariants": ()}
                found |= {name, *(variant["ModelName"] for variant in config["ProductionVariants"])}
    return found


def _forms(identifier: str) -> set[str]:
    """A physical id or ARN, and the name at its end."""
    return {identifier, *re.split(r"[/|]", identifier)[-1:], identifier.rsplit(":", 1)[-1]} - {""}


def _live_executions(aws: Aws, names: Names) -> set[str]:
    """Ids of the running executions, whose jobs are no leftovers."""
    there = {raw["PipelineName"] for raw in entries(aws, "sagemaker", "list_pipelines", "PipelineSummaries")}
    pipelines = there.intersection(pipeline_names(names.prefix, continuing=True))
    return {
        raw["PipelineExecutionArn"].rsplit("/", 1)[-1]
        for pipeline in pipelines
        for raw in entries(
            aws, "sagemaker", "list_pipeline_executions", "PipelineExecutionSummaries", PipelineName=pipeline
        )
        if raw["PipelineExecutionStatus"] in ("Executing", "Stopping")
    }


def _counting(aws: Aws, names: Names) -> set[str]:
    """Names of the transform jobs that a count or an audit waits for somewhere; the model of each has its name.

    Where nobody waits any more, such a job ends when its photos are counted, and its model is left. One that runs
    longer than any count is left itself.
    """
    running = entries(
        aws,
        "sagemaker",
        "list_transform_jobs",
        "TransformJobSummaries",
        NameContains=names.prefix,
        StatusEquals="InProgress",
        CreationTimeAfter=datetime.now(UTC) - _LONGEST_COUNT,
    )
    return {raw["TransformJobName"] for raw in running if names.is_transform_job(raw["TransformJobName"])}


def _tagged(aws: Aws, names: Names) -> dict[str, AccountResource]:
    """Every resource with the environment's tag by ARN, whether or not its kind is listed here."""
    filters = [{"Key": DEPLOYMENT_TAG, "Values": [names.prefix]}]
    listed = entries(aws, "resourcegroupstaggingapi", "get_resources", "ResourceTagMappingList", TagFilters=filters)
    arns = [raw["ResourceARN"] for raw in listed]
    return {arn: _of_arn(arn) for arn in arns if not _LISTED_ELSEWHERE.search(arn)}


def _of_arn(arn: str) -> AccountResource:
    """A resource of which only the ARN is known."""
    _, _, service, _, _, resource = arn.split(":", 5)
    return AccountResource(f"{service} resource", resource, arn, None)


def of_account(aws: Aws) -> Iterator[tuple[str, tuple[AccountResource, ...]]]:
    """Everything in the account by kind, of this environment or not. For an account that must be empty."""
    reader = AccountReader(aws, None)
    for kind in KINDS:
        yield kind.label, tuple(replace(resource, remove=()) for resource in kind.find(reader))
