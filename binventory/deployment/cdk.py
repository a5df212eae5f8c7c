"""Runs the CDK command line: short progress for the screen, the whole output in a log."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from binventory.core.bootstrap import Bootstrap
from binventory.core.errors import Exit, Problem
from binventory.core.tools import search_path

_STACK_LINE = re.compile(r"^\s*(?P<stack>[\w-]+)\s*[|:]\s*(?P<rest>.+)$")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Cdk:
    """The pinned CDK CLI of a checkout. Each instance has its assembly folder, so two can run side by side."""

    repository: Path
    assembly: Path  # what `--output` names
    log: Path
    environment: dict[str, str]  # AWS_* of the account it talks to

    def bootstrap(self, account: str, region: str, say: Callable[[str], None]) -> None:
        """Prepares an account for deployments. Runs outside the checkout: there is no app to read for this."""
        options = Bootstrap.of(self.repository).options
        self._run("bootstrap", f"aws://{account}/{region}", *options, say=say, folder=self.log.parent)

    def deploy(self, context: str, say: Callable[[str], None]) -> None:
        """Synthesizes the app of `cdk.json` and deploys all of its stacks."""
        flags = ("--require-approval", "never", "--progress", "events", "--output", str(self.assembly))
        self._run("deploy", "--all", *flags, "-c", context, say=say, folder=self.repository)

    def synth(self, context: str, say: Callable[[str], None]) -> None:
        """Synthesizes the app without deploying it."""
        self._run("synth", "--quiet", "--output", str(self.assembly), "-c", context, say=say, folder=self.repository)

    def destroy(self, say: Callable[[str], None]) -> None:
        """Destroys what `deploy` deployed; its assembly says what that was, so the app is not run again."""
        flags = ("--force", "--app", str(self.assembly))
        self._run("destroy", "--all", *flags, say=say, folder=self.repository)

    def _run(self, *arguments: str, say: Callable[[str], None], folder: Path) -> None:
        """Runs the CLI; `say` is called with each line of its output. Raises a Problem with the end of the log."""
        lines: list[str] = []
        with self.log.open("a") as log:
            log.write(f"\n$ cdk {' '.join(arguments)}\n")
            process = subprocess.Popen(
                [str(self.executable()), "--no-notices", "--no-color", *arguments],
                cwd=folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            try:
                assert process.stdout is not None
                for raw in process.stdout:
                    line = _ESCAPES.sub("", raw.rstrip())
                    log.write(line + "\n")
                    log.flush()
                    if line.strip():
                        lines.append(line)
                        say(line)
                status = process.wait()
            finally:
                _end_group(process)
        if status != 0:
            raise Problem(
                f"cdk {arguments[0]} failed with exit code {status}",
                _reason(lines),
                f"the end of its output is above, the whole in {self.log}",
                log=tuple(lines[-40:]),
            )

    def executable(self) -> Path:
        """The CLI that `npm ci` installed."""
        path = self.repository / "node_modules" / ".bin" / "cdk"
        if not path.exists():
            raise Problem(
                "The CDK command line is not installed",
                f"{path.relative_to(self.repository)} does not exist",
                "run: make setup",
                code=Exit.NOT_READY,
            )
        return path

    def _environment(self) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "CDK_"))}
        return {
            **inherited,
            **self.environment,
            "PATH": search_path(),
            "CDK_DISABLE_CLI_TELEMETRY": "true",
            "CDK_DISABLE_VERSION_CHECK": "1",
            "CI": "true",  # progress as plain lines
        }


def _reason(lines: list[str]) -> str:
    """The line that names the failure, or the last one."""
    telling = [line.strip() for line in lines if "failed" in line.lower() or "error" in line.lower()]
    return telling[-1] if telling else (lines[-1].strip() if lines else "it printed nothing")


def _end_group(process: subprocess.Popen[str]) -> None:
    """Ends the CLI and the app it runs, when they were interrupted."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def progress(line: str) -> str | None:
    """The resource and state in a line of `cdk deploy --progress events`, short enough for a status column."""
    parts = [part.strip() for part in line.split("|")]
    if len(parts) >= 6:
        return f"{parts[0]} {parts[-1]} {parts[3].replace('_', ' ').lower()}"
    match = _STACK_LINE.match(line)
    return f"{match['stack']}: {match['rest']}" if match else None
