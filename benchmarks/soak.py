"""Fifty thousand hostile requests: no answer blames the server, no good request is wrong or starved, memory is bounded.

    python -m benchmarks.soak                                   # a quarter of an hour on 2 cores
    python -m benchmarks.soak --quick                           # a minute
    python -m benchmarks.soak --parts mixed --model model.tar.gz

mixed: hostile clients send bombs, broken files, mutations of every kind of body, lies about lengths, and what is no
HTTP, while good clients send photos whose counts were computed before without a server, and measure how long they wait.

memory: mixes of the costliest requests that the limits let in, against a ResNet50 in int8 and in fp32, and the peak of
the server's memory as Linux counts it.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from benchmarks import REPOSITORY, some_of
from benchmarks.claims import claim, exit_status
from benchmarks.endpoint import models
from benchmarks.endpoint.load import high_water
from benchmarks.soaking.bodies import Hostile, Request, good, photos
from benchmarks.soaking.mixes import mixes
from benchmarks.soaking.wire import Client, NoHttp, Report
from local_aws.core.host import free_port
from server import load
from tests import grey_model

PARTS: Final = ("mixed", "memory")
_HOSTILE: Final = 50_000
_QUICK: Final = 2_000
_HOSTILE_CLIENTS: Final = 6
_GOOD_CLIENTS: Final = 2
_NO_HTTP_SHARE: Final = 0.1
_FLAT_MEGABYTES: Final = 16
_MOST_MEGABYTES: Final = 600
_LONGEST_SECONDS: Final = 1.0
_ROUNDS: Final = 2
# Between two good requests of a client: warehouses do not send faster, and the server is measured, not this program.
_PAUSE_SECONDS: Final = 0.02


def main() -> int:
    """Run the parts and report; the exit status is 1 when a claim was missed."""
    options = _options()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as folder:
        if "mixed" in options.parts:
            model = options.model or grey_model.write(Path(folder) / "model")
            mixed(model, _QUICK if options.quick else options.requests, options.seed)
        if "memory" in options.parts:
            memory(Path(folder), options.model, 1 if options.quick else _ROUNDS)
    return exit_status()


@dataclass
class Waited:
    """The good requests, and how long each of them and each ping took; the server's memory meanwhile."""

    report: Report = field(default_factory=Report)
    seconds: list[float] = field(default_factory=list)
    pings: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)


