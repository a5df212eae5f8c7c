"""A serving container in a few lines: it does what `model/behaviour.json` of its artefact says.

It reads HTTP itself, because some tests start dozens of it and to import `http.server` is half of such a start.

name: goes into every answer. crash: exit while loading. status: of every answer. seconds: before every answer.
seen: a file that the first request makes. until: a file; no answer comes before it exists.
endless: answers have no Content-Length. ping_status: of /ping. ready: a file; /ping gets a 503 before it exists.
counts: answer as a count model of these counts does; a photo is text that says its count: b"count 3". One of
b"count 3 until FILE" gets no answer before that file exists.
A request body of b"die" ends the process; one of b"refuse" gets a 400 (in a transform job of a count model, an answer
with an error).
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from socket import SHUT_RDWR
from socketserver import StreamRequestHandler, ThreadingTCPServer

BASE = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
BEHAVIOUR = json.loads((BASE / "model" / "behaviour.json").read_text())


class Server(ThreadingTCPServer):
    """A thread for each connection."""

    allow_reuse_address = True
    daemon_threads = True


class Handler(StreamRequestHandler):
    """GET /ping and POST /invocations, until the client closes the connection."""

    wbufsize = -1  # headers and body leave together

    def handle(self) -> None:
        """Answer one request after the other."""
        while request := self._line():
            self.headers: dict[str, str] = {}
            while header := self._line():
                name, _, value = header.partition(":")
                self.headers[name.lower()] = value.strip()
            method, path, _ = request.split()
            status, document = self._ping(path) if method == "GET" else self._invocation()
            print(f'"{request}" {status}', flush=True)  # one line a request, as a container's log
            self._answer(status, document)

    def _line(self) -> str:
        return self.rfile.readline().decode("latin-1").rstrip("\r\n")

    def _ping(self, path: str) -> tuple[int, dict[str, object]]:
        if path != "/ping":
            return 404, {}
        ready = "ready" not in BEHAVIOUR or Path(BEHAVIOUR["ready"]).exists()
        return (BEHAVIOUR.get("ping_status", 200) if ready else 503), {}

    def _invocation(self) -> tuple[int, dict[str, object]]:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if body == b"die":
            os._exit(3)
        if "seen" in BEHAVIOUR:
            Path(BEHAVIOUR["seen"]).touch()
        time.sleep(BEHAVIOUR.get("seconds", 0))
        while "until" in BEHAVIOUR and not Path(BEHAVIOUR["until"]).exists():
            time.sleep(0.02)
        _, waits, file = body.decode("latin-1").partition(" until ")
        while waits and not Path(file).exists():
            time.sleep(0.02)
        if body == b"refuse":
            in_place = "counts" in BEHAVIOUR and "SAGEMAKER_BATCH" in os.environ
            error = {"reason": "unreadable", "message": "refused, it is no photo"}
            return 200 if in_place else 400, {"error": error}
        if "counts" in BEHAVIOUR:
            return 200, self._count(int(body.split()[1]))
        return BEHAVIOUR.get("status", 200), {
            "name": BEHAVIOUR.get("name"),
            "bytes": len(body),
            "content_type": self.headers.get("content-type"),
            "environment": {key: os.environ.get(key) for key in ("GREETING", "MODE", "MODEL_PACKAGE_ARN")},
            "batch": os.environ.get("SAGEMAKER_BATCH"),
            "process": os.getpid(),
        }

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

    def _answer(self, status: int, document: dict[str, object]) -> None:
        body = json.dumps(document).encode()
        headers = {"Content-Type": "application/json"}
        if status != 200 or "endless" not in BEHAVIOUR:
            headers["Content-Length"] = str(len(body))
        if custom := self.headers.get("x-amzn-sagemaker-custom-attributes"):
            headers["X-Amzn-SageMaker-Custom-Attributes"] = custom
        lines = [f"HTTP/1.1 {status} ", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self.wfile.write("\r\n".join(lines).encode("latin-1") + body)
        self.wfile.flush()
        if "Content-Length" not in headers:
            self.connection.shutdown(SHUT_RDWR)


if __name__ == "__main__":
    if BEHAVIOUR.get("crash"):
        print("cannot load the model: behaviour.json says crash", flush=True)
        sys.exit(1)
    print(f"serving {BEHAVIOUR.get('name')}", flush=True)
    Server(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
