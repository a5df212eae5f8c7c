"""Promotion and the endpoint's guards: the one function that changes the serving stack.

It compares what should serve (promotion/decision.py) with what does, acts if the stack is free, and ends. It never
waits for the stack: EventBridge calls it again whenever the stack or the endpoint settles, a model package changes or a
budget alert comes, and by a schedule. An event is only a hint. Called twice, it acts once; calls at once take turns
(promotion/turns.py). A `cdk deploy` may begin at any time: of two updates CloudFormation takes one.

The event `{"endpoint": "on" | "off", "by": who}` also requests to turn the endpoint on or off; the command line and the
serving hours send it. The serving hours add `at`, the time that the schedule names: EventBridge delivers at least once,
and an event that comes again must not undo what was requested after it. A request that finds the stack busy waits until
the stack is free.
"""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

from budget_guard import current_budget, is_spent
from functions.aws import stop_running
from functions.interface import FunctionReport, read_environment
from promotion import notices, registry
from promotion.decision import ServingDecision, ServingFacts, decide
from promotion.idle_guard import idle_for
from promotion.memory import Decided, Memory, SwitchRequest
from promotion.notices import Notices
from promotion.rollouts import Standing, delete_replaced, failed_rollout, standing
from promotion.serving_stack import (
    ServedEndpoint,
    ServingStack,
    Stack,
    StackBusyError,
    find_endpoint,
)
from promotion.turns import turn
from stacks.environments import ReconcileEnvironment
from stacks.names import ENDPOINT_STATE, MODEL_DIGEST, MODEL_PACKAGE_ARN, version_of


def handler(event: dict[str, Any], context: object) -> dict[str, str]:
    """Compares once.

    The outcome is `turned on`, `turned off` or `promoting` where an update was started, `busy` where one is in
    progress, `held` where the endpoint is kept off or the stack accepts no update, and otherwise `left`.

    Raises:
        VariableError, ValueError, TurnError, botocore.exceptions.ClientError: requests are kept; Lambda tries
            again, and so does the next event.
    """
    variables = read_environment(ReconcileEnvironment)
    memory = Memory(variables.memory_bucket)
    requested = None
    if "endpoint" in event:
        requested = memory.add(event["endpoint"], event.get("by", "a person"), event.get("at", ""))
    spent, stopped = "", 0
    report = FunctionReport("held", "the comparison failed")
    try:
        # First the endpoint, which bills without end; then the executions, which end by themselves.
        with turn(variables.memory_bucket):
            # In its turn: what was spent while it waited counts.
            spent = _spent(variables)
            report = _Comparison(variables, memory, spent).run(event, requested)
    finally:
        if spent:
            stopped = stop_running(variables.pipelines)
            if stopped or report.outcome == "turned off":
                notices.spent(
                    variables.alerts_topic, variables.budget, variables.endpoint, spent, report.outcome, stopped
                )
    if stopped:
        report = FunctionReport(report.outcome, f"{report.reason}; executions stopped: {stopped}")
    return report.logged()


def _spent(variables: ReconcileEnvironment) -> str:
    """That the budget is spent, in words; empty while it is not, and without a budget guard."""
    if not variables.guard_percent:
        return ""
    found = current_budget(variables.account, variables.budget)
    return str(found) if is_spent(found, variables.guard_percent) else ""


