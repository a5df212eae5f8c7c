"""The smallest network in which a machine reaches AWS's APIs: public subnets, no NAT gateway, no cost."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

_SUBNETS = ("10.20.0.0/24", "10.20.1.0/24")
_ANYWHERE = "0.0.0.0/0"
_FLOW = "No flow log: one closed machine at a time speaks HTTPS here, and the log would bill."
_OUT = "The way out is what the network is for; the machines' security group lets nothing in."
_DEFAULT = "No machine is in the default group; emptying it needs a function with rights on the network."


class PublicNetwork(Construct):
    """A network with one subnet in each of two zones, and a free gateway to S3.

    Level 1 constructs: `ec2.Vpc` would look up the account's zones at synthesis.
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        vpc = ec2.CfnVPC(self, "Vpc", cidr_block="10.20.0.0/23", enable_dns_support=True, enable_dns_hostnames=True)
        gateway = ec2.CfnInternetGateway(self, "Gateway")
        attached = ec2.CfnVPCGatewayAttachment(self, "Attachment", vpc_id=vpc.ref, internet_gateway_id=gateway.ref)
        routes = ec2.CfnRouteTable(self, "Routes", vpc_id=vpc.ref)
        out = ec2.CfnRoute(
            self, "Out", route_table_id=routes.ref, destination_cidr_block=_ANYWHERE, gateway_id=gateway.ref
        )
        out.node.add_dependency(attached)
        _accept(vpc, _FLOW, "AwsSolutions::AwsSolutions-VPC7", "NIST.800.53.R5::NIST.800.53.R5-VPCFlowLogsEnabled")
        _accept(vpc, _DEFAULT, "NIST.800.53.R5::NIST.800.53.R5-VPCDefaultSecurityGroupClosed")
        _accept(out, _OUT, "NIST.800.53.R5::NIST.800.53.R5-VPCNoUnrestrictedRouteToIGW")
        self.vpc_id = vpc.ref
        self.subnet_ids = [self._subnet(vpc, routes, number, block) for number, block in enumerate(_SUBNETS)]
        ec2.CfnVPCEndpoint(
            self,
            "S3",
            vpc_id=vpc.ref,
            service_name=f"com.amazonaws.{cdk.Aws.REGION}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[routes.ref],
        )

    def _subnet(self, vpc: ec2.CfnVPC, routes: ec2.CfnRouteTable, number: int, block: str) -> str:
        subnet = ec2.CfnSubnet(
            self,
            f"Subnet{number}",
            vpc_id=vpc.ref,
            cidr_block=block,
            availability_zone=cdk.Fn.select(number, cdk.Fn.get_azs()),
            # The launch template requests a public address; any other machine in this subnet gets none.
            map_public_ip_on_launch=False,
        )
        ec2.CfnSubnetRouteTableAssociation(
            self, f"Association{number}", subnet_id=subnet.ref, route_table_id=routes.ref
        )
        return subnet.ref


def _accept(what: Construct, reason: str, *findings: str) -> None:
    for finding in findings:
        cdk.Validations.of(what).acknowledge(cdk.Acknowledgment(id=finding, reason=reason))
