"""The VPC endpoints: a gateway endpoint for S3, interface endpoints for other services."""

from __future__ import annotations

from aws_cdk import Aws
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam

from stacks.shared import permissions
from stacks.shared.images import REGISTRY_ACCOUNT
from stacks.shared.stack import BinventoryStack


def gateway(stack: BinventoryStack, *, vpc_id: str, route_table_id: str) -> None:
    """The endpoint of S3, for this account's buckets, those that settings name, and the layers of images."""
    own = _own(stack, resources_of=[stack.account])
    layers = iam.PolicyStatement(
        sid="Layers",
        actions=["s3:GetObject"],
        resources=[f"arn:{Aws.PARTITION}:s3:::prod-{stack.region}-starport-layer-bucket/*"],
        principals=[iam.AnyPrincipal()],
    )
    ec2.CfnVPCEndpoint(
        stack,
        "S3",
        vpc_id=vpc_id,
        service_name=f"com.amazonaws.{stack.region}.s3",
        vpc_endpoint_type="Gateway",
        route_table_ids=[route_table_id],
        policy_document=iam.PolicyDocument(statements=[own, layers, _photos(stack)]),
    )


def _photos(stack: BinventoryStack) -> iam.PolicyStatement:
    """Read the buckets that settings name, which may belong to other accounts; for principals of this account, and for
    nobody in particular: Ingest reads a public bucket without credentials."""
    settings = stack.settings
    uris = [settings.data.photos_uri, *settings.batch.photos_uris, settings.data.labels_uri]
    uris.append(settings.training.weights)
    arns = sorted({permissions.bucket_arn_and_key(uri)[0] for uri in uris if uri.startswith("s3://")})
    return iam.PolicyStatement(
        sid="Photos",
        actions=["s3:GetObject", "s3:ListBucket"],
        resources=[*arns, *(f"{arn}/*" for arn in arns)],
        principals=[iam.AnyPrincipal()],
        # Of a request without credentials the key is `anonymous`, or absent.
        conditions={"StringEqualsIfExists": {"aws:PrincipalAccount": [stack.account, "anonymous"]}},
    )


def interface(
    stack: BinventoryStack, service: str, *, vpc_id: str, subnet_ids: tuple[str, ...], group: ec2.CfnSecurityGroup
) -> None:
    """The interface endpoint of one service, for this account's principals and resources."""
    # AWS's training images are in an account of AWS.
    accounts = [stack.account, REGISTRY_ACCOUNT] if service.startswith("ecr.") else [stack.account]
    ec2.CfnVPCEndpoint(
        stack,
        "".join(part.capitalize() for part in service.split(".")),
        vpc_id=vpc_id,
        service_name=f"com.amazonaws.{stack.region}.{service}",
        vpc_endpoint_type="Interface",
        private_dns_enabled=True,
        subnet_ids=list(subnet_ids),
        security_group_ids=[group.attr_group_id],
        policy_document=iam.PolicyDocument(statements=[_own(stack, resources_of=accounts)]),
    )


def _own(stack: BinventoryStack, *, resources_of: list[str]) -> iam.PolicyStatement:
    """Allow principals of this account, on resources of the given accounts. So no data leaves with the credentials of
    another account, or into its buckets. Some calls have no resource, hence IfExists."""
    return iam.PolicyStatement(
        sid="Own",
        actions=["*"],
        resources=["*"],
        principals=[iam.AnyPrincipal()],
        conditions={
            "StringEquals": {"aws:PrincipalAccount": stack.account},
            "StringEqualsIfExists": {"aws:ResourceAccount": resources_of},
        },
    )
