"""Messages to the people who look after the environment."""

from __future__ import annotations

from clients import client


def tell(topic: str, subject: str, message: str) -> None:
    """Publishes a message; a subject is cut at the 100 characters that SNS takes."""
    client("sns").publish(TopicArn=topic, Subject=subject[:100], Message=message)
