"""Embed, train and evaluate on one EC2 spot instance, which may be reclaimed at any moment.

The machine's tag `run` names the plan that `binventory train --on ec2` wrote to S3. Checkpoints, log and status are
uploaded every half minute and at the end, also after a failure, a timeout or a reclaim; of the checkpoints of a
training the newest stay there, as on the disk. Another machine with the same plan continues from them. The user data
ends the machine.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
import traceback
import urllib.error
from pathlib import Path
from typing import Any, Final

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from jobs.container import JobError
from machine.aws import Exchange, InstanceMetadata
from machine.steps import STEPS, RunPlan, Steps, StepStopped
from stacks.vocabulary import SPLITS

_SEND_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 5.0  # The interval that AWS recommends.


class SpotMachine:
    """One run on this machine; `results` is the S3 prefix of the run's plan, status and log."""

    def __init__(self, results: str, root: Path, minutes: float) -> None:
        self._results = results
        self._root = root
        self._deadline = time.monotonic() + 60 * minutes
        self._exchange = Exchange()
        self._metadata = InstanceMetadata()
        self._stop = threading.Event()
        self._why = ""
        self._sent = self._looked = 0.0
        self._status: dict[str, Any] = {"state": "running", "step": "", "started": _now()}

    def work(self) -> int:
        """Runs the plan; returns the exit status: 0 only when all steps are done and uploaded."""
        signal.signal(signal.SIGTERM, lambda number, frame: self._end_because("timed out", "the machine is shut down"))
        plan: RunPlan | None = None
        steps: Steps | None = None
        state, reason = "succeeded", ""
        try:
            plan = RunPlan.of(self._exchange.read_json(f"{self._results}/run.json"))
            steps = Steps(plan, self._root / "work", Path(__file__).parent)
            self._run(plan, steps)
        except StepStopped:
            state, reason = self._why.split(": ", 1)[0], self._why.split(": ", 1)[1]
        except JobError as error:
            state, reason = "failed", str(error)
        except Exception as error:
            traceback.print_exc()
            state, reason = "failed", f"{type(error).__name__}: {error}"
        print(f"{state}{': ' * bool(reason)}{reason}", flush=True)
        if plan is not None and steps is not None:
            try:
                self._send_checkpoints(plan, steps)
            except (BotoCoreError, ClientError, Boto3Error) as error:
                # Without its end in the status, the run would end without a word.
                said = f"its last checkpoints were not uploaded ({error})"
                print(f"warning: {said}", file=sys.stderr, flush=True)
                reason = f"{reason}; {said}" if reason else said
        self._say(state=state, reason=reason, ended=_now())
        return 0 if state == "succeeded" else 1

    def _run(self, plan: RunPlan, steps: Steps) -> None:
        self._say(step="fetch")
        for split in SPLITS:
            if not self._exchange.fetch(plan.shards[split], steps.data / split):
                raise JobError(f"there are no shards under {plan.shards[split]}: run the pipeline's Ingest first")
        for step, folder in steps.checkpoints.items():
            found = self._exchange.fetch(f"{plan.checkpoints}{step}/", folder)
            if found:
                print(f"continuing from {found} checkpoint files of {step}", flush=True)
        for step in STEPS:
            self._say(step=step)
            steps.run(step, lambda: self._must_stop(plan, steps))
        self._say(step="send")
        self._exchange.send(steps.model, f"{plan.models}train/model.tar.gz")
        self._exchange.send(steps.evaluated, plan.models)

    def _must_stop(self, plan: RunPlan, steps: Steps) -> bool:
        """Whether the step must stop; called twice a second. Uploads and reads the spot notice when it is time."""
        now = time.monotonic()
        if now >= self._looked + _LOOK_SECONDS:
            self._looked = now
            self._look()
        if now >= self._deadline:
            self._end_because("timed out", "the limit of the run's time is reached")
        if now >= self._sent + _SEND_SECONDS and not self._stop.is_set():
            self._sent = now
            self._send_while_running(plan, steps)
        return self._stop.is_set()

    def _send_while_running(self, plan: RunPlan, steps: Steps) -> None:
        try:
            self._send_checkpoints(plan, steps)
            self._say()
        except (BotoCoreError, ClientError, Boto3Error) as error:
            # The next upload is in half a minute; training continues.
            print(f"warning: nothing was uploaded ({error})", file=sys.stderr, flush=True)

    def _look(self) -> None:
        try:
            notice = self._metadata.interruption()
        except (urllib.error.URLError, OSError) as error:
            print(f"warning: the instance metadata cannot be read ({error})", file=sys.stderr, flush=True)
            return
        if notice:
            self._end_because("reclaimed", f"spot takes the machine back: {notice}")

    def _end_because(self, state: str, reason: str) -> None:
        if not self._stop.is_set():
            self._why = f"{state}: {reason}"
            self._stop.set()

    def _send_checkpoints(self, plan: RunPlan, steps: Steps) -> None:
        for step, folder in steps.checkpoints.items():
            self._exchange.send_checkpoints(folder, f"{plan.checkpoints}{step}")

    def _say(self, **changes: Any) -> None:
        """Uploads status and log."""
        self._status |= {**changes, "heard": _now()}
        log = self._root / "log.txt"
        if log.is_file():
            self._exchange.send(log, f"{self._results}/log.txt")
        self._exchange.write_json(f"{self._results}/status.json", self._status)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def main() -> int:
    """Runs the plan that the machine's tag names; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", required=True, help="s3:// prefix under which the runs are")
    parser.add_argument("--root", required=True, type=Path, help="folder for everything on this machine")
    parser.add_argument("--minutes", required=True, type=float, help="time after which the run is ended")
    given = parser.parse_args()
    run = InstanceMetadata().tag("run")
    if not run:
        print(json.dumps({"error": "the instance has no tag `run`, or its tags are not in its metadata"}), flush=True)
        return 1
    return SpotMachine(f"{given.executions.rstrip('/')}/{run}", given.root, given.minutes).work()


if __name__ == "__main__":
    sys.exit(main())
