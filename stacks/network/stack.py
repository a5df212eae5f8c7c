"""A network without internet access: private subnets, and endpoints of the AWS services that are called."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
from aws_cdk import CfnOutput, Fn
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from stacks.network.endpoints import gateway, interface
from stacks.settings import Settings
from stacks.shared.job_network import JobNetwork
from stacks.shared.stack import BinventoryStack

_ZONES = 2
_ADDRESS_BITS = 32
_HTTPS = 443
# Findings about the network that are accepted, with the reason.
_MEANT = {
    "AwsSolutions::AwsSolutions-VPC7": "Nothing is routed but AWS's own endpoints, whose calls CloudTrail records.",
    "NIST.800.53.R5::NIST.800.53.R5-VPCFlowLogsEnabled": "As above: flow logs would show AWS's endpoints only.",
    "NIST.800.53.R5::NIST.800.53.R5-VPCDefaultSecurityGroupClosed": "Nothing uses the default security group.",
}


class NetworkStack(BinventoryStack):
    """Private subnets in two zones, a gateway endpoint for S3, interface endpoints; no NAT, no internet gateway."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings) -> None:
        super().__init__(scope, construct_id, settings=settings, role="network", purpose="the network of the jobs")
        self._cidr = settings.network.cidr
        self._vpc = ec2.CfnVPC(self, "Vpc", cidr_block=self._cidr, enable_dns_hostnames=True, enable_dns_support=True)
        for rule, reason in _MEANT.items():
            cdk.Validations.of(self._vpc).acknowledge(cdk.Acknowledgment(id=rule, reason=reason))
        self._routes = ec2.CfnRouteTable(self, "Routes", vpc_id=self._vpc.ref)
        subnets = [self._subnet(zone) for zone in range(_ZONES)]
        jobs = self._jobs_group()
        self.network = JobNetwork(tuple(subnet.ref for subnet in subnets), (jobs.attr_group_id,))
        gateway(self, vpc_id=self._vpc.ref, route_table_id=self._routes.ref)
        endpoints = self._endpoints_group()
        for service in settings.network.endpoints:
            interface(self, service, vpc_id=self._vpc.ref, subnet_ids=self.network.subnet_ids, group=endpoints)
        CfnOutput(self, "SubnetIds", value=Fn.join(" ", list(self.network.subnet_ids)))
        CfnOutput(self, "SecurityGroupIds", value=Fn.join(" ", list(self.network.security_group_ids)))

    def _subnet(self, zone: int) -> ec2.CfnSubnet:
        bits = _ADDRESS_BITS - int(self._cidr.partition("/")[2]) - 1  # half of the addresses each
        subnet = ec2.CfnSubnet(
            self,
            f"Subnet{zone + 1}",
            vpc_id=self._vpc.ref,
            cidr_block=Fn.select(zone, Fn.cidr(self._cidr, _ZONES, str(bits))),
            # CloudFormation fills in the zones: a lookup would call AWS at synthesis.
            availability_zone=Fn.select(zone, Fn.get_azs()),
            map_public_ip_on_launch=False,
        )
        ec2.CfnSubnetRouteTableAssociation(
            self, f"Subnet{zone + 1}Routes", subnet_id=subnet.ref, route_table_id=self._routes.ref
        )
        return subnet

    def _jobs_group(self) -> ec2.CfnSecurityGroup:
        within: dict[str, Any] = {
            "ip_protocol": "-1",
            "cidr_ip": self._cidr,
            "description": "Machines of one job, endpoints of AWS",
        }
        group = ec2.CfnSecurityGroup(
            self,
            "Jobs",
            vpc_id=self._vpc.ref,
            group_description="Jobs and endpoint: within the network, and S3",
            security_group_ingress=[ec2.CfnSecurityGroup.IngressProperty(**within)],
            security_group_egress=[
                ec2.CfnSecurityGroup.EgressProperty(**within),
                ec2.CfnSecurityGroup.EgressProperty(
                    ip_protocol="tcp",
                    from_port=_HTTPS,
                    to_port=_HTTPS,
                    cidr_ip="0.0.0.0/0",
                    description="S3 by its gateway: no other address outside has a route",
                ),
            ],
        )
        reason = "The machines of one job choose their ports; only addresses of this network are let in."
        rule = "NIST.800.53.R5::NIST.800.53.R5-EC2RestrictedCommonPorts"
        cdk.Validations.of(group).acknowledge(cdk.Acknowledgment(id=rule, reason=reason))
        return group

    def _endpoints_group(self) -> ec2.CfnSecurityGroup:
        https: dict[str, Any] = {"ip_protocol": "tcp", "from_port": _HTTPS, "to_port": _HTTPS, "cidr_ip": self._cidr}
        return ec2.CfnSecurityGroup(
            self,
            "Endpoints",
            vpc_id=self._vpc.ref,
            group_description="Interfaces of the endpoints of AWS",
            security_group_ingress=[ec2.CfnSecurityGroup.IngressProperty(**https, description="Jobs and endpoint")],
            # Without an egress rule EC2 allows all traffic out.
            security_group_egress=[ec2.CfnSecurityGroup.EgressProperty(**https, description="Nothing is asked")],
        )
