"""boto3 clients, each made once: in a function they take longer to make than to use."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import boto3

_LOCK = threading.Lock()


def client(service: str) -> Any:
    """The client of a service in boto3's default session."""
    with _LOCK:
        if boto3.DEFAULT_SESSION is None:
            boto3.setup_default_session()
        return _made(boto3.DEFAULT_SESSION, service)


@cache
def _made(session: Any, service: str) -> Any:
    return session.client(service)
