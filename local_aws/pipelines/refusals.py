"""How a pipeline definition is refused."""

from __future__ import annotations

from typing import Any

from local_aws.core.errors import AwsError, validation


def refused(why: str) -> AwsError:
    """A ValidationException that says what is wrong with a definition."""
    return validation(f"Unable to parse pipeline definition: {why}")


def refuse_unknown(what: str, item: dict[str, Any], known: frozenset[str]) -> None:
    """Refuse a member that nothing reads: a misspelt one would be left out in silence."""
    if unknown := sorted(item.keys() - known):
        raise refused(f"{what} has unknown members: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
