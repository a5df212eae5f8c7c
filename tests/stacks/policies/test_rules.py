"""Every rule of the pack: the shipped templates pass, and one plausible mistake in them is found and named."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stacks.policies.assembly import Assembly, Template
from stacks.policies.pack import all_rules
from stacks.settings import load
from tests.stacks.templates import changed, resources, synthesize, templates

Json = dict[str, Any]
Stacks = dict[str, Json]
RULES = {rule.id: rule for rule in all_rules()}


def assembly_of(stacks: Stacks, folder: Path) -> Assembly:
    return Assembly([Template(name, folder / f"{name}.template.json", body) for name, body in stacks.items()])


def first(stack: Json, kind: str) -> Json:
    properties: Json = next(iter(resources(stack, kind).values()))["Properties"]
    return properties


def edit_definition(stacks: Stacks, edit: Callable[[str], str]) -> None:
    """Changes the text of the pipeline definition, which is split at its references."""
    body = first(stacks["Training"], "AWS::SageMaker::Pipeline")["PipelineDefinition"]["PipelineDefinitionBody"]
    pieces = body["Fn::Join"][1]
    before = json.dumps(pieces)
    pieces[:] = [edit(piece) if isinstance(piece, str) else piece for piece in pieces]
    assert json.dumps(pieces) != before, "the mistake was not made"


def policy_statement(stacks: Stacks, **statement: object) -> None:
    first(stacks["Training"], "AWS::IAM::Policy")["PolicyDocument"]["Statement"].append(
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*", **statement}
    )


def replace(old: str, new: str) -> Callable[[Stacks], None]:
    return lambda stacks: edit_definition(stacks, lambda text: text.replace(old, new))


def put(stack: str, kind: str, **properties: object) -> Callable[[Stacks], None]:
    return lambda stacks: first(stacks[stack], kind).update(properties)


def machine(**mistake: object) -> Callable[[Stacks], None]:
    """Adds a launch template that is right but for a mistake."""
    tags = [{"Key": "deployment", "Value": "binventory-dev"}]
    right = {
        "InstanceInitiatedShutdownBehavior": "terminate",
        "InstanceMarketOptions": {"MarketType": "spot"},
        "MetadataOptions": {"HttpTokens": "required"},
        "BlockDeviceMappings": [{"Ebs": {"Encrypted": True, "DeleteOnTermination": True}}],
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
    }
    resource = {"Type": "AWS::EC2::LaunchTemplate", "Properties": {"LaunchTemplateData": {**right, **mistake}}}
    return lambda stacks: stacks["Storage"]["Resources"].update(Machine=resource)


EVERYBODY = {"Effect": "Allow", "Principal": {"AWS": "*"}}
ALL_BUT_ONE = {"Effect": "Allow", "NotPrincipal": {"AWS": "123456789012"}, "Action": "sns:Publish"}
SERVICE_OF_ANYBODY = {"Effect": "Allow", "Principal": {"Service": "cloudwatch.amazonaws.com"}, "Action": "sns:Publish"}
# rule -> (a mistake, a word that the finding must say)
MISTAKES: list[tuple[str, Callable[[Stacks], None], str]] = [
    ("BV-ModelIsolation", put("Serving", "AWS::SageMaker::Model", EnableNetworkIsolation=False), "False"),
    (
        "BV-TrafficEncryption",
        replace('"EnableInterContainerTrafficEncryption":true', '"EnableInterContainerTrafficEncryption":false'),
        "step Train",
    ),
    ("BV-Spot", replace('"MaxWaitTimeInSeconds":', '"MaxWaitTimeInSeconds":1,"Was":'), "1 with a run of"),
    ("BV-StoppingCondition", replace('"MaxRuntimeInSeconds":', '"MaximumRuntime":'), "step Ingest"),
    ("BV-Images", replace("pytorch:2.13", "pytorch:2.6"), "out of patching"),
    ("BV-Images", replace("763104351884.dkr", "999999999999.evil"), "neither AWS's nor the account's"),
    ("BV-Images", replace("pytorch:2.13", "tensorflow:2.13"), "not one of AWS's PyTorch repositories"),
    (
        "BV-Images",
        put("Serving", "AWS::SageMaker::Model", PrimaryContainer={"Image": "public.ecr.aws/bins:latest"}),
        "a tag that moves",
    ),
    ("BV-Tags", replace('"Key":"project"', '"Key":"projekt"'), "without project"),
    ("BV-Tags", replace('"Key":"deployment"', '"Key":"deploiement"'), "without deployment"),
    ("BV-Tags", put("Storage", "AWS::S3::Bucket", Tags=[]), "without environment, project"),
    (
        "BV-PassRole",
        lambda stacks: policy_statement(stacks, Action="iam:PassRole", Resource="*"),
        "without a condition on iam:PassedToService",
    ),
    (
        "BV-Resources",
        lambda stacks: policy_statement(stacks, Action="s3:DeleteObject", Resource="*"),
        "s3:DeleteObject",
    ),
    ("BV-PassRole", lambda stacks: policy_statement(stacks, Action="iam:p*", Resource="*"), "without a condition on"),
    ("BV-Resources", lambda stacks: policy_statement(stacks, NotAction="s3:GetObject"), "NotAction"),
    ("BV-Resources", lambda stacks: policy_statement(stacks, NotResource="arn:aws:s3:::b/*"), "NotResource"),
    (
        "BV-OwnAccount",
        put("Money", "AWS::SNS::TopicPolicy", PolicyDocument={"Statement": [ALL_BUT_ONE]}),
        "NotPrincipal",
    ),
    ("BV-SpotMachine", machine(InstanceInitiatedShutdownBehavior="stop"), "'stop'"),
    ("BV-SpotMachine", machine(MetadataOptions={"HttpTokens": "optional"}), "'optional'"),
    ("BV-SpotMachine", machine(BlockDeviceMappings=[{"Ebs": {"DeleteOnTermination": True}}]), "Encrypted"),
    ("BV-SpotMachine", machine(TagSpecifications=[]), "instance, volume"),
    (
        "BV-OwnAccount",
        put("Money", "AWS::SNS::TopicPolicy", PolicyDocument={"Statement": [SERVICE_OF_ANYBODY]}),
        "cloudwatch.amazonaws.com of any account",
    ),
    (
        "BV-OwnAccount",
        put(
            "Training",
            "AWS::IAM::Role",
            AssumeRolePolicyDocument={"Statement": [{**EVERYBODY, "Action": "sts:AssumeRole"}]},
        ),
        "* of any account",
    ),
    (
        "BV-InlinePolicies",
        lambda stacks: policy_statement(stacks, Resource=[f"arn:aws:s3:::b/{n}/{'x' * 500}" for n in range(20)]),
        "more than 10240",
    ),
    ("BV-LogRetention", put("Training", "AWS::Lambda::Function", LoggingConfig={}), "LoggingConfig"),
]


@pytest.mark.parametrize("environment", ["dev", "prod"])
@pytest.mark.parametrize("rule", RULES)
def test_what_is_shipped_breaks_no_rule(rule: str, environment: str, tmp_path: Path) -> None:
    assert list(RULES[rule].find(assembly_of(templates(environment), tmp_path))) == []


@pytest.mark.parametrize(
    ("rule", "mistake", "word"), MISTAKES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_mistake_is_found_and_named(rule: str, mistake: Callable[[Stacks], None], word: str, tmp_path: Path) -> None:
    stacks = copy.deepcopy(templates("dev"))
    mistake(stacks)
    findings = list(RULES[rule].find(assembly_of(stacks, tmp_path)))
    assert findings
    assert word in "; ".join(f"{finding.where} {finding.detail}" for finding in findings)


def test_a_prod_endpoint_on_one_instance_is_found(tmp_path: Path) -> None:
    stacks = copy.deepcopy(templates("prod"))
    config = first(stacks["Serving"], "AWS::SageMaker::EndpointConfig")
    config["ProductionVariants"][0]["InitialInstanceCount"] = 1
    (finding,) = RULES["BV-InstanceCount"].find(assembly_of(stacks, tmp_path))
    assert finding.detail == "1"


def test_more_prefixes_than_the_policies_of_one_role_can_name_are_found(tmp_path: Path) -> None:
    """Each is named three times: its objects, itself and what is below it."""
    prefixes = [f"s3://bins/{number}/{'x' * 480}/" for number in range(10)]
    settings = changed(load("dev"), "batch", photos_uris=prefixes)
    (finding,) = RULES["BV-InlinePolicies"].find(assembly_of(synthesize(settings), tmp_path))
    assert finding.resource.logical_id.startswith("ServingRolesBatch")
    settings = changed(load("dev"), "batch", photos_uris=prefixes[:4])
    assert list(RULES["BV-InlinePolicies"].find(assembly_of(synthesize(settings), tmp_path))) == []


@pytest.mark.parametrize(
    ("dockerfile", "found"),
    [("FROM python\nUSER 1000\n", True), ("FROM python\n", False), ("FROM python\nUSER app\nUSER root\n", False)],
)
def test_a_container_that_does_not_run_as_root_is_found(dockerfile: str, found: bool, tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image/Dockerfile").write_text(dockerfile)
    (tmp_path / "Training.assets.json").write_text(
        json.dumps({"dockerImages": {"abc": {"source": {"directory": "image"}}}})
    )
    findings = list(RULES["BV-ContainerUser"].find(assembly_of({"Training": {"Resources": {}}}, tmp_path)))
    assert bool(findings) == found


def rules_without_a_mistake() -> Iterator[str]:
    tried = {rule for rule, _, _ in MISTAKES} | {"BV-InstanceCount", "BV-ContainerUser"}
    tried |= {"BV-CustomerKeys", "BV-JobNetwork"}  # in tests/stacks/test_strict_accounts.py
    return (rule for rule in RULES if rule not in tried)


def test_every_rule_is_tried() -> None:
    assert list(rules_without_a_mistake()) == []


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_rule_says_why_how_to_mend_and_where_to_read_on(rule: Any) -> None:
    assert rule.why.endswith(".")
    assert rule.fix.endswith(".")
    assert rule.link.startswith("https://docs.aws.amazon.com/") or "aws.github.io" in rule.link
