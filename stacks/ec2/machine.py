"""The machine that the launch template starts: it trains once and then terminates itself."""

from __future__ import annotations

from pathlib import Path

from aws_cdk import CfnTag, Fn
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk import aws_ssm as ssm

from stacks.settings.instances import is_burstable
from stacks.shared.stack import BinventoryStack
from stacks.storage.buckets import EXECUTIONS_PREFIX

USER_DATA = Path(__file__).with_name("user_data.sh")
# What EC2 creates with the machine. The launch template itself is tagged by the stack.
_TAGGED = ("instance", "volume", "network-interface", "spot-instances-request")


def launch_template_data(
    stack: BinventoryStack, *, profile: iam.CfnInstanceProfile, closed: ec2.CfnSecurityGroup, user_data: str
) -> ec2.CfnLaunchTemplate.LaunchTemplateDataProperty:
    """A one-time spot machine with an encrypted disk, IMDSv2 and no open port; powered off, it is terminated."""
    given, of = stack.settings.ec2, ec2.CfnLaunchTemplate
    image = ssm.StringParameter.value_for_typed_string_parameter_v2(
        stack, given.image_parameter, ssm.ParameterValueType.AWS_EC2_IMAGE_ID
    )
    disk = of.EbsProperty(encrypted=True, volume_size=given.volume_gb, volume_type="gp3", delete_on_termination=True)
    return of.LaunchTemplateDataProperty(
        image_id=image,
        instance_type=given.instance_type,
        # Said, because an account may have another default; at its base share the same run would cost no less.
        credit_specification=of.CreditSpecificationProperty(cpu_credits="unlimited")
        if is_burstable(given.instance_type)
        else None,
        iam_instance_profile=of.IamInstanceProfileProperty(arn=profile.attr_arn),
        instance_market_options=of.InstanceMarketOptionsProperty(
            market_type="spot",
            spot_options=of.SpotOptionsProperty(
                spot_instance_type="one-time", instance_interruption_behavior="terminate"
            ),
        ),
        # The script ends with a power off, which terminates the machine: nothing is left that bills.
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
        tag_specifications=[of.TagSpecificationProperty(resource_type=kind, tags=tags(stack)) for kind in _TAGGED],
        user_data=Fn.base64(user_data),
    )


def user_data(stack: BinventoryStack, *, code: s3_assets.Asset, data_bucket: s3.IBucket) -> str:
    """The script that the machine runs at its start, with the variables that it reads before it."""
    minutes = stack.settings.ec2.max_runtime_minutes
    # Three time limits, one after the other: of the run, of its process, of the machine.
    variables = {
        "AWS_DEFAULT_REGION": stack.region,
        "OMP_WAIT_POLICY": "PASSIVE",  # as of the pipeline's jobs
        "CODE_URI": code.s3_object_url,
        "EXECUTIONS_URI": f"s3://{data_bucket.bucket_name}/{EXECUTIONS_PREFIX}",
        "MAX_MINUTES": str(minutes),
        "LIMIT_SECONDS": str(60 * minutes + 180),
        "BRAKE_MINUTES": str(minutes + 10),
    }
    exports = "".join(f"export {name}='{value}'\n" for name, value in variables.items())
    return f"#!/bin/bash\n{exports}{USER_DATA.read_text()}"


def tags(stack: BinventoryStack) -> list[CfnTag]:
    """The tags of every resource that bills."""
    return [CfnTag(key=key, value=value) for key, value in stack.settings.all_tags.items()]
