"""Start, use and stop a local AWS from Python."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import psutil
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local_aws.core import decisions, host
from local_aws.core.host import free_port, http_status
from local_aws.core.keys import keys_of

ACCOUNT = "123456789012"
REGION = "us-east-1"
HEALTH = "/_ministack/health"
REPOSITORY = Path(__file__).resolve().parent.parent
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_KILLED_SECONDS = 2.0  # a server that was killed this moment is still seen


class LocalAwsError(RuntimeError):
    """The local AWS did not start, or ended by itself; the message has the end of its log."""


class LocalAws:
    """An AWS on loopback, in separate processes. Use it as a context manager, or call `start` and `stop`.

    Args:
        state_dir: folder of its state; a new start with the same folder continues where the last one stopped. Two
            local AWSs side by side need two folders.
        port: port on loopback; a free one when None.
        keep: leave it running when this process ends; `stop_running` stops it.
        time_scale: factor for the waits of rollouts and the periods of alarms: at 0.05, a canary that bakes for five
            minutes on AWS bakes for 15 seconds, and an alarm's minute lasts three seconds.
        enforce_iam: enforce policies: requests must be signed, and jobs, endpoints and Lambda functions have only the
            rights of their role. The credentials of `environment()` are the account's root.
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
        self.enforce_iam = enforce_iam
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
        """The value for `--endpoint-url` and `AWS_ENDPOINT_URL`."""
        return f"http://localhost:{self.port}"

    @property
    def log_path(self) -> Path:
        """The server's standard output and error."""
        return self.state_dir / "server.log"

    @property
    def decisions_path(self) -> Path:
        """What the policies of roles allowed, if they are enforced; `local_aws.core.decisions.read` reads it."""
        return self.state_dir / decisions.FILE

    def environment(self) -> dict[str, str]:
        """Variables, keys included, with which boto3, the aws CLI and the CDK CLI reach this local AWS and no other."""
        return {
            **keys_of(self.state_dir).environment(),
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "CDK_DEFAULT_ACCOUNT": self.account,
            "CDK_DEFAULT_REGION": self.region,
            "CDK_DOCKER": str(REPOSITORY / "local_aws" / "docker"),
            **_past_proxies(),
        }

    @property
    def running(self) -> bool:
        """Whether a local AWS answers at this port from this state directory; another process may have started it."""
        return _server(self.state_dir) is not None and http_status(self.port, HEALTH, 2) == 200

    def administer(self, name: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """What happens to a user on AWS without an API call: `POST /_local/NAME`, signed, such as `sagemaker/reclaim`.

        Raises:
            LocalAwsError: it was refused; with the reply.
        """
        keys, url = keys_of(self.state_dir), f"{self.endpoint_url}/_local/{name}"
        request = AWSRequest("POST", url, data=json.dumps(document).encode())
        SigV4Auth(Credentials(keys.access_key, keys.secret_key), "sagemaker", self.region).add_auth(request)
        with contextlib.closing(http.client.HTTPConnection("localhost", self.port, timeout=60)) as connection:
            connection.request("POST", f"/_local/{name}", request.body, dict(request.headers.items()))
            reply = connection.getresponse()
            body = reply.read().decode()
        if reply.status != 200:
            raise LocalAwsError(body)
        found: dict[str, Any] = json.loads(body)
        return found

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            LocalAwsError: it does not answer, or one runs in this state directory or at this port already.
        """
        if (running := _server(self.state_dir)) is not None and not host.ends(running, _KILLED_SECONDS):
            raise LocalAwsError(f"a local AWS runs in {self.state_dir} already, as process {running.pid}")
        if http_status(self.port, HEALTH, 2) == 200:  # or its answers would be taken for those of the new one
            raise LocalAwsError(
                f"port {self.port} is in use: another local AWS answers there; stop it, or take another"
            )
        keys_of(self.state_dir)
        command = [sys.executable, "-m", "local_aws", "--state-dir", str(self.state_dir), "--port", str(self.port)]
        command += ["--account", self.account, "--region", self.region, "--time-scale", str(self._time_scale)]
        if self.enforce_iam:
            command.append("--enforce-iam")
        if not self._keep:
            command.append("--watch-parent")
        with self.log_path.open("ab") as log:
            self._process = self._launch(command, clean_environment(), log)
        try:
            (self.state_dir / "pid").write_text(str(self._process.pid))
            self._wait_until_healthy()
        except BaseException:  # Ctrl-C too: nobody would stop one that is kept
            self.stop()
            raise

    def _launch(self, command: list[str], environment: dict[str, str], log: BinaryIO) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL if self._keep else subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches this process only, which then stops the server in order
        )

    def stop(self) -> None:
        """Stop the server, its jobs, endpoints and Lambda functions. Safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            host.kill_tree(process.pid)
            process.wait()
        finally:
            if process.stdin:
                process.stdin.close()
            self._clean_up()

    def processes(self) -> list[int]:
        """The ids of all processes of this local AWS, its server included; empty after `stop`."""
        running = {process.pid for process in host.marked(str(self.state_dir))}
        if self._process is not None and self._process.poll() is None:
            running.add(self._process.pid)
        return sorted(running)

    def _clean_up(self) -> None:
        host.sweep(str(self.state_dir))
        (self.state_dir / "pid").unlink(missing_ok=True)

    def _wait_until_healthy(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise LocalAwsError(f"the local AWS ended while it started:\n{self._log_tail()}")
            if http_status(self.port, HEALTH, 2) == 200:
                return
            time.sleep(0.05)
        raise LocalAwsError(f"the local AWS did not answer within {_START_SECONDS:.0f} s:\n{self._log_tail()}")

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-30:])
        return "(no log)"


def stop_running(state_dir: Path) -> bool:
    """Stop a local AWS that runs with `keep=True`; returns False when none runs in `state_dir`."""
    state_dir = state_dir.resolve()
    server = _server(state_dir)
    if server is not None:
        host.stop([server], grace=_STOP_SECONDS)
    host.sweep(str(state_dir))
    (state_dir / "pid").unlink(missing_ok=True)
    return server is not None


def _server(state_dir: Path) -> psutil.Process | None:
    """The process that serves from this state directory, also if another process started it."""
    try:
        pid = int((state_dir / "pid").read_text())
    except (OSError, ValueError):
        return None
    return host.server_of(str(state_dir), pid)


def clean_environment() -> dict[str, str]:
    """This process's environment without the variables that select another AWS."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "MINISTACK_"))}
    environment["PYTHONUNBUFFERED"] = "1"
    return environment | _past_proxies()


def _past_proxies() -> dict[str, str]:
    """NO_PROXY with this computer's loopback, where this process has a proxy: no proxy reaches the local AWS."""
    given = {name.lower(): value for name, value in os.environ.items() if value and name.lower() in _PROXIES}
    if not given.keys() - {"no_proxy"}:
        return {}
    spared = [name.strip() for name in given.get("no_proxy", "").split(",")]
    value = ",".join(dict.fromkeys(filter(None, [*spared, "localhost", "127.0.0.1"])))
    return {"NO_PROXY": value, "no_proxy": value}
