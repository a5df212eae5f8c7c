"""EC2 instances as processes that run the user data of their launch template.

Only user data that writes below `BINVENTORY_ROOT` runs, which is a folder here; every other instance is only a record.
The metadata service of an instance is on loopback. `shutdown` is a script that ends the instance, as on EC2 with
InstanceInitiatedShutdownBehavior `terminate`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from local_aws.core import host
from local_aws.core.context import Context
from local_aws.core.errors import validation
from local_aws.core.protocol import Document
from local_aws.ministack import ec2
from local_aws.ministack.ec2 import Launched

_FOLDER_MARK = "BINVENTORY_ROOT"
_NOTICE_SECONDS = 120.0  # between a spot interruption's notice and the end
_POLL_SECONDS = 0.2
_EC2 = "ec2.amazonaws.com"
_log = logging.getLogger(__name__)

# Takes `-P now` and `-P +MINUTES` and stores the time of the end; a later call replaces it.
_SHUTDOWN = """#!/bin/bash
case "$2" in
  now) end=$(date +%s) ;;
  +*) end=$(( $(date +%s) + ${2#+} * @MINUTE@ )) ;;
esac
echo "$end" > "@FILE@.new" && mv "@FILE@.new" "@FILE@"
"""


class Ec2Machine:
    """One instance: its process, its metadata service, and the file with the time of its end."""

    def __init__(self, context: Context, launched: Launched) -> None:
        self._context = context
        self._launched = launched
        self.root = context.state_dir / "machines" / launched.instance_id
        self._end = self.root / "ends-at"
        self._opt = str(self.root / "opt")
        self._notice: str | None = None
        self._gone = threading.Event()

    def run(self) -> None:
        """Run the machine from its boot to its power off."""
        tools = self.root / "bin"
        tools.mkdir(parents=True)
        script, shutdown = self.root / "user-data.sh", tools / "shutdown"
        script.write_bytes(base64.b64decode(self._launched.user_data))
        minute = max(1, round(60 * self._context.time_scale))
        shutdown.write_text(_SHUTDOWN.replace("@FILE@", str(self._end)).replace("@MINUTE@", str(minute)))
        shutdown.chmod(0o755)
        metadata = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        threading.Thread(target=metadata.serve_forever, name="instance-metadata", daemon=True).start()
        try:
            self._boot(script, f"http://127.0.0.1:{metadata.server_port}")
        finally:
            metadata.shutdown()
            metadata.server_close()

    def interrupt(self) -> None:
        """Interrupt the spot instance: a notice now, the end two minutes later."""
        seconds = _NOTICE_SECONDS * self._context.time_scale
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        self._notice = json.dumps({"action": "terminate", "time": when})
        threading.Timer(seconds, self.end).start()

    def end(self) -> None:
        """End the machine at once."""
        self._gone.set()

    def metadata(self, path: str) -> str | None:
        """The metadata at a path; None when there are none."""
        tags = "/latest/meta-data/tags/instance/"
        if path.startswith(tags):
            return self._launched.tags.get(path.removeprefix(tags))
        answers = {
            "/latest/meta-data/instance-id": self._launched.instance_id,
            "/latest/meta-data/spot/instance-action": self._notice,
        }
        return answers.get(path)

    def _boot(self, script: Path, metadata: str) -> None:
        with (self.root / "console.txt").open("wb") as console:
            process = subprocess.Popen(
                ["bash", str(script)],
                cwd=self.root,
                env=self._environment(metadata),
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            while not self._gone.wait(_POLL_SECONDS) and not self._is_off():
                if self._context.stopping.is_set():
                    break
            # End the processes that still run, also those whose parents have ended.
            host.kill_tree(process.pid)
            process.wait()
            while left := host.marked(self._opt, _FOLDER_MARK):
                for orphan in left:
                    host.kill_tree(orphan.pid)

    def _is_off(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return time.time() >= float(self._end.read_text())
        return False

    def _environment(self, metadata: str) -> dict[str, str]:
        path = f"{self.root / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, **self._context.environment(), **self._role_credentials()}
        # AWS_EC2_METADATA_DISABLED disables the service of the computer that this runs on.
        return environment | {
            "PATH": path,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata,
            _FOLDER_MARK: self._opt,
            "BINVENTORY_PYTHON": sys.executable,
        }

    def _role_credentials(self) -> dict[str, str]:
        """Credentials of the role in the instance profile, where policies are enforced."""
        if not self._context.enforce_iam or not self._launched.profile:
            return {}
        name = self._launched.profile.rsplit("/", 1)[-1]
        profile = self._context.client("iam").get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        return self._context.assume_role(profile["Roles"][0]["Arn"], self._launched.instance_id, _EC2)


class Ec2Machines:
    """The instances of one local AWS that run, by id. Get it by `context.shared(Ec2Machines)`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._running: dict[str, Ec2Machine] = {}

    def find(self, instance_id: str) -> Ec2Machine | None:
        """The machine with this id, while it runs."""
        return self._running.get(instance_id)

    def started(self, launched: Launched) -> None:
        """Start an instance, if its user data writes below `BINVENTORY_ROOT`."""
        if _FOLDER_MARK.encode() not in base64.b64decode(launched.user_data or ""):
            return
        machine = self._running[launched.instance_id] = Ec2Machine(self._context, launched)

        def run() -> None:
            try:
                machine.run()
            finally:
                self._running.pop(launched.instance_id, None)
                if not self._context.stopping.is_set():
                    self._context.client("ec2").terminate_instances(InstanceIds=[launched.instance_id])

        self._context.start_thread(f"machine {launched.instance_id}", run)

    def terminated(self, instance_ids: Sequence[str]) -> None:
        """End the machines of instances that were terminated."""
        for instance_id in instance_ids:
            if machine := self.find(instance_id):
                machine.end()


def serve(context: Context) -> None:
    """Run the instances that are started from launch templates."""
    machines = context.shared(Ec2Machines)
    ec2.run_machines(machines.started, machines.terminated, lambda name: machines.find(name) is not None)
    ec2.add_deep_learning_images()


def interrupt(context: Context, request: Document) -> Document:
    """Interrupt a spot instance, with two minutes' notice times the time scale: `{"InstanceId": ...}`."""
    machine = context.shared(Ec2Machines).find(str(request.get("InstanceId")))
    if machine is None:
        raise validation(f"InstanceId {request.get('InstanceId')!r} is not an instance that runs here")
    machine.interrupt()
    return {}


def _handler_of(machine: Ec2Machine) -> type[BaseHTTPRequestHandler]:
    """The metadata service (IMDSv2 only) of one machine."""
    token = base64.b64encode(os.urandom(24)).decode()

    class MetadataHandler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            wanted = self.path == "/latest/api/token" and "X-aws-ec2-metadata-token-ttl-seconds" in self.headers
            self._reply(200 if wanted else 400, token if wanted else "")

        def do_GET(self) -> None:
            if self.headers.get("X-aws-ec2-metadata-token") != token:
                self._reply(401, "")
                return
            found = machine.metadata(self.path)
            self._reply(404 if found is None else 200, found or "")

        def _reply(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *arguments: object) -> None:
            _log.debug(format, *arguments)

    return MetadataHandler
