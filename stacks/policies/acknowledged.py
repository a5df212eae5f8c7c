"""Findings of the public packs that are accepted, each with its reason."""

from __future__ import annotations

import re

import aws_cdk as cdk
import jsii

# Kinds of wildcards that are accepted in a policy's resources. Any other kind stays a finding and fails synthesis, and
# policies/iam.py holds a bare `*` to actions that know no resource.
ACCEPTED_WILDCARDS = {
    r".*[}>]/\*": "Objects of a whole bucket of ours: the bucket is named, keys are made at run time.",
    r".*/(executions|checkpoints|capture|batch|async|endpoint|bin-images|metadata)/\*": "Objects under one prefix.",
    r".*/executions/\*/[\w-]+(/[\w-]+)*/\*": "What one step writes: SageMaker numbers the executions.",
    r".*/[a-z0-9-]+/\*\.gz": "All versions of the code of this environment: its folder is named.",
    r".*/executions/(listings|seals)/\*": "Listings are named after their contents, seals after addresses.",
    r".*/executions/\*/ingest/\*/digests\.json": "The lists of shards: SageMaker numbers the executions.",
    r".*/(executions|checkpoints)/ec2-\*/\*": "The command line numbers the runs on EC2.",
    r".*:s3:::[\w.-]+/[^*]*\*": "Photos under the prefix that settings name, which may have any other character.",
    r".*/checkpoints/ec2-\*/train/step-\*\.safetensors": "Runs are numbered; a digest names a checkpoint.",
    r".*/checkpoints/\*/step-\*": "SageMaker numbers executions and names trials; a digest names a checkpoint.",
    r".*:log-stream:\*": "The service chooses the names of log streams; the group is named.",
    r".*:log-group:/aws/sagemaker/\w+(/[\w-]+)?:\*": "Events of the log groups that SageMaker prescribes.",
    r".*:(training|processing|hyper-parameter-tuning)-job/(\*-\w+-)?\*": "SageMaker names the jobs of a pipeline.",
    r".*:(stack|model-package|model|endpoint-config|endpoint)/[\w-]+[/-]\*": "The service adds a number to our name.",
    r".*:(model|endpoint-config)/([a-z0-9]{27}|[a-z0-9-]{24})\*": "CloudFormation makes and shortens their names.",
    r".*:(model|endpoint-config)/\*": "Services make up their names; the statement asks for our tag, or reads only.",
    r".*:scalable-target/\*": "The service numbers its targets; the statement names SageMaker's variants.",
    r".*:alarm:\*": "Who may look at one alarm may look at all; a statement that changes some names them.",
    r".*:alarm:TargetTracking-endpoint/[\w-]+/variant/\w+\*": "Autoscaling names the alarms of the named endpoint.",
    r".*:role/aws-service-role/sagemaker\.application-autoscaling\.amazonaws\.com/\*": "The service's own role.",
    r".*:pipeline/[\w-]+/execution/\*": "SageMaker numbers the executions of the named pipeline.",
    r".*:ec2:.*:network-interface/\*": "EC2 numbers the interfaces of jobs; their subnets are named.",
    r"\*": "Actions that know no resource in IAM, which policies/iam.py checks one by one.",
}
# Rules that this system breaks everywhere on purpose.
ON_EVERY_STACK = {
    "NIST.800.53.R5-IAMNoInlinePolicy": "A policy belongs to one role and goes with it.",
    "NIST.800.53.R5-CloudWatchLogGroupEncrypted": "CloudWatch encrypts logs with its own key; photos never enter them.",
    "NIST.800.53.R5-S3DefaultEncryptionKMS": "SSE-S3 encrypts at rest; a customer key bills by the month and request.",
    "NIST.800.53.R5-S3BucketReplicationEnabled": "All but models is computed from photos kept elsewhere.",
    "NIST.800.53.R5-S3BucketVersioningEnabled": "Shards can be computed again, logs expire; models are versioned.",
    "NIST.800.53.R5-LambdaConcurrency": "Rare events call the functions; a reserve would be taken from the account.",
    "NIST.800.53.R5-LambdaDLQ": "EventBridge and CloudFormation retry, and report a failure themselves.",
    "NIST.800.53.R5-LambdaInsideVPC": "The functions call AWS's APIs only, which in a VPC need endpoints that bill.",
    "NIST.800.53.R5-SNSEncryptedKMS": "Alerts hold no photo and no secret; AWS Budgets would need a customer key here.",
    "NIST.800.53.R5-SageMakerEndpointConfigurationKMSKeyConfigured": "SageMaker encrypts the volume with its own key.",
}


def acknowledge(app: cdk.App) -> None:
    """Acknowledges `ON_EVERY_STACK` on each stack."""
    for stack in app.node.children:
        if isinstance(stack, cdk.Stack):
            for rule, reason in ON_EVERY_STACK.items():
                pack = rule.rsplit("-", 1)[0]
                cdk.Validations.of(stack).acknowledge(cdk.Acknowledgment(id=f"{pack}::{rule}", reason=reason))


@jsii.implements(cdk.IPolicyValidationPlugin)
class AcceptingWildcards:
    """A rule pack without its findings about accepted kinds of wildcards.

    cdk-nag acknowledges exact wildcards only. Those with names of other stacks' resources are unknown until the CDK
    has resolved the references between stacks, which is too late to acknowledge them.
    """

    def __init__(self, pack: cdk.IPolicyValidationPlugin) -> None:
        self._pack = pack

    @property
    def name(self) -> str:
        """Name in the validation report."""
        return self._pack.name

    @property
    def version(self) -> str | None:
        """Version in the validation report."""
        return self._pack.version

    @property
    def rule_ids(self) -> list[str] | None:
        """The ids of the rules."""
        return self._pack.rule_ids

    def validate(self, context: cdk.IPolicyValidationContext) -> cdk.PolicyValidationPluginReport:
        """The findings of the pack that are not accepted."""
        report = self._pack.validate(context)
        left = [violation for violation in report.violations if not is_accepted(violation.rule_name)]
        return cdk.PolicyValidationPluginReport(success=not left, violations=left)


def is_accepted(rule_name: str) -> bool:
    """Whether a finding such as `AwsSolutions-IAM5[Resource::...]` is about an accepted kind of wildcard."""
    match = re.fullmatch(r"AwsSolutions-IAM5\[Resource::(?P<resource>.*)\]", rule_name, re.DOTALL)
    return match is not None and any(re.fullmatch(kind, match["resource"], re.DOTALL) for kind in ACCEPTED_WILDCARDS)
