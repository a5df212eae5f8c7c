"""Twenty thousand good and hostile requests in a row: nothing crashes, memory stays flat, every good answer is right.

    python -m benchmarks.soak                                  # a small real model: minutes
    python -m benchmarks.soak --model model.tar.gz             # your own artefact
    python -m benchmarks.soak --requests 2000

The good requests are photos whose answer was computed before without a server, as JPEG, PNG, pixels and batches. The
hostile ones are bombs, truncated files, mutations, wrong types and sizes, clients that disconnect, and URLs.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import io
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
from PIL import Image

from benchmarks import REPOSITORY
from benchmarks.endpoint.load import free_port
from binventory.render import render_bin
from inference import CountingModel, Reading, predict_fn
from server import load
from serving.answers import Answer
from tests import grey_model

_CLIENTS: Final = 4
_FLAT_BYTES: Final = 16 * 1024**2
_GOOD_SHARE: Final = 0.6


@dataclass(frozen=True)
class Request:
    """What is sent, and the counts that must come back; None where any 4xx (or, for mutations, any count) will do."""

    kind: str
    body: bytes
    content_type: str
    counts: tuple[int, ...] | None = None
    may_be_read: bool = False
    hang_up: bool = False


@dataclass
class Report:
    """What happened; written by several threads under a lock."""

    kinds: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    @property
    def growth(self) -> int:
        """Bytes of resident memory gained between the second quarter of the run and the last."""
        quarter = max(1, len(self.memory) // 4)
        return int(np.median(self.memory[-quarter:]) - np.median(self.memory[quarter : 2 * quarter]))


def main() -> int:
    """Run and report; the exit status is 1 when a claim was missed."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or grey_model.write(Path(folder) / "model")
        requests = _requests(load(model), random.Random(options.seed))
        report = _soak(model, requests, options.requests, random.Random(options.seed + 1))
    for kind, number in sorted(report.kinds.items()):
        print(f"  {kind:28} {number}")
    print(f"statuses: {dict(sorted(report.statuses.items()))}")
    for line in report.wrong[:10]:
        print(f"  wrong: {line}")
    failures = sum(number for status, number in report.statuses.items() if status >= 500)
    held = [
        _claim("wrong_answers", len(report.wrong), 0),
        _claim("server_errors", failures, 0),
        _claim("memory_growth_mb", report.growth / 1024**2, _FLAT_BYTES / 1024**2),
    ]
    return 0 if all(held) else 1


def _claim(name: str, value: float, goal: float) -> bool:
    print(f"claim: {name} {value:.3g} goal <={goal:g} {'held' if value <= goal else 'missed'}")
    return value <= goal