def mixed(model: Path, hostile: int, seed: int) -> None:
    """Hostile and good requests at the same time."""
    requests = good(load(model), photos())
    began = time.monotonic()
    with (
        serving(model) as (port, process),
        # In a separate process, so that the good clients' clocks do not wait for it.
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        attacks = pool.submit(attack, port, hostile, seed)
        waited = be_good(port, requests, process, attacks.done, seed)
        attacked = attacks.result()
        ended = process.poll() is not None
    for kind, number in sorted((attacked.kinds + waited.report.kinds).items()):
        print(f"  {kind:28} {number}")
    print(f"answers to hostile requests: {dict(sorted(attacked.statuses.items()))}")
    print(f"answers to good requests: {dict(sorted(waited.report.statuses.items()))}")
    print(f"{attacked.kinds.total()} hostile requests in {time.monotonic() - began:.0f} s")
    for line in [*attacked.wrong, *waited.report.wrong][:20]:
        print(f"  wrong: {line}")
    starved = sum(number for status, number in waited.report.statuses.items() if status != 200)
    # What is held between large photos, which come at random. Until the middle of a whole run some kinds come for the
    # first time, and each makes the allocator keep some memory; a leak would not end.
    quarters = [np.percentile(part, 10) / 1024**2 for part in np.array_split(waited.memory, 4)]
    print(f"memory in the quarters of the run: {', '.join(f'{megabytes:.0f}' for megabytes in quarters)} MB")
    claim("soak_server_errors", attacked.failures + waited.report.failures + ended, at_most=0)
    claim("soak_hostile_answered_wrongly", len(attacked.wrong), at_most=0)
    claim("soak_good_wrong", len(waited.report.wrong) - starved, at_most=0)
    claim("soak_good_starved", starved, at_most=0)
    claim("soak_good_p99_seconds", float(np.percentile(waited.seconds, 99)), at_most=_LONGEST_SECONDS)
    claim("soak_ping_p99_seconds", float(np.percentile(waited.pings, 99)), at_most=_LONGEST_SECONDS)
    if hostile >= _HOSTILE:
        claim("soak_memory_growth_mb", float(quarters[-1] - quarters[-2]), at_most=_FLAT_MEGABYTES)


def attack(port: int, number: int, seed: int) -> Report:
    """Send so many hostile requests with several clients at once."""
    given = photos()
    report, lock, left = Report(), threading.Lock(), iter(range(number))

    def run(client: int) -> None:
        chance = random.Random(f"{seed}/{client}")
        hostile, over_http = Hostile(given, chance), Client(port)
        no_http = NoHttp(port, chance, given[0])
        with contextlib.closing(over_http), contextlib.closing(no_http):
            while True:
                with lock:
                    if next(left, None) is None:
                        return
                if chance.random() < _NO_HTTP_SHARE:
                    kind, status, wrong = no_http.send()
                else:
                    request = hostile.draw()
                    kind, (status, wrong) = request.kind, over_http.send(request)
                with lock:
                    report.note(kind, status, wrong)
                    if report.kinds.total() % 5000 == 0:
                        print(f"{report.kinds.total()} hostile requests", flush=True)

    in_threads([partial(run, client) for client in range(_HOSTILE_CLIENTS)])
    return report


def be_good(
    port: int, requests: Sequence[Request], process: subprocess.Popen[bytes], over: Callable[[], bool], seed: int
) -> Waited:
    """Send good requests and pings until it is over."""
    waited, lock = Waited(), threading.Lock()

    def count(number: int) -> None:
        chance, client = random.Random(f"{seed}/good/{number}"), Client(port)
        with contextlib.closing(client):
            while not over():
                request, began = chance.choice(requests), time.perf_counter()
                status, wrong = client.send(request)
                with lock:
                    waited.seconds.append(time.perf_counter() - began)
                    waited.report.note(request.kind, status, wrong)
                time.sleep(_PAUSE_SECONDS)

    def ping() -> None:
        client, watched = Client(port), psutil.Process(process.pid)
        while not over() and process.poll() is None:
            began = time.perf_counter()
            status = client.ping()
            waited.pings.append(time.perf_counter() - began)
            waited.memory.append(watched.memory_info().rss)
            with lock:
                waited.report.note("ping", status, "" if status == 200 else f"status {status}")
            time.sleep(_PAUSE_SECONDS)

    in_threads([ping, *(partial(count, number) for number in range(_GOOD_CLIENTS))])
    return waited


def memory(folder: Path, model: Path | None, rounds: int) -> None:
    """The server's peak under the costliest mixes."""
    if model is not None:
        _memory(model, "", rounds)
        return
    made = models.make(folder / "resnet50", photos()[:12])
    _memory(made.int8, "_int8", rounds)
    _memory(made.fp32, "_fp32", rounds)


def _memory(model: Path, name: str, rounds: int) -> None:
    worst = 0.0
    for mix in mixes(photos()):
        with serving(model) as (port, process):
            idle = peak(process)
            statuses: Counter[int] = Counter()
            for _ in range(rounds):
                statuses += at_once(port, mix.requests)
            found = peak(process)
        print(f"  {mix.name:44} {idle:5.0f} MB idle, {found:5.0f} MB at most; answers {dict(sorted(statuses.items()))}")
        worst = max(worst, found)
    claim(f"soak_peak_memory{name}_mb", worst, at_most=_MOST_MEGABYTES)


def at_once(port: int, requests: Sequence[Request]) -> Counter[int]:
    """Send these requests at the same time, a client each; the statuses."""
    statuses: Counter[int] = Counter()
    lock = threading.Lock()

    def one(request: Request) -> None:
        client = Client(port)
        with contextlib.closing(client):
            status, _ = client.send(request)
        with lock:
            statuses[status] += 1

    in_threads([partial(one, request) for request in requests])
    return statuses


def peak(process: subprocess.Popen[bytes]) -> float:
    """The most memory that the process has had, MB."""
    if not (found := high_water(process.pid)):
        raise SystemExit("the server has ended; its log says why")
    return found / 1024**2


def in_threads(work: Sequence[Callable[[], None]]) -> None:
    """Do everything at the same time, and wait for it; raises what the first of them has raised."""
    with ThreadPoolExecutor(len(work)) as pool:
        for running in [pool.submit(each) for each in work]:
            running.result()


@contextlib.contextmanager
def serving(model: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The server's port and process, while it runs."""
    port = free_port()
    command = [sys.executable, str(REPOSITORY / "inference_code/server.py"), "--model", str(model), "--port", str(port)]
    environment = {**os.environ, "BINVENTORY_BIND_HOST": "127.0.0.1", "BINVENTORY_METRICS": "off"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            _wait(port, process)
            yield port, process
        finally:
            process.terminate()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise SystemExit("the server does not start with this model; its log says why")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=some_of(PARTS), default=PARTS, help=f"comma-separated, of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK} hostile requests, one round of each mix")
    parser.add_argument("--requests", type=int, default=_HOSTILE, help="hostile ones")
    parser.add_argument("--model", type=Path, help="a model folder or a model.tar.gz (default: see above)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
