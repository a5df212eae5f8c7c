"""The roles with which functions and schedules act: each must exist and trust its service, as on AWS.

ministack takes any address, and gives a function the rights of a role that does not trust Lambda.

Uses `services.scheduler._error` and `core.responses.error_response_json` of version 1.5.33.
tests/contract/test_hooks.py fails for one that moved when ministack is upgraded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from local_aws.ministack import trust
from local_aws.ministack.refusals import FUNCTIONS, SCHEDULES, Answer, before_writing
from local_aws.ministack.stack_resources import Problem, Properties, refuse_invalid

_LAMBDA: Final = "The role defined for the function cannot be assumed by Lambda."
_SCHEDULER: Final = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."


def require_trusting_roles(*, account: str, region: str) -> None:
    """Refuse functions and schedules with a role that does not exist or that does not trust the service."""
    from ministack.core.responses import error_response_json
    from ministack.services import scheduler

    def unassumable(role: Any, service: str, words: str, source: str = "") -> str:
        principal = f"{service}.amazonaws.com"
        trusts = partial(trust.is_trusting, account=account, region=region, principal=principal, source=source)
        return words if role and not trusts(str(role)) else ""

    def of_function(asked: Properties) -> str:
        return unassumable(asked.get("Role"), "lambda", _LAMBDA)

    def of_schedule(asked: Properties) -> str:
        target = asked.get("Target")
        role = target.get("RoleArn") if isinstance(target, dict) else None
        # AWS names the group of the schedule as the source, not the schedule.
        group = f"arn:aws:scheduler:{region}:{account}:schedule-group/{asked.get('GroupName') or 'default'}"
        return unassumable(role, "scheduler", _SCHEDULER, group)

    def refuse_function(code: str, words: str, status: int) -> Any:
        return error_response_json("InvalidParameterValueException" if status == 400 else code, words, status)

    def refuse_schedule(code: str, words: str, status: int) -> Any:
        return scheduler._error(status, "ValidationException" if status == 400 else code, words)

    _check_requests("lambda", FUNCTIONS, of_function, refuse_function)
    _check_requests("scheduler", SCHEDULES, of_schedule, refuse_schedule)
    refuse_invalid("AWS::Lambda::Function", of_function)
    refuse_invalid("AWS::Scheduler::Schedule", of_schedule)


def _check_requests(service: str, paths: re.Pattern[str], problem: Problem, refuse: Callable[..., Answer]) -> None:
    def refusal(asked: Properties) -> Answer | None:
        try:
            wrong = problem(asked)
        except trust.ConditionNotHeldError as error:
            return refuse("NotImplemented", str(error), 501)
        return refuse("", wrong, 400) if wrong else None

    before_writing(service, paths, refusal)
