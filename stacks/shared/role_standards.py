"""What a strict account asks of every role: a permissions boundary and a path."""

from __future__ import annotations

from aws_cdk import App, CfnResource

from stacks.settings.security import SecuritySettings


def apply(app: App, security: SecuritySettings) -> None:
    """Gives every role of every stack the boundary and the path, those that CDK makes for itself included.

    Call it when all stacks are built.
    """
    wanted = {}
    if security.permissions_boundary != "none":
        wanted["PermissionsBoundary"] = security.permissions_boundary
    if security.role_path != "/":
        wanted["Path"] = security.role_path
    if not wanted:
        return
    for construct in app.node.find_all():
        # Not every role is a CfnRole: the providers of CDK's custom resources make theirs as plain resources.
        if isinstance(construct, CfnResource) and construct.cfn_resource_type == "AWS::IAM::Role":
            for name, value in wanted.items():
                construct.add_property_override(name, value)
