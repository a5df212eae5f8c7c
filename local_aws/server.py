"""Start, use and stop a local AWS from Python."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from local_aws.core import decisions, host
from local_aws.core.host import free_port, http_status

ACCOUNT = "123456789012"
REGION = "us-east-1"
REPOSITORY = Path(__file__).resolve().parent.parent
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0


class LocalAwsError(RuntimeError):
    """The local AWS did not start, or ended by itself; the message holds the tail of its log."""


class LocalAws:
    """A whole AWS on loopback, in processes of its own. Use it as a context manager, or call `start` and `stop`.

    Args:
        state_dir: where its state is kept; starting again with the same one continues where it stopped. Two local
            AWS's side by side need two.
        port: port on loopback; a free one is taken when None.
        keep: leave it running when this process ends (it is then stopped with `stop_running`).
        time_scale: what the minutes of rollouts and alarms are multiplied with: at 0.05 a canary that bakes for five
            minutes on AWS bakes for 15 seconds, and an alarm's period of a minute is three.
        enforce_iam: policies are enforced: signatures are checked, jobs, endpoints and Lambda functions have the rights
            of their role only. The credentials of `environment()` are the account's root.
        account: account number, twelve digits.
        region: its only region.
    """

    def __init__(
        self,
        state_dir: Path,
        port: int | None = None,
        *,
        keep: bool = False,
        time_scale: float = 1.0,
        enforce_iam: bool = False,
        account: str = ACCOUNT,
        region: str = REGION,
    ) -> None:
        self.state_dir = state_dir.resolve()
        self.account = account
        self.region = region
        self.port = port or free_port()
        self._keep = keep
        self._time_scale = time_scale
        self._enforce_iam = enforce_iam
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> LocalAws:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def endpoint_url(self) -> str:
        """What goes into `--endpoint-url` and `AWS_ENDPOINT_URL`."""
        return f"http://localhost:{self.port}"

    @property
    def log_path(self) -> Path:
        """What the server wrote to its standard output and error."""
        return self.state_dir / "server.log"

    @property
    def decisions_path(self) -> Path:
        """What the policies of roles allowed, if they are enforced; `local_aws.decisions.read` reads it."""
        return self.state_dir / decisions.FILE

    def environment(self) -> dict[str, str]:
        """Variables with which boto3, the aws CLI and the CDK CLI talk to this local AWS and to nothing else."""
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "CDK_DEFAULT_ACCOUNT": self.account,
            "CDK_DEFAULT_REGION": self.region,
            "CDK_DOCKER": str(REPOSITORY / "local_aws" / "docker"),
        }

    def start(self) -> None:
        """Start the server and wait until it answers; raises `LocalAwsError` with its log when it does not."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "local_aws", "--state-dir", str(self.state_dir), "--port", str(self.port)]
        command += ["--account", self.account, "--region", self.region, "--time-scale", str(self._time_scale)]
        if self._enforce_iam:
            command.append("--enforce-iam")
        if not self._keep:
            command.append("--watch-parent")
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=_clean_environment(),
                stdin=subprocess.DEVNULL if self._keep else subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone; we then stop it in order
            )
        (self.state_dir / "pid").write_text(str(self._process.pid))
        self._wait_until_healthy()

    def stop(self) -> None:
        """Stop the server and whatever it runs: jobs, endpoints, Lambda functions. Safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            host.stop_tree(process.pid, grace=0)
            process.wait()
        finally:
            if process.stdin:
                process.stdin.close()
            self._forget()

    def processes(self) -> list[int]:
        """The ids of every process that belongs to this local AWS, its server included; empty after `stop`."""
        running = {process.pid for process in host.marked(str(self.state_dir))}
        if self._process is not None and self._process.poll() is None:
            running.add(self._process.pid)
        return sorted(running)

    def destroy(self) -> None:
        """Stop it and remove its state."""
        self.stop()
        shutil.rmtree(self.state_dir, ignore_errors=True)

    def _forget(self) -> None:
        host.sweep(str(self.state_dir))
        (self.state_dir / "pid").unlink(missing_ok=True)

    def _wait_until_healthy(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._process = None
                raise LocalAwsError(f"the local AWS ended while it started:\n{self._log_tail()}")
            if http_status(self.port, "/_ministack/health", 2) == 200:
                return
            time.sleep(0.05)
        self.stop()
        raise LocalAwsError(f"the local AWS did not answer within {_START_SECONDS:.0f} s:\n{self._log_tail()}")

    def _log_tail(self, lines: int = 30) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        return "(no log)"


def stop_running(state_dir: Path) -> bool:
    """Stop a local AWS that was left running with `keep=True`; False when none runs in `state_dir`."""
    state_dir = state_dir.resolve()
    try:
        pid = int((state_dir / "pid").read_text())
    except (OSError, ValueError):
        return False
    host.stop_one(pid, grace=_STOP_SECONDS)
    host.sweep(str(state_dir))
    (state_dir / "pid").unlink(missing_ok=True)
    return True


def _clean_environment() -> dict[str, str]:
    """This process's environment without what would point the server at another AWS."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "MINISTACK_"))}
    environment["PYTHONUNBUFFERED"] = "1"
    return environment
