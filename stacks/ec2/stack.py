"""Training on one EC2 spot instance: a launch template whose machines terminate themselves. The stack costs nothing."""

from __future__ import annotations

from aws_cdk import CfnOutput, Fn
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from stacks.ec2.machine import launch_template_data, tags, user_data
from stacks.ec2.public_network import PublicNetwork
from stacks.settings import Settings
from stacks.shared import permissions
from stacks.shared.permissions import allow
from stacks.shared.stack import BinventoryStack
from stacks.storage.buckets import CHECKPOINTS_PREFIX, EXECUTIONS_PREFIX
from stacks.storage.stack import StorageStack

RUNS = "ec2-*"
"""Names of runs, as `binventory train --on ec2` makes them."""


class Ec2Stack(BinventoryStack):
    """`binventory train --on ec2` starts a machine from the launch template and tags it with its run."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        storage: StorageStack,
        code: s3_assets.Asset,
        model_package_group: str,
    ) -> None:
        super().__init__(scope, construct_id, settings=settings, role="ec2", purpose="training on EC2 spot instances")
        self._storage, self._code, self._group = storage, code, model_package_group
        vpc_id, subnet_ids = self._network()
        profile = iam.CfnInstanceProfile(
            self, "Profile", instance_profile_name=self.stack_name, roles=[self._role().role_name]
        )
        closed = self._security_group(vpc_id)
        template = ec2.CfnLaunchTemplate(
            self,
            "LaunchTemplate",
            launch_template_name=self.stack_name,
            launch_template_data=launch_template_data(
                self,
                profile=profile,
                closed=closed,
                user_data=user_data(self, code=code, data_bucket=storage.data_bucket),
            ),
            tag_specifications=[
                ec2.CfnLaunchTemplate.LaunchTemplateTagSpecificationProperty(
                    resource_type="launch-template", tags=tags(self)
                )
            ],
        )
        CfnOutput(self, "LaunchTemplateName", value=self.stack_name)
        CfnOutput(self, "LaunchTemplateVersion", value=template.attr_latest_version_number)
        CfnOutput(self, "SubnetIds", value=Fn.join(",", subnet_ids))
        CfnOutput(self, "SecurityGroupId", value=closed.attr_group_id)
        CfnOutput(self, "VolumeGb", value=str(settings.ec2.volume_gb))
        CfnOutput(self, "InstanceType", value=settings.ec2.instance_type)
        CfnOutput(self, "MaxRuntimeMinutes", value=str(settings.ec2.max_runtime_minutes))

    def _network(self) -> tuple[str, list[str]]:
        given = self.settings.ec2
        if given.vpc_id is not None:
            return given.vpc_id, list(given.subnet_ids)
        made = PublicNetwork(self, "Network")
        return made.vpc_id, made.subnet_ids

    def _security_group(self, vpc_id: str) -> ec2.CfnSecurityGroup:
        return ec2.CfnSecurityGroup(
            self,
            "Closed",
            vpc_id=vpc_id,
            group_description="Nothing comes in; HTTPS goes out, to S3, the package index and the weights",
            security_group_egress=[
                ec2.CfnSecurityGroup.EgressProperty(
                    ip_protocol="tcp", from_port=443, to_port=443, cidr_ip="0.0.0.0/0", description="HTTPS"
                )
            ],
        )

    def _role(self) -> iam.Role:
        role = iam.Role(
            self,
            "Machine",
            assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"),
            description=f"{self.settings.prefix}: trains on an EC2 spot instance",
        )
        data, model = self._storage.data_bucket.bucket_arn, self._storage.model_bucket.bucket_arn
        iam.Policy(
            self,
            "MachinePolicy",
            roles=[role],
            statements=[
                allow(["s3:GetObject"], [self._code.bucket.arn_for_objects(self._code.s3_object_key)]),
                *permissions.read_objects(data, EXECUTIONS_PREFIX, CHECKPOINTS_PREFIX),
                *permissions.read_objects(model, EXECUTIONS_PREFIX),
                # Runs are named ec2-...: a machine writes nothing that a pipeline's execution has made.
                permissions.write_objects(
                    data, *(f"{prefix}/{RUNS}" for prefix in (EXECUTIONS_PREFIX, CHECKPOINTS_PREFIX))
                ),
                # Of a training's checkpoints the newest stay, as on the disk; of the whole network each is large.
                allow(["s3:DeleteObject"], [f"{data}/{CHECKPOINTS_PREFIX}/{RUNS}/train/step-*.safetensors"]),
                permissions.write_objects(model, f"{EXECUTIONS_PREFIX}/{RUNS}"),
                *self._read_weights(),
                *permissions.find_champion(self, self.settings.prefix, self._group),
            ],
        )
        return role

    def _read_weights(self) -> list[iam.PolicyStatement]:
        weights = self.settings.training.weights
        if not weights.startswith("s3://"):
            return []
        return [allow(["s3:GetObject"], [f"arn:{self.partition}:s3:::{weights.removeprefix('s3://')}"])]
