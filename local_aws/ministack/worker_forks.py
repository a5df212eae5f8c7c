"""The process that workers of functions are forked from: it has imported boto3, which is most of a cold start.

`python worker_forks.py FD` runs with the packages of a function's runtime only. It has one thread and ends when the
other end of its socket, file descriptor FD, closes. A request is a JSON object with `script`, `folder`, in which the
worker runs, and `environment`, and three files: standard input, output and error. The answer is the worker's process
id; or 0 for a function that packs a module which is imported here, and so needs its own interpreter.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3

_SERVICES = ("s3", "sagemaker", "cloudformation", "cloudwatch", "logs", "sns")
"""Most functions here make a client of some of them."""
_LAYERS = "_LAMBDA_LAYERS_DIRS"
"""Where ministack says which folders hold a function's layers."""
_LARGEST_REQUEST = 2**20


def main() -> None:
    """Fork a worker for each request."""
    gc.disable()
    described: dict[Any, Any] = {}
    requests = socket.socket(fileno=int(sys.argv[1]))
    served = 0
    while True:
        text, files, _, _ = socket.recv_fds(requests, _LARGEST_REQUEST, 3)
        if not text:
            return
        request = json.loads(text)
        if served == 1:  # who starts one worker only would wait for this in vain
            _read_descriptions(described)
        served += 1
        gc.freeze()
        pid = 0 if _packs_what_is_imported(request) else _fork()
        if pid is None:
            requests.close()
            _become(request, files, described)
            return
        requests.send(str(pid).encode())
        for file in files:
            os.close(file)


def _packs_what_is_imported(request: dict[str, Any]) -> bool:
    imported = {name.partition(".")[0] for name in sys.modules}
    layers = request["environment"].get(_LAYERS, "").split(os.pathsep)
    return any(
        name.partition(".")[0] in imported or name.endswith(".pth")
        for folder in (request["folder"], *filter(None, layers))
        for name in _importable(Path(folder))
    )


def _importable(folder: Path) -> Iterator[str]:
    """The names of files and folders from which a function imports."""
    for place in (folder, folder / "python", *folder.glob("python/lib/*/site-packages")):
        if place.is_dir():
            yield from os.listdir(place)


def _fork() -> int | None:
    """The new process's id, and None in it. Its parent ends at once, so the local AWS adopts it."""
    reading, writing = os.pipe()
    between = os.fork()
    if between == 0:
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            os.close(writing)
            return None
        os.write(writing, str(pid).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(between, 0)
    with os.fdopen(reading) as answer:
        return int(answer.read())


def _become(request: dict[str, Any], files: list[int], described: dict[Any, Any]) -> None:
    """Be what `python SCRIPT` would be in that folder with that environment and those files."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    script = request["script"]
    sys.argv = [script]
    sys.path[0] = os.path.dirname(script)
    gc.enable()
    runpy.run_path(script, init_globals={"described": described}, run_name="__main__")


def _read_descriptions(described: dict[Any, Any]) -> None:
    """Fill `described` with what clients of `_SERVICES` read."""
    start = runpy.run_path(str(Path(__file__).with_name("worker_start.py")), init_globals={"described": described})
    start["read_descriptions_quickly"]()
    session = boto3.Session("none", "none", region_name="us-east-1")
    create: Any = session.client
    for service in _SERVICES:
        create(service)


if __name__ == "__main__":
    main()
