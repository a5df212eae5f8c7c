"""The endpoint's server in a separate process, as its container runs it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from local_aws.core.host import free_port

SERVER = Path(__file__).resolve().parents[1] / "inference_code" / "server.py"


@dataclass(frozen=True)
class Endpoint:
    """A running server."""

    url: str
    process: subprocess.Popen[str]
    output: Path

    def post(self, body: bytes, content_type: str, **headers: str) -> httpx.Response:
        return httpx.post(
            f"{self.url}/invocations", content=body, headers={"content-type": content_type, **headers}, timeout=30
        )

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.read_text().splitlines()]


@contextmanager
def running(folder: Path, base: Path, **environment: str) -> Iterator[Endpoint]:
    """The server on base/model, with its log in `folder`, until the block ends."""
    port = free_port()
    output = folder / f"server-{port}.log"
    with output.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, str(SERVER), "serve"],
            stdout=stream,
            stderr=stream,
            text=True,
            env={
                "PATH": os.environ["PATH"],
                "SAGEMAKER_BASE_DIR": str(base),
                "SAGEMAKER_BIND_TO_PORT": str(port),
                "BINVENTORY_BIND_HOST": "127.0.0.1",
                **environment,
            },
        )
    endpoint = Endpoint(f"http://127.0.0.1:{port}", process, output)
    try:
        wait_until(lambda: process.poll() is not None or listening(port))
        yield endpoint
    finally:
        process.terminate()
        process.wait(30)


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
