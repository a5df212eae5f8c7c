"""CloudFormation: the resource types, stack events and service roles that ministack lacks."""

from __future__ import annotations

from local_aws.cloudformation import account, property_names, sagemaker, scaling, service_role
from local_aws.cloudformation.resource_type import ResourceType
from local_aws.core.context import Context
from local_aws.ministack import hooks, stack_resources, stack_roles

RESOURCE_TYPES: list[ResourceType] = [*sagemaker.TYPES, *account.TYPES, *scaling.TYPES]


def add_resource_types(context: Context) -> None:
    """Add every type of `RESOURCE_TYPES` to ministack's CloudFormation, and hold all types to their properties."""
    hooks.add_resource_types(kind.handlers(context) for kind in RESOURCE_TYPES)
    stack_resources.refuse_by_type(property_names.problem)


def follow_service_roles(context: Context) -> None:
    """Act with the service role of a stack, once every resource type is there."""
    stack_roles.follow_service_roles(account=context.account, region=context.region, enforced=context.enforce_iam)
    if context.enforce_iam:
        requesting = [*sagemaker.TYPES, *scaling.TYPES]
        service_role.enforce(context, frozenset(kind.name for kind in requesting))


def publish_stack_events(context: Context) -> None:
    """Send "CloudFormation Stack Status Change" to EventBridge whenever a stack changes its status."""

    def send(stack_id: str, status: str, reason: str) -> None:
        detail = {
            "stack-id": stack_id,
            "status-details": {"status": status, "status-reason": reason},
            "client-request-token": "",
        }
        context.start_thread(
            "stack status event",
            lambda: context.emit_event(
                "CloudFormation Stack Status Change", detail, [stack_id], source="aws.cloudformation"
            ),
        )

    hooks.on_stack_status(send)
