"""Everything that bills says whose it is."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.policies.assembly import Assembly
from stacks.policies.rule import Finding, Rule

REQUIRED = ("environment", "project")
BILLED = (
    "AWS::CloudWatch::Alarm",
    "AWS::EC2::Instance",
    "AWS::ECR::Repository",
    "AWS::KMS::Key",
    "AWS::Lambda::Function",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
    "AWS::SageMaker::Endpoint",
    "AWS::SageMaker::EndpointConfig",
    "AWS::SageMaker::Model",
    "AWS::SageMaker::ModelPackageGroup",
    "AWS::SageMaker::Pipeline",
    "AWS::SNS::Topic",
)


def _find(assembly: Assembly) -> Iterator[Finding]:
    for resource in assembly.of_type(*BILLED):
        if missing := _missing(resource.tags):
            yield Finding(resource, "Tags", f"without {missing}")
    for step in assembly.jobs():
        tags = {tag["Key"]: tag["Value"] for tag in step.arguments.get("Tags", [])}
        if missing := _missing(tags):
            yield Finding.in_step(step, "Tags", f"without {missing}")


def _missing(tags: dict[str, str]) -> str:
    return ", ".join(key for key in REQUIRED if not tags.get(key))


RULE = Rule(
    id="BV-Tags",
    why="What has no tag is in no budget and in no list of leftovers.",
    fix="Add the tags of Settings.all_tags; the jobs that a pipeline starts do not inherit them.",
    link="https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/cost-alloc-tags.html",
    find=_find,
)
