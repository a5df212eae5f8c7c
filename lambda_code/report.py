"""What a function says: its result, which is logged and returned, and messages to people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from clients import client


@dataclass(frozen=True)
class Report:
    """What a function decided."""

    outcome: str
    """A word or two that programs compare, such as `left` or `started`."""
    reason: str

    def logged(self) -> dict[str, str]:
        """Prints the report as one line and returns it as the function's result."""
        record = asdict(self)
        print(json.dumps(record))
        return record


def tell(topic: str, subject: str, message: str) -> None:
    """Sends a message to the people who look after the environment; SNS takes 100 characters of a subject."""
    client("sns").publish(TopicArn=topic, Subject=subject[:100], Message=message)
