"""The tools on this machine: Python, Node, the CDK CLI, and what builds the serving image."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from binventory.core.tools import search_path
from binventory.doctor.check import Check

_CONTAINERD = "io.containerd.snapshotter"
_REHEARSAL = "a rehearsal does not need it"
_SECONDS = 30


def examine_tools(repository: Path) -> Iterator[Check]:
    """Checks each tool."""
    yield Check("python", "good", ".".join(str(part) for part in sys.version_info[:3]))
    yield _node()
    yield _cdk(repository)
    yield _docker()


def _node() -> Check:
    node = shutil.which("node", path=search_path())
    if node is None:
        return Check("node", "missing", "not found", "run: make setup")
    code, said = _said(node, "--version")
    if code:
        why = next(iter(said.splitlines()), f"exit status {code}")
        return Check("node", "missing", f"{node} does not start: {why}", "run: make clean setup")
    return Check("node", "good", said)


def _cdk(repository: Path) -> Check:
    wanted = json.loads((repository / "package.json").read_text())["devDependencies"]["aws-cdk"]
    installed = repository / "node_modules" / "aws-cdk" / "package.json"
    found = json.loads(installed.read_text())["version"] if installed.is_file() else "not installed"
    if found == wanted:
        return Check("cdk", "good", found)
    return Check("cdk", "missing", f"{found}, wanted {wanted}", "run: make setup")


def _docker() -> Check:
    """Docker, or the program that CDK_DOCKER names: it must write Docker manifests, because SageMaker takes no others.

    The stacks ask for one with `--output=type=docker`. Only BuildKit knows that option, and only Docker has a daemon
    that may be down.
    """
    replacement = os.environ.get("CDK_DOCKER")
    command = shutil.which(replacement or "docker")
    if command is None:
        cure = f"install Docker to deploy the serving image to AWS; {_REHEARSAL}"
        return Check("docker", "missing", f"{replacement or 'docker'} not found", cure)
    if replacement is not None:
        return _replacement(command)
    code, said = _said(command, "info", "--format", "{{json .DriverStatus}}")
    if code:
        return Check("docker", "missing", "its daemon does not answer", f"start Docker; {_REHEARSAL}")
    if _said(command, "buildx", "version")[0]:
        cure = f"install Docker's plugin buildx, which `--output=type=docker` of the serving image needs; {_REHEARSAL}"
        return Check("docker", "missing", "it has no BuildKit", cure)
    store = "containerd store, so its own default is an OCI manifest" if _CONTAINERD in said else "Docker's own store"
    return Check("docker", "good", f"{command}, {store}; the serving image gets a Docker manifest")


def _replacement(command: str) -> Check:
    cure = f"use Docker or Finch, which write the Docker manifest that SageMaker needs; {_REHEARSAL}"
    if Path(command).name.startswith(("podman", "buildah")):
        return Check("docker", "missing", f"{command} writes OCI manifests", cure)
    if "--output" not in _said(command, "build", "--help")[1]:
        return Check("docker", "missing", f"{command} knows no `build --output=type=docker`", cure)
    return Check("docker", "good", command)


def _said(*command: str) -> tuple[int, str]:
    """Exit code and output of a short command.

    One that does not end, as with a daemon that hangs, has failed; so has one that this computer cannot start.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return 1, f"no answer within {_SECONDS} s"
    except OSError as error:
        return 1, str(error.strerror)
    return done.returncode, (done.stdout + done.stderr).strip()
