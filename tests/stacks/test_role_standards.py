"""Strict accounts: every role has the boundary and the path; without the settings nothing changes."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_s3 as s3
from aws_cdk import custom_resources

from stacks.settings.security import SecuritySettings
from stacks.shared import role_standards
from tests.rights import with_every_role
from tests.stacks.templates import changed, resources, synthesize

BOUNDARY = "arn:aws:iam::123456789012:policy/workloads"


def test_every_role_has_the_boundary_and_the_path() -> None:
    settings = changed(with_every_role(), "security", permissions_boundary=BOUNDARY, role_path="/workloads/bins/")
    seen = 0
    for template in synthesize(settings).values():
        for name, role in resources(template, "AWS::IAM::Role").items():
            seen += 1
            assert role["Properties"]["PermissionsBoundary"] == BOUNDARY, name
            assert role["Properties"]["Path"] == "/workloads/bins/", name
    assert seen > 15


def test_roles_that_cdk_makes_for_itself_have_them_too() -> None:
    app = cdk.App(builtin_cloud_formation_validation=False)
    stack = cdk.Stack(app, "Stack")
    call = custom_resources.AwsSdkCall(
        service="S3", action="listBuckets", physical_resource_id=custom_resources.PhysicalResourceId.of("one")
    )
    any_resource = custom_resources.AwsCustomResourcePolicy.from_sdk_calls(
        resources=custom_resources.AwsCustomResourcePolicy.ANY_RESOURCE
    )
    custom_resources.AwsCustomResource(stack, "Call", on_create=call, policy=any_resource)
    s3.Bucket(stack, "Bucket", auto_delete_objects=True, removal_policy=cdk.RemovalPolicy.DESTROY)
    role_standards.apply(app, SecuritySettings(permissions_boundary=BOUNDARY, role_path="/own/"))
    roles = resources(app.synth().stacks[0].template, "AWS::IAM::Role")
    assert len(roles) == 2
    assert {role["Properties"]["PermissionsBoundary"] for role in roles.values()} == {BOUNDARY}
    assert {role["Properties"]["Path"] for role in roles.values()} == {"/own/"}
