"""The ingest command on a local bucket: in this process, or as one of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.object_server import BUCKET, ObjectServer
from ingest import launch
from ingestion import source

PHOTOS = f"s3://{BUCKET}/"


def forget_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket is public: whatever the environment has of credentials is not for it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)


def ingest(server: ObjectServer, output: Path, *arguments: str) -> int:
    """Run the command against the server."""
    os.environ["AWS_ENDPOINT_URL"] = server.endpoint_url
    try:
        return launch(["--photos-uri", PHOTOS, "--output", str(output), "--cores", "2", *arguments])
    finally:
        del os.environ["AWS_ENDPOINT_URL"]


def ingest_process(server: ObjectServer, output: Path, *arguments: str) -> subprocess.Popen[str]:
    """The same in a process group of its own, as a terminal would start it; its standard error is a pipe."""
    code = Path(source.__file__).parents[1]
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": server.endpoint_url,
        "PYTHONPATH": os.pathsep.join(map(str, (code, code.parent / "inference_code", code.parent))),
    }
    command = [sys.executable, str(code / "ingest.py"), "--photos-uri", PHOTOS, "--output", str(output), *arguments]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Where the tests run in the background, Ctrl-C is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
