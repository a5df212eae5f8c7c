"""Training on one EC2 spot instance: a launch template for machines that end themselves. Nothing in it bills."""

from __future__ import annotations

from pathlib import Path

from aws_cdk import CfnOutput, CfnTag, Fn
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from stacks.ec2.public_network import PublicNetwork
from stacks.settings import Settings
from stacks.shared import permissions
from stacks.shared.permissions import allow
from stacks.shared.stack import BinventoryStack
from stacks.storage.buckets import CHECKPOINTS_PREFIX, EXECUTIONS_PREFIX
from stacks.storage.stack import StorageStack

USER_DATA = Path(__file__).with_name("user_data.sh")
# Where EC2 lists what it starts; tags of the template itself are a kind of their own.
_TAGGED = ("instance", "volume", "network-interface", "spot-instances-request")


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
            launch_template_data=self._machine(profile, closed),
            tag_specifications=[
                ec2.CfnLaunchTemplate.LaunchTemplateTagSpecificationProperty(
                    resource_type="launch-template", tags=self._tags()
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
        weights = self.settings.training.weights
        iam.Policy(
            self,
            "MachinePolicy",
            roles=[role],
            statements=[
                allow(["s3:GetObject"], [self._code.bucket.arn_for_objects(self._code.s3_object_key)]),
                *permissions.read_and_write_objects(data, EXECUTIONS_PREFIX, CHECKPOINTS_PREFIX),
                *permissions.read_and_write_objects(model, EXECUTIONS_PREFIX),
                *(
                    [allow(["s3:GetObject"], [f"arn:{self.partition}:s3:::{weights[5:]}"])]
                    * weights.startswith("s3://")
                ),
                *permissions.find_champion(self, self.settings.prefix, self._group),
            ],
        )
        return role

    def _machine(
        self, profile: iam.CfnInstanceProfile, closed: ec2.CfnSecurityGroup
    ) -> ec2.CfnLaunchTemplate.LaunchTemplateDataProperty:
        given, of = self.settings.ec2, ec2.CfnLaunchTemplate
        image = ssm.StringParameter.value_for_typed_string_parameter_v2(
            self, given.image_parameter, ssm.ParameterValueType.AWS_EC2_IMAGE_ID
        )
        disk = of.EbsProperty(
            encrypted=True, volume_size=given.volume_gb, volume_type="gp3", delete_on_termination=True
        )
        return of.LaunchTemplateDataProperty(
            image_id=image,
            instance_type=given.instance_type,
            iam_instance_profile=of.IamInstanceProfileProperty(arn=profile.attr_arn),
            instance_market_options=of.InstanceMarketOptionsProperty(
                market_type="spot",
                spot_options=of.SpotOptionsProperty(
                    spot_instance_type="one-time", instance_interruption_behavior="terminate"
                ),
            ),
            # The script's last word is a power off, which therefore leaves nothing that bills.
            instance_initiated_shutdown_behavior="terminate",
            metadata_options=of.MetadataOptionsProperty(
                http_tokens="required", http_put_response_hop_limit=1, instance_metadata_tags="enabled"
            ),
            block_device_mappings=[of.BlockDeviceMappingProperty(device_name="/dev/sda1", ebs=disk)],
            network_interfaces=[
                of.NetworkInterfaceProperty(
                    device_index=0,
                    associate_public_ip_address=True,
                    delete_on_termination=True,
                    groups=[closed.attr_group_id],
                )
            ],
            tag_specifications=[of.TagSpecificationProperty(resource_type=kind, tags=self._tags()) for kind in _TAGGED],
            user_data=Fn.base64(self._user_data()),
        )

    def _user_data(self) -> str:
        minutes = self.settings.ec2.max_runtime_minutes
        # Three ends, each behind the one before: the run's own, that of its process, that of the machine.
        variables = {
            "AWS_DEFAULT_REGION": self.region,
            "CODE_URI": self._code.s3_object_url,
            "EXECUTIONS_URI": f"s3://{self._storage.data_bucket.bucket_name}/{EXECUTIONS_PREFIX}",
            "MAX_MINUTES": str(minutes),
            "LIMIT_SECONDS": str(60 * minutes + 180),
            "BRAKE_MINUTES": str(minutes + 10),
        }
        exports = "".join(f"export {name}='{value}'\n" for name, value in variables.items())
        return f"#!/bin/bash\n{exports}{USER_DATA.read_text()}"

    def _tags(self) -> list[CfnTag]:
        return [CfnTag(key=key, value=value) for key, value in self.settings.all_tags.items()]
