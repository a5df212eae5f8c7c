"""What must happen once a local AWS serves: mark or resume what its last run left unfinished."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from functools import partial

from local_aws.core.context import Context

StartHook = Callable[[Context], None]
_HOOKS: list[StartHook] = []


def on_start(hook: StartHook) -> StartHook:
    """Have the decorated function called, in a thread of its own, as soon as the port answers."""
    _HOOKS.append(hook)
    return hook


def run_start_hooks(context: Context, port: int) -> None:
    """Wait for the port, then start every hook."""
    while not context.stopping.is_set():
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.02)
    for hook in _HOOKS:
        context.start_thread(f"start {hook.__module__}", partial(hook, context))
