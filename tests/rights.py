"""The permissions of every role after a deployment, and what they are without one of their parts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local_aws.ministack import iam
from stacks.settings import Settings, load
from tests.stacks.templates import as_list, changed

ACCOUNT, REGION = "123456789012", "us-east-1"
Json = dict[str, Any]
_PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::URLSuffix": "amazonaws.com",
}
# Type -> (property that gives the name, form of its ARN, whether Ref is the ARN).
_NAMED = {
    "AWS::ECR::Repository": ("RepositoryName", f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{{}}", False),
    "AWS::IAM::Role": ("RoleName", f"arn:aws:iam::{ACCOUNT}:role/{{}}", False),
    "AWS::KMS::Key": ("KeyId", f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{{}}", False),
    "AWS::Lambda::Function": ("FunctionName", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{{}}", False),
    "AWS::Logs::LogGroup": ("LogGroupName", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{{}}:*", False),
    "AWS::S3::Bucket": ("BucketName", "arn:aws:s3:::{}", False),
    "AWS::SNS::Topic": ("TopicName", f"arn:aws:sns:{REGION}:{ACCOUNT}:{{}}", True),
}


@dataclass(frozen=True, order=True)
class Request:
    """A request that a role makes: what it does, to what, and the condition keys that come with it."""

    action: str
    resource: str
    keys: tuple[tuple[str, str | tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Mutant:
    """A role's statements without one statement, or without one action or resource of one."""

    role: str
    without: str
    statements: Sequence[Json]


def with_every_role() -> Settings:
    """dev with every setting on that adds a role."""
    settings = changed(load("dev"), "github", repository="acme/bins", owner_id=11, repository_id=22)
    hours = {"days": "MON-FRI", "start": "07:00", "end": "19:00", "time_zone": "UTC"}
    return changed(settings, "money", idle_hours=0.01, serving_hours=hours)


