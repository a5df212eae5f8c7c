"""What a change of the serving stack that is under way means, and what can be done about it."""

from __future__ import annotations

from binventory.core.names import Names
from binventory.serving.endpoint import EndpointState

_CANCELLABLE = "UPDATE_IN_PROGRESS"


def explained(names: Names, state: EndpointState) -> tuple[str, ...]:
    """Sentences about a serving stack that changes now; empty for one at rest."""
    if state.rests:
        return ()
    what = (
        f"The stack {names.serving_stack} is {state.stack_status}: CloudFormation changes it now, "
        "for example in a rollout, and takes no other change until it has ended."
    )
    if "ROLLBACK" in state.stack_status:
        return (what, "It is being put back to what it was before; that cannot be stopped.")
    if state.stack_status == _CANCELLABLE:
        cancel = f"aws cloudformation cancel-update-stack --stack-name {names.serving_stack}"
        return (what, f"To take the change back, so that the endpoint serves as before: {cancel}")
    return (what,)


def advice(names: Names, state: EndpointState) -> tuple[str, ...]:
    """What still bills behind the endpoint, or will, and how to end it; empty where nothing does."""
    off = names.command("endpoint off")
    if not state.rests:
        return (*explained(names, state), f"To end the endpoint's bill instead: {off} (done once the change has ended)")
    if state.status != "absent":
        return (f"The endpoint {state.name} is {state.status} and bills. To turn it off: {off}",)
    return ()