def _soak(model: Path, requests: Sequence[Request], number: int, chance: random.Random) -> Report:
    report, lock = Report(), threading.Lock()
    port = free_port()
    good = [request for request in requests if request.counts is not None]
    hostile = [request for request in requests if request.counts is None]
    turns = iter([chance.choice(good if chance.random() < _GOOD_SHARE else hostile) for _ in range(number)])
    command = [sys.executable, str(REPOSITORY / "inference_code/server.py"), "--model", str(model), "--port", str(port)]
    environment = {**os.environ, "BINVENTORY_BIND_HOST": "127.0.0.1", "BINVENTORY_METRICS": "off"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            _wait(port, process)
            watched = psutil.Process(process.pid)

            def client() -> None:
                while True:
                    with lock:
                        request = next(turns, None)
                        if request is None:
                            return
                    status, wrong = _send(port, request)
                    with lock:
                        report.kinds[request.kind] += 1
                        report.statuses[status] += 1
                        report.memory.append(watched.memory_info().rss)
                        if wrong:
                            report.wrong.append(f"{request.kind}: {wrong}")
                        if sum(report.kinds.values()) % 2000 == 0:
                            print(f"{sum(report.kinds.values())} requests, {report.memory[-1] / 1024**2:.0f} MB")

            clients = [threading.Thread(target=client) for _ in range(_CLIENTS)]
            for thread in clients:
                thread.start()
            for thread in clients:
                thread.join()
            if process.poll() is not None:
                report.wrong.append(f"the server ended with {process.returncode}")
        finally:
            process.terminate()
    return report


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise SystemExit("the server does not start with this model; its log says why")


def _send(port: int, request: Request) -> tuple[int, str]:
    """The status (0 for a client that hung up) and what is wrong with the answer, if anything is."""
    if request.hang_up:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
            head = f"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: {request.content_type}\r\n"
            plain.sendall(f"{head}content-length: {len(request.body) + 1000}\r\n\r\n".encode() + request.body)
        return 0, ""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/invocations", request.body, {"content-type": request.content_type})
        response = connection.getresponse()
        status, body = response.status, response.read()
    except (BrokenPipeError, ConnectionResetError):
        # An oversized body: the server answered and closed before the client had sent it all.
        return 413, "" if len(request.body) > 1_000_000 else "the connection broke"
    finally:
        connection.close()
    return status, _judge(request, status, body)


def _judge(request: Request, status: int, body: bytes) -> str:
    document = json.loads(body)
    if request.counts is None:
        fine = 400 <= status < 500 or (request.may_be_read and status == 200)
        return "" if fine else f"status {status}: {body[:200]!r}"
    if status != 200:
        return f"status {status}: {body[:200]!r}"
    counts = tuple(entry["count"] for entry in document.get("predictions", [document]))
    return "" if counts == request.counts else f"{counts} instead of {request.counts}"


def _requests(counter: CountingModel, chance: random.Random) -> list[Request]:
    photos = [_encoded(render_bin(seed, 1 + seed % 5)) for seed in range(12)]
    photos += [_encoded(Image.new("RGB", (320, 240), (level,) * 3), "PNG") for level in (5, 70, 120, 200, 250)]
    return [*_good(counter, photos), *_hostile(photos, chance)]


def _good(counter: CountingModel, photos: Sequence[bytes]) -> list[Request]:
    def counts(*wanted: bytes) -> tuple[int, ...]:
        results = predict_fn(Reading(wanted, batch=True), counter).results
        return tuple(result.count for result in results if isinstance(result, Answer))

    requests = [Request("good photo", photo, "image/jpeg", counts(photo)) for photo in photos]
    for photo in photos:
        pixels = io.BytesIO()
        np.save(pixels, np.asarray(Image.open(io.BytesIO(photo)).convert("RGB")))
        requests.append(Request("good pixels", pixels.getvalue(), "application/x-npy", counts(photo)))
    for start in range(0, len(photos) - 4, 4):
        batch = photos[start : start + 4]
        body = json.dumps({"photos": [base64.b64encode(photo).decode() for photo in batch]}).encode()
        requests.append(Request("good batch", body, "application/json", counts(*batch)))
    return requests


def _hostile(photos: Sequence[bytes], chance: random.Random) -> list[Request]:
    photo = photos[0]
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    bodies: dict[str, tuple[bytes, str]] = {
        "empty": (b"", "image/jpeg"),
        "noise": (chance.randbytes(5000), "image/jpeg"),
        "signature and noise": (b"\xff\xd8\xff" + chance.randbytes(5000), "image/jpeg"),
        "another format": (_encoded(frames[0], "WEBP"), "image/png"),
        "one pixel": (_encoded(Image.new("RGB", (1, 1)), "PNG"), "image/png"),
        "very wide": (_encoded(Image.new("RGB", (4000, 40))), "image/jpeg"),
        "animated": (_encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]), "image/png"),
        "bomb by header": (_png_of_size(60_000, 60_000), "image/png"),
        "unknown type": (photo, "image/gif"),
        "url": (b'{"url": "http://169.254.169.254/"}', "application/json"),
        "nested json": (b"[" * 200_000, "application/json"),
        "too many photos": (json.dumps({"photos": ["AAAA"] * 1000}).encode(), "application/json"),
        "bad base64": (b'{"photo": "####"}', "application/json"),
        "lying pixels": (b"\x93NUMPY\x01\x00" + chance.randbytes(100), "application/x-npy"),
        "too large": (bytes(26 * 1024**2), "image/jpeg"),
    }
    requests = [Request(kind, body, content_type) for kind, (body, content_type) in bodies.items()]
    requests += [Request("stump", part[: len(part) // 2], "image/jpeg") for part in photos[:4]]
    requests += [_mutation(chance.choice(photos), chance) for _ in range(40)]
    requests.append(Request("large and black", _zeros_png(4900, 5000, rows=5000), "image/png", may_be_read=True))
    requests += [Request("hung up", photo, "image/jpeg", hang_up=True)] * 3
    return requests


def _mutation(photo: bytes, chance: random.Random) -> Request:
    changed = bytearray(photo)
    for _ in range(chance.randint(1, 20)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return Request("mutated photo", bytes(changed), "image/jpeg", may_be_read=True)


def _encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _png_of_size(width: int, height: int) -> bytes:
    return _zeros_png(width, height, rows=1)


def _zeros_png(width: int, height: int, *, rows: int) -> bytes:
    """A grey PNG that claims a size and holds so many rows of zeros: small as a file, large as pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return len(content).to_bytes(4, "big") + name + content + checksum.to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    pixels = zlib.compress(bytes(width + 1) * rows, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder or a model.tar.gz (default: a small real model)")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
