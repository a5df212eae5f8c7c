"""The base of every stack: name, account and region, tags; log groups and topics with its standards."""

from __future__ import annotations

from aws_cdk import DefaultStackSynthesizer, Environment, RemovalPolicy, Stack, Tags
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.settings import Settings
from stacks.settings.storage import Retention
from stacks.shared.keys import Keys

_RETENTION: dict[Retention, logs.RetentionDays] = {
    1: logs.RetentionDays.ONE_DAY,
    3: logs.RetentionDays.THREE_DAYS,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    90: logs.RetentionDays.THREE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
    731: logs.RetentionDays.TWO_YEARS,
}


def asset_folder(settings: Settings) -> str:
    """Folder of an environment's assets in the bootstrap's bucket, which other systems use too: `binventory-dev/`."""
    return f"{settings.prefix}/"


class BinventoryStack(Stack):
    """A stack named after its environment and role, with the tags on itself and on everything in it."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        role: str,
        purpose: str,
        keys: Keys | None = None,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            stack_name=settings.stack_name(role),
            env=Environment(account=settings.account, region=settings.region),
            description=f"Binventory {settings.environment}: {purpose}",
            tags=settings.all_tags,
            termination_protection=settings.security.termination_protection,
            # The CDK CLI checks the version of the bootstrap stack. A rule in the template would check it again at
            # every update, and then the functions that update a stack must read the bootstrap's parameter.
            synthesizer=DefaultStackSynthesizer(
                bucket_prefix=asset_folder(settings), generate_bootstrap_version_rule=False
            ),
        )
        self.settings = settings
        self.keys = keys
        for key, value in settings.all_tags.items():
            Tags.of(self).add(key, value)

    @property
    def removal_policy(self) -> RemovalPolicy:
        """What a destroy of the stack does with resources that hold data.

        Those that a failed first deployment has made are deleted: they are empty, and the next one needs their names.
        """
        return RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE if self.settings.storage.retain else RemovalPolicy.DESTROY

    def log_group(self, scope: Construct, construct_id: str, name: str) -> logs.LogGroup:
        """A log group with the environment's retention. A destroy of a dev stack deletes it."""
        return logs.LogGroup(
            scope,
            construct_id,
            log_group_name=name,
            retention=_RETENTION[self.settings.storage.log_retention_days],
            encryption_key=self.keys.notices if self.keys else None,
            removal_policy=self.removal_policy,
        )

    def always_export(self, *values: str) -> None:
        """Exports these values, whether or not the settings make another stack import them.

        CloudFormation refuses to remove an export that is imported. The stack that exports is deployed first: without
        this, a setting that ends the import would fail there.
        """
        for value in values:
            self.export_value(value)

    def topic(self, construct_id: str, *services: str) -> sns.Topic:
        """A topic that refuses plain HTTP. These services may publish to it for this account."""
        topic = sns.Topic(self, construct_id, enforce_ssl=True, master_key=self.keys.notices if self.keys else None)
        for service in services:
            topic.add_to_resource_policy(
                iam.PolicyStatement(
                    actions=["sns:Publish"],
                    principals=[iam.ServicePrincipal(service)],
                    resources=[topic.topic_arn],
                    conditions={"StringEquals": {"aws:SourceAccount": self.account}},
                )
            )
        return topic
