"""Run pip in the checkout's environment: install locked packages, show the progress, keep the output for errors."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from environment.errors import FREE_DISK, FULL_DISK, SetupError
from environment.locks import normalised, pins
from environment.progress import Progress

_TAKEN = re.compile(r"^(?:Collecting|Requirement already satisfied:|Ignoring) ([\w.-]+)")
_FETCHING = re.compile(r"^\s*(?:Downloading|Processing) (\S+)")
_FETCHED = re.compile(r"^Progress (\d+) of (\d+)")
# The second is pip's message if the user's configuration has constraints.
_MISSING = re.compile(
    r"No matching distribution found for (\S+)"
    r"|Cannot install (\S+) because(?=(?s:.*)no matching distributions available)"
)
_UNREACHABLE = re.compile(r"Retrying \(|NameResolutionError|NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError")
_POLL_SECONDS = 0.3
_RAW_PROGRESS_SINCE = (24, 1)

_CURES = (
    (FULL_DISK, FREE_DISK),
    (
        re.compile(r"DO NOT MATCH THE HASHES"),
        "a package differs from the one in the lock; check the indexes of your pip configuration: pip config list",
    ),
    (
        re.compile(r"Python\.h: No such file"),
        "install Python's headers (Debian: apt install python3-dev), then run make again",
    ),
    (
        re.compile(r"command '[^']*(?:cc|gcc|clang)[^']*' failed|error: .*(?:gcc|clang).*No such file"),
        "install a C compiler (Debian: apt install gcc; macOS: xcode-select --install), then run make again",
    ),
    (
        re.compile(r"[Cc]argo.*not (?:installed|found)|can't find Rust compiler"),
        "install Rust, which builds cykooz-resizer where it has no wheel (https://rustup.rs), then run make again",
    ),
    (
        re.compile(r"CERTIFICATE_VERIFY_FAILED"),
        "a proxy or an index shows a certificate that pip does not know: name its authority's file with "
        "pip config set global.cert FILE, then run make again",
    ),
    (
        _UNREACHABLE,
        "a package index cannot be reached: check the network, the proxy and: pip config list",
    ),
    (
        _MISSING,
        "no index offers this package for this machine; check: pip config list",
    ),
)


@dataclass(frozen=True)
class PipResult:
    """The exit code of one run of pip, and its whole output."""

    code: int
    output: str

    @property
    def reason(self) -> str:
        """Why the run failed, in one line; the subject is the package index."""
        if _UNREACHABLE.search(self.output):
            return "it cannot be reached"
        if "DO NOT MATCH THE HASHES" in self.output:
            return "its package has another hash than the lock"
        if missing := _MISSING.search(self.output):
            return f"it has no {missing[1] or missing[2]} for this Python and machine"
        errors = re.findall(r"^ERROR: (.+)$", self.output, re.MULTILINE)
        return errors[0] if errors else f"pip ended with {self.code}"


@dataclass(frozen=True)
class Pip:
    """pip of one environment.

    Args:
        place: the environment's folder.
        log: the file to which pip's whole output is appended.
        environment: the environment variables of pip's processes.
    """

    place: Path
    log: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.place / "bin" / "python"

    def install(self, step: str, arguments: Sequence[str], *, lock: Path | None = None) -> None:
        """Install and show the progress, as a share of the packages of `lock`. Raises SetupError."""
        with Progress(step) as progress:
            result = self.try_install(arguments, progress, lock=lock)
            if result.code:
                raise self.failure(f"{step} could not be installed", result)

    def try_install(self, arguments: Sequence[str], progress: Progress, *, lock: Path | None = None) -> PipResult:
        """Install without dependencies, and without bytecode, which Python compiles at the first import."""
        command = ["install", "--no-deps", "--no-compile", *self.bar(), *arguments]
        return self.run(command, progress, len(pins(lock)) if lock else 0)

    def bar(self) -> tuple[str, str]:
        """The option with which pip prints the progress of a download for programs; `off` if pip is too old for it."""
        version = tuple(int(part) for part in re.findall(r"\d+", self.installed().get("pip", "0"))[:2])
        return ("--progress-bar", "raw" if version >= _RAW_PROGRESS_SINCE else "off")

    def run(self, arguments: Sequence[str], progress: Progress, total: int = 0) -> PipResult:
        """Run pip with these arguments, and show the package that it works on, out of `total` packages."""
        command = [str(self.python), "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**self.environment, "PYTHONUNBUFFERED": "1"},
        )
        lines: list[str] = []
        taken: set[str] = set()
        watch: threading.Thread | None = None
        ended = threading.Event()
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if not _FETCHED.match(line):
                    lines.append(line)
                _show(line, taken, total, progress)
                if line.startswith("Installing collected packages:") and watch is None:
                    names = [normalised(name.strip()) for name in line.partition(":")[2].split(",")]
                    watch = threading.Thread(target=self._watch, args=(names, progress, ended), daemon=True)
                    watch.start()
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
        finally:
            ended.set()
            if watch is not None:
                watch.join()
        output = "".join(lines)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(command)}\n{output}\n")
        return PipResult(code, output)

    def failure(self, what: str, result: PipResult) -> SetupError:
        """The error with pip's own error lines and the cure."""
        found = [line for line in result.output.splitlines() if line.lstrip().startswith(("ERROR:", "error:"))]
        shown = "\n".join(f"  {line.strip()}" for line in (found or result.output.splitlines())[-6:])
        cure = next((cure for pattern, cure in _CURES if pattern.search(result.output)), "run make again")
        return SetupError(f"{what}:\n{shown}", f"{cure}. pip's whole output: {self.log}")

    def installed(self) -> dict[str, str]:
        """The version of each installed package, by normalised name."""
        folders = self.place.glob("lib/python3*/site-packages/*.dist-info")
        parts = (folder.name.removesuffix(".dist-info").rpartition("-") for folder in folders)
        return {normalised(name): version for name, _, version in parts}

    def _watch(self, names: Sequence[str], progress: Progress, ended: threading.Event) -> None:
        before = self.installed()
        while not ended.wait(_POLL_SECONDS):
            progress.show(installing(names, before, self.installed()))


def installing(names: Sequence[str], before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """How many of `names` are installed, and the one that pip installs now: it takes them in this order.

    before, now: the versions of all installed packages, before pip began and now.
    """
    left = [name for name in names if name not in now or now[name] == before.get(name)]
    return f"{len(names) - len(left)}/{len(names)} installed{f', {left[0]}' if left else ''}"


def _show(line: str, taken: set[str], total: int, progress: Progress) -> None:
    if match := _TAKEN.match(line):
        taken.add(match[1])
        progress.show(f"{len(taken)}{f'/{total}' if total else ''} found, {match[1]}")
    elif match := _FETCHING.match(line):
        progress.show(f"{len(taken)}{f'/{total}' if total else ''} found, {Path(match[1]).name}")
    elif (match := _FETCHED.match(line)) and int(match[2]) > 5_000_000:
        progress.show(f"{int(match[1]) / 1e6:.0f} of {int(match[2]) / 1e6:.0f} MB")
