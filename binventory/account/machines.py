"""Lists EC2 instances, their volumes, and network resources."""

from __future__ import annotations

from collections.abc import Iterator

from binventory.account.resources import FREE, AccountReader, AccountResource, ResourceKind, command, entries, tags_of


def _instances(reader: AccountReader) -> Iterator[AccountResource]:
    for reservation in entries(reader.aws, "ec2", "describe_instances", "Reservations"):
        for raw in reservation["Instances"]:
            state = raw["State"]["Name"]
            if state in ("terminated", "shutting-down"):
                continue
            name, instance_type = raw["InstanceId"], raw["InstanceType"]
            # A stopped one bills its volumes, which no listing here adds up.
            dollars = None if state in ("stopped", "stopping") else reader.machine_month(instance_type)
            remove = command("aws", "ec2", "terminate-instances", "--instance-ids", name)
            yield AccountResource("instance", name, "", dollars, (remove,), tags_of(raw))


def _volumes(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "ec2", "describe_volumes", "Volumes"):
        # One in use goes with its machine, which is listed itself.
        if raw["State"] == "available":
            name = raw["VolumeId"]
            dollars = reader.unit("ebs_gb_month", raw["Size"])
            remove = command("aws", "ec2", "delete-volume", "--volume-id", name)
            yield AccountResource("volume", name, "", dollars, (remove,), tags_of(raw))


def _snapshots(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "ec2", "describe_snapshots", "Snapshots", OwnerIds=["self"]):
        name = raw["SnapshotId"]
        dollars = reader.unit("ebs_snapshot_gb_month", raw["VolumeSize"])
        remove = command("aws", "ec2", "delete-snapshot", "--snapshot-id", name)
        yield AccountResource("snapshot", name, "", dollars, (remove,), tags_of(raw))


def _launch_templates(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "ec2", "describe_launch_templates", "LaunchTemplates"):
        name = raw["LaunchTemplateName"]
        remove = command("aws", "ec2", "delete-launch-template", "--launch-template-name", name)
        yield AccountResource("launch template", name, "", FREE, (remove,), tags_of(raw))


def _network_endpoints(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "ec2", "describe_vpc_endpoints", "VpcEndpoints"):
        name = raw["VpcEndpointId"]
        # A gateway is free; an interface bills by the hour and zone, which the table does not hold.
        dollars = FREE if raw["VpcEndpointType"] == "Gateway" else None
        remove = command("aws", "ec2", "delete-vpc-endpoints", "--vpc-endpoint-ids", name)
        yield AccountResource("network endpoint", name, "", dollars, (remove,), tags_of(raw))


def _gateways(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "ec2", "describe_nat_gateways", "NatGateways"):
        if raw["State"] not in ("deleted", "deleting"):
            name = raw["NatGatewayId"]
            remove = command("aws", "ec2", "delete-nat-gateway", "--nat-gateway-id", name)
            yield AccountResource("NAT gateway", name, "", None, (remove,), tags_of(raw))


def _addresses(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "ec2", "describe_addresses", "Addresses"):
        name = raw["AllocationId"]
        remove = command("aws", "ec2", "release-address", "--allocation-id", name)
        yield AccountResource("public address", name, "", None, (remove,), tags_of(raw))


KINDS = (
    ResourceKind("instances", _instances),
    ResourceKind("volumes", _volumes),
    ResourceKind("snapshots", _snapshots),
    ResourceKind("launch templates", _launch_templates),
    ResourceKind("network endpoints", _network_endpoints),
    ResourceKind("NAT gateways", _gateways),
    ResourceKind("public addresses", _addresses),
)
