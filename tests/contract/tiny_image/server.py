"""A serving container in a few lines: it does what `model/behaviour.json` of its artefact says.

name: goes into every answer. crash: exit while loading. status: of every answer. seconds: before every answer.
ping_status: of /ping.
counts: answer as a count model of these counts does; a photo is text that says its count: b"count 3".
A request body of b"die" ends the process; one of b"refuse" gets a 400 (in a transform job of a count model, an answer
with an error).
"""

from __future__ import annotations

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BASE = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
BEHAVIOUR = json.loads((BASE / "model" / "behaviour.json").read_text())


class Handler(BaseHTTPRequestHandler):
    """GET /ping and POST /invocations."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave together

    def do_GET(self) -> None:
        """Answer /ping."""
        self._answer(BEHAVIOUR.get("ping_status", 200) if self.path == "/ping" else 404, {})

    def do_POST(self) -> None:
        """Answer /invocations."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if body == b"die":
            os._exit(3)
        time.sleep(BEHAVIOUR.get("seconds", 0))
        if body == b"refuse":
            in_place = "counts" in BEHAVIOUR and "SAGEMAKER_BATCH" in os.environ
            error = {"reason": "unreadable", "message": "refused, it is no photo"}
            self._answer(200 if in_place else 400, {"error": error})
            return
        if "counts" in BEHAVIOUR:
            self._answer(200, self._count(int(body.split()[1])))
            return
        answer = {
            "name": BEHAVIOUR.get("name"),
            "bytes": len(body),
            "content_type": self.headers.get("Content-Type"),
            "environment": {key: os.environ.get(key) for key in ("GREETING", "MODE", "MODEL_PACKAGE_ARN")},
            "batch": os.environ.get("SAGEMAKER_BATCH"),
            "process": os.getpid(),
        }
        self._answer(BEHAVIOUR.get("status", 200), answer)

    def _count(self, count: int) -> dict[str, object]:
        shares = {str(each): 0.8 if each == count else 0.05 for each in BEHAVIOUR["counts"]}
        package = os.environ.get("MODEL_PACKAGE_ARN")
        return {
            "count": count,
            "probabilities": shares,
            "expected_count": 3.0,
            "entropy": 0.8,
            "model": {"package": package},
        }

    def log_message(self, format: str, *args: object) -> None:
        """One line a request, as a container's log."""
        print(format % args, flush=True)

    def _answer(self, status: int, document: dict[str, object]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        custom = self.headers.get("X-Amzn-SageMaker-Custom-Attributes")
        if custom:
            self.send_header("X-Amzn-SageMaker-Custom-Attributes", custom)
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    if BEHAVIOUR.get("crash"):
        print("cannot load the model: behaviour.json says crash", flush=True)
        sys.exit(1)
    print(f"serving {BEHAVIOUR.get('name')}", flush=True)
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
