"""The permissions boundary and the path that a strict account demands of every role."""

from __future__ import annotations

from aws_cdk import App, CfnResource

from stacks.settings.security import SecuritySettings


def apply(app: App, security: SecuritySettings) -> None:
    """Sets boundary and path on every role of every stack, also on the roles that the CDK creates itself.

    Call it after all stacks are built.
    """
    wanted = {}
    if security.permissions_boundary != "none":
        wanted["PermissionsBoundary"] = security.permissions_boundary
    if security.role_path != "/":
        wanted["Path"] = security.role_path
    if not wanted:
        return
    for construct in app.node.find_all():
        # Not every role is a CfnRole: the CDK's custom resource providers create plain resources.
        if isinstance(construct, CfnResource) and construct.cfn_resource_type == "AWS::IAM::Role":
            for name, value in wanted.items():
                construct.add_property_override(name, value)
