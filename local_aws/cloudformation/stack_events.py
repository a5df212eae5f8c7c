"""CloudFormation's events: EventBridge hears of every state that a stack enters, which ministack leaves out."""

from __future__ import annotations

from local_aws.core.context import Context
from local_aws.ministack import hooks


def publish(context: Context) -> None:
    """From now on, send "CloudFormation Stack Status Change" as AWS does."""

    def tell(stack_id: str, status: str, reason: str) -> None:
        detail = {
            "stack-id": stack_id,
            "status-details": {"status": status, "status-reason": reason},
            "client-request-token": "",
        }
        name = "stack status event"
        context.start_thread(
            name,
            lambda: context.emit_event(
                "CloudFormation Stack Status Change", detail, [stack_id], source="aws.cloudformation"
            ),
        )

    hooks.on_stack_status(tell)
