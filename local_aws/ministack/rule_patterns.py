"""Rules that EventBridge refuses because their patterns have too many wildcards.

Uses `_event_pattern_error` of `services.eventbridge` of version 1.5.33; tests/contract/test_hooks.py fails if it moved
when ministack is upgraded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import wraps
from typing import Any, Final

from local_aws.ministack.stack_resources import refuse

# AWS documents no number. It has taken rules with six, and refused one with eight.
_MOST_WILDCARDS: Final = 6
_TOO_COMPLEX: Final = "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences"


def refuse_complex_rules() -> None:
    """Refuse a rule with more than six wildcards, by PutRule and in stacks."""
    from ministack.services import eventbridge

    known = eventbridge._event_pattern_error

    @wraps(known)
    def problem_of(pattern: Any) -> Any:
        return known(pattern) or _problem(json.loads(pattern) if pattern else {})

    eventbridge._event_pattern_error = problem_of
    refuse("AWS::Events::Rule", lambda properties: _in_stack(properties.get("EventPattern") or {}))


def _in_stack(pattern: Any) -> str:
    found = _problem(json.loads(pattern) if isinstance(pattern, str) else pattern)
    return f"Event pattern is not valid. Reason: {found}" if found else ""


def _problem(pattern: Any) -> str:
    return _TOO_COMPLEX if sum(text.count("*") for text in _wildcards(pattern)) > _MOST_WILDCARDS else ""


def _wildcards(pattern: Any) -> Iterator[str]:
    """Every text that is matched with wildcards."""
    if isinstance(pattern, list):
        for item in pattern:
            yield from _wildcards(item)
    elif isinstance(pattern, Mapping):
        for name, item in pattern.items():
            if name == "wildcard":
                yield from ([item] if isinstance(item, str) else item)
            else:
                yield from _wildcards(item)