class Deployment:
    """The templates with CloudFormation's names filled in; names that it makes up are `Stack.LogicalId` here."""

    def __init__(self, templates: Mapping[str, Json]) -> None:
        self._templates = templates

    def roles(self) -> dict[str, list[Json]]:
        """The statements of each role's own policies, by the role's name."""
        found: dict[str, list[Json]] = {}
        for stack, name, resource in self._resources():
            properties = resource.get("Properties", {})
            if resource["Type"] == "AWS::IAM::Role":
                documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
                found.setdefault(self._name(stack, name), []).extend(self._statements(stack, documents))
            elif resource["Type"] in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
                for role in properties.get("Roles", []):
                    statements = self._statements(stack, [properties["PolicyDocument"]])
                    found.setdefault(self._name(stack, role["Ref"]), []).extend(statements)
        return found

    def names(self) -> dict[tuple[str, str], str]:
        """The name of each resource, by the stack's construct id and its logical id."""
        return {(stack, name): self._name(stack, name) for stack, name, _ in self._resources()}

    def _resources(self) -> Iterator[tuple[str, str, Json]]:
        for stack, template in self._templates.items():
            for name, resource in template.get("Resources", {}).items():
                yield stack, name, resource

    def _statements(self, stack: str, documents: Iterable[Json]) -> list[Json]:
        resolved = [self._resolve(stack, document) for document in documents]
        return [statement for document in resolved for statement in as_list(document["Statement"])]

    def _resolve(self, stack: str, value: Any) -> Any:
        if isinstance(value, str):
            return generalise(value)
        if isinstance(value, list):
            return [self._resolve(stack, item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (function, argument) = next(iter(value.items()))
            if function == "Ref" or function.startswith("Fn::"):
                return self._call(stack, function, argument)
        return {key: self._resolve(stack, item) for key, item in value.items()}

    def _call(self, stack: str, function: str, argument: Any) -> Any:
        if (function, argument) == ("Ref", "AWS::StackId"):
            return f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{stack}/11111111-0000-0000-0000-000000000000"
        if function == "Ref":
            return _PSEUDO.get(argument) or self._reference(stack, argument)
        if function == "Fn::GetAtt":
            return self._attribute(stack, *argument)
        if function == "Fn::Join":
            return generalise(argument[0].join(str(self._resolve(stack, part)) for part in argument[1]))
        if function == "Fn::Sub":
            for name, text in _PSEUDO.items():
                argument = argument.replace(f"${{{name}}}", text)
            return generalise(argument)
        if function == "Fn::Select":
            index, parts = argument
            return self._resolve(stack, parts)[int(index)]
        if function == "Fn::Split":
            return str(self._resolve(stack, argument[1])).split(argument[0])
        if function == "Fn::ImportValue":
            stack_name, _, output = argument.partition(":")
            other = stack_name.rsplit("-", 1)[-1].title()
            return self._resolve(other, self._templates[other]["Outputs"][output]["Value"])
        raise NotImplementedError(f"{function} in a policy of {stack}")

    def _name(self, stack: str, logical_id: str) -> str:
        resource = self._templates[stack]["Resources"][logical_id]
        key = _NAMED.get(resource["Type"], ("", "", False))[0]
        given = resource.get("Properties", {}).get(key)
        return str(self._resolve(stack, given)) if given else f"{stack}.{logical_id}"

    def _reference(self, stack: str, logical_id: str) -> str:
        if logical_id not in self._templates[stack]["Resources"]:
            return f"{stack}.{logical_id}"  # a parameter
        kind = self._templates[stack]["Resources"][logical_id]["Type"]
        name = self._name(stack, logical_id)
        _, arn, is_arn = _NAMED.get(kind, ("", "", False))
        return arn.format(name) if is_arn else name

    def _attribute(self, stack: str, logical_id: str, attribute: str) -> str:
        kind = self._templates[stack]["Resources"][logical_id]["Type"]
        if attribute in ("Arn", "TopicArn") and kind in _NAMED:
            return _NAMED[kind][1].format(self._name(stack, logical_id))
        return f"{stack}.{logical_id}.{attribute}"


def mutants(role: str, statements: Sequence[Json]) -> Iterator[Mutant]:
    """The statements without one of them, without one action of one, and without one resource of one."""
    for index, statement in enumerate(statements):
        others = [*statements[:index], *statements[index + 1 :]]
        actions = as_list(statement["Action"])
        if statement["Effect"] != "Allow":
            continue
        if len(actions) == 1:
            yield Mutant(role, f"statement {actions[0]}", others)
        for part in ("Action", "Resource"):
            values = as_list(statement[part])
            for value in values if len(values) > 1 else ():
                left = {**statement, part: [other for other in values if other != value]}
                of = f" of {actions[0]}" if part == "Resource" else ""
                yield Mutant(role, f"{part.lower()} {value}{of}", [*others, left])


def killer(mutant: Mutant, requests: Iterable[Request]) -> Request | None:
    """A request that the mutant denies, of requests that its role's policies allow; None if it survives them all."""
    return next((request for request in requests if not allows(mutant.statements, request)), None)


def allows(statements: Sequence[Json], request: Request) -> bool:
    """Whether these statements alone allow the request."""
    keys = {key: value if isinstance(value, str) else list(value) for key, value in request.keys}
    return iam.allows(statements, request.action, request.resource, keys)


def survivors(roles: Mapping[str, Sequence[Json]], requests: Mapping[str, Sequence[Request]]) -> Iterator[Mutant]:
    """The mutants that still allow everything that was requested."""
    for role, statements in roles.items():
        allowed = [request for request in requests.get(role, ()) if allows(statements, request)]
        for mutant in mutants(role, statements):
            if killer(mutant, allowed) is None:
                yield mutant


def witnesses(roles: Mapping[str, Sequence[Json]], requests: Mapping[str, Sequence[Request]]) -> str:
    """JSON with the fewest requests that prove every part to be needed: one a line, so that diffs are readable."""
    rows = []
    for role, statements in sorted(roles.items()):
        allowed = sorted(request for request in requests.get(role, ()) if allows(statements, request))
        found = {killer(mutant, allowed) for mutant in mutants(role, statements)} - {None}
        lines = sorted(json.dumps([item.action, item.resource, dict(item.keys)]) for item in found if item)
        rows.append(f"  {json.dumps(role)}: [" + ",".join(f"\n    {line}" for line in lines) + "\n  ]")
    return "{\n" + ",\n".join(rows) + "\n}\n"


def read_witnesses(text: str) -> dict[str, list[Request]]:
    """The requests that `witnesses` wrote."""
    return {
        role: [Request(action, resource, condition_keys(keys)) for action, resource, keys in rows]
        for role, rows in json.loads(text).items()
    }


def condition_keys(keys: Mapping[str, str | Sequence[str]]) -> tuple[tuple[str, str | tuple[str, ...]], ...]:
    """Condition keys in the form of `Request`; a key may have several values."""
    return tuple(sorted((key, value if isinstance(value, str) else tuple(value)) for key, value in keys.items()))


def generalise(text: str) -> str:
    """A name without the parts that differ between runs: hashes of assets, ids of executions and jobs."""
    text = re.sub(r"\b[0-9a-f]{64}\b", "ASSET", text)
    text = re.sub(r"(executions/|checkpoints/|execution/|pipelines-)[0-9a-z]{12}\b", r"\1EXECUTION", text)
    text = re.sub(r"-(ingest|embed|tune|train|evaluate)-[0-9a-z]{10}\b", r"-\1-JOB", text)
    text = re.sub(r"(binventorydev(?:model|endpointconfig)-)[0-9a-z]{12}\b", r"\1NAME", text, flags=re.IGNORECASE)
    text = re.sub(r"(:budget/binventory-dev-)[0-9a-f]{8}\b", r"\1ALERTS", text)
    text = text.replace(":::binventory-dev-storage-modelbucket*", ":::Storage.ModelBucket*")
    text = re.sub(r"(endpoint/requests/)[0-9T.]+-[0-9a-f]{8}", r"\1REQUEST", text)
    text = re.sub(r"(hyper-parameter-tuning-job/|:log-stream:)[0-9a-z]{12}(-tune)?-", r"\1EXECUTION\2-", text)
    text = re.sub(r"(-tune-JOB-\d{3}-)[0-9a-f]{8}\b", r"\1TRIAL", text)
    text = re.sub(r"(/algo-\d-)\d{10}\b", r"\1TIME", text)
    text = re.sub(r"(/primary/)\d{4}/\d\d/\d\d/\d\d/[0-9-]+-[0-9a-f-]{36}", r"\1HOUR/CAPTURE", text)
    text = re.sub(r"/i-[0-9a-f]{17}\b", "/i-INSTANCE", text)
    return re.sub(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "UUID", text)