class _Comparison:
    """One comparison."""

    def __init__(self, variables: ReconcileEnvironment, memory: Memory, spent: str) -> None:
        self._variables = variables
        self._memory = memory
        self._spent = spent
        self._serving = ServingStack(variables.serving_stack, variables.update_role)

    def run(self, event: dict[str, Any], requested: SwitchRequest | None = None) -> FunctionReport:
        """Compares, and acts if the stack is free. `requested` is the request in this event."""
        stack = self._serving.look()
        if stack is None:
            return self._without_stack(event)
        if stack.busy:
            return FunctionReport("busy", f"stack {self._serving.name} is {stack.status}: its end calls again")
        found = find_endpoint(self._variables.endpoint)
        stands = standing(self._serving, stack, found)
        if stands.difference and self._serving.look() != stack:
            # A `cdk deploy` has begun an update: what differs may be of the update, and no rollout was undone.
            return FunctionReport("busy", f"stack {self._serving.name} has begun an update: its end calls again")
        decided = self._memory.decided(stack.id)
        messages = Notices(self._variables.alerts_topic, set(decided.sent))
        messages.add(notices.of_stack(self._variables.endpoint, self._serving, stack, stands, self._arn_of))
        if not messages.sent.issuperset(messages.keys):
            # Before a package is rejected, since that calls this function again.
            decided = self._memory.keep(replace(decided, sent=(*decided.sent, *messages.keys)))
        newest = self._newest(stack, stands, messages)
        waiting = self._memory.requests()
        messages.add(
            notices.unreadable(self._variables.endpoint, self._variables.memory_bucket, key, why)
            for key, why in self._memory.unreadable.items()
        )
        if requested and requested.key not in {request.key for request in waiting}:
            # A call before this one's turn has decided it; this caller gets the answer too.
            waiting.append(requested)
        # Requests for an earlier stack, since deleted, do not count, nor do those that a later one has overtaken.
        current = [request for request in waiting if request.at >= stack.created and request.follows(decided.switched)]
        decision = decide(
            ServingFacts(
                package=stack.package,
                state=stack.state,
                newest=newest,
                decided=version_of(stack.package) if decided.version is None else decided.version,
                request=current[-1] if current else None,
                idle=self._idle(stack, found),
                spent=self._spent,
            )
        )
        report = self._act(stack, found, decision, asked=bool(current))
        if report.outcome != "busy" and stack.usable:
            if decision.new and decision.held:
                messages.add([notices.not_served(self._variables.endpoint, decision.package, decision.held)])
            decided = replace(
                decided,
                version=newest.version if newest else decided.version,
                switched=_latest(decided, current, newest if decision.new else None),
            )
            self._memory.keep(replace(decided, sent=messages.keys))
            self._memory.forget(waiting)
        else:
            self._memory.keep(replace(decided, sent=messages.keys))
        if requested and requested not in current:
            late = f"the request of {requested.at:%Y-%m-%d %H:%M:%S} UTC is older than what was decided since"
            report = FunctionReport(report.outcome, f"{report.reason}; {late}")
        if report.outcome in {"left", "held"} and not stands.difference and "detail" in event:
            delete_replaced(self._serving, stack)
        return report

    def _without_stack(self, event: dict[str, Any]) -> FunctionReport:
        if deleted := event.get("detail", {}).get("stack-id"):
            # CloudFormation retained what rollouts had replaced, and does not delete it with the stack.
            delete_replaced(ServingStack(deleted))
        return FunctionReport("left", f"there is no stack {self._serving.name}: the endpoint is off")

    def _newest(self, stack: Stack, stands: Standing, messages: Notices) -> registry.Package | None:
        """The newest approved package whose rollout has not failed since it was approved."""
        for package in registry.approved(self._variables.model_package_group):
            if package.arn == stack.package:
                if not stands.undone:
                    return package
                registry.refuse(package.arn, f"Rolled back: {stands.undone}")
                continue
            failed = failed_rollout(self._serving, package)
            if failed is None:
                return package
            messages.add(
                [notices.rolled_back(self._variables.endpoint, self._serving.name, failed, stands, self._arn_of)]
            )
            registry.refuse(package.arn, f"Rolled back: {failed.failure}")
        if stack.serves:
            messages.add([notices.nothing_approved(self._variables.endpoint, stack.package)])
        return None

    def _arn_of(self, version: int) -> str:
        return registry.arn_of(self._variables.account, self._variables.model_package_group, version)

    def _idle(self, stack: Stack, found: ServedEndpoint | None) -> str:
        seconds = self._variables.idle_seconds
        if not seconds or not stack.serves or found is None:
            return ""
        return idle_for(found, self._variables.variant, seconds)

    def _act(
        self, stack: Stack, found: ServedEndpoint | None, decision: ServingDecision, *, asked: bool
    ) -> FunctionReport:
        wanted, promotes = _changes(stack, decision)
        if wanted and not stack.usable:
            cure = "repair it with `cdk deploy`, or continue its rollback"
            return FunctionReport("held", f"stack {self._serving.name} is {stack.status}: {cure}")
        if wanted and found is not None and found.changing:
            return FunctionReport("busy", f"endpoint {found.name} is {found.status}: its end calls again")
        try:
            if not wanted or not self._serving.change(wanted, promotes=promotes):
                return _unchanged(stack, decision, asked=asked)
        except StackBusyError as busy:
            return FunctionReport("busy", f"{busy}: its end calls again")
        if decision.idle:
            notices.idle(self._variables.alerts_topic, self._variables.endpoint, decision.because)
        gets = [f"the endpoint gets {decision.package}"] if promotes else []
        outcome = "promoting" if decision.state == stack.state else f"turned {decision.state}"
        return FunctionReport(
            outcome, "; ".join([reason for reason in (decision.held or decision.because,) if reason] + gets)
        )


def _latest(decided: Decided, requests: list[SwitchRequest], new: registry.Package | None) -> datetime.datetime | None:
    """Time of the latest request or approval that is decided now or was before."""
    moments = [request.at for request in requests]
    moments += [moment for moment in (decided.switched, new.approved_at if new else None) if moment]
    return max(moments, default=None)


def _changes(stack: Stack, decision: ServingDecision) -> tuple[dict[str, str], int]:
    """The parameters to change, and the version that this promotes (0: none)."""
    wanted = {} if decision.state == stack.state else {ENDPOINT_STATE: decision.state}
    if decision.state == "on" and decision.package != stack.package:
        wanted[MODEL_PACKAGE_ARN] = decision.package
        if MODEL_DIGEST in stack.parameters:
            wanted[MODEL_DIGEST] = registry.digest_of(decision.package)
        return wanted, version_of(decision.package)
    return wanted, 0


def _unchanged(stack: Stack, decision: ServingDecision, *, asked: bool) -> FunctionReport:
    if decision.held and (asked or decision.because):
        return FunctionReport("held", f"{decision.held}: the endpoint stays {stack.state}")
    if stack.serves:
        return FunctionReport("left", f"the endpoint serves {stack.package}")
    return FunctionReport("left", "the endpoint is off")
