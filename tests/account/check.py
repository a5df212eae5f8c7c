"""The steps of `make test-aws`: deploy, train, promote, roll back, probe, destroy, and prove that nothing is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from botocore.exceptions import ClientError

from binventory import executions, serving
from binventory.account import strays
from binventory.assembly.templates import read_stacks
from binventory.core.aws import connect, error_message
from binventory.core.errors import Exit, Problem
from binventory.core.journal import Entry, Journal
from binventory.cost.launch import Launch
from binventory.deployment.cdk import Cdk
from binventory.doctor.billing import NAME as TAG
from binventory.rehearsal import ending
from binventory.rehearsal.result import Options, Result
from binventory.rehearsal.source import Source
from binventory.rehearsal.steps import Steps
from stacks.names import ARCHIVE, TRAIN
from tests import broken_model, grey_model
from tests.account import probes
from tests.account.options import price, settings
from tests.account.probes import Finding
from tests.callers import Callers

BROKEN_KEY = "executions/broken-on-purpose/model.tar.gz"
"""Below the prefix that the endpoint's role may read."""
PREPARATION = ("Look at the account", "Synthesize")
REMOVAL = ("Destroy", "Prove that nothing is left")
PROMOTION = ("Approve and promote", "Count test photos", "Compare with evaluation")
PROBES = ("Roll a broken package back", "Promote again", "Probe")
# The tagging API shows deleted resources for some minutes.
_LOOKS, _BETWEEN_LOOKS_SECONDS = 20, 30.0
_ALARMS_END_SECONDS = 600.0


class AccountCheck(Steps):
    """`prepare` costs nothing; `run` removes what it made, however it ends."""

    def __init__(
        self,
        options: Options,
        journal: Journal,
        *,
        stacks_only: bool = False,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        super().__init__(options, journal, Result())
        self.logs.mkdir(parents=True, exist_ok=True)
        self.findings: list[Finding] = []
        self._stacks_only = stacks_only
        self.aws = connect(environment)
        account = self.aws.client("sts").get_caller_identity()["Account"]
        self.bucket = f"{self.names.prefix}-photos-{account}-{self.aws.region}"
        self._environment = settings(self.names, self.bucket, environment)
        self._environment["BINVENTORY_REGION"] = self.aws.region
        self.cdk = Cdk(options.repository, options.state_dir / "assembly", self.logs / "cdk.log", self._environment)

    def prepare(self) -> Launch:
        """Refuses an account that is not ready or holds this name already; returns the price."""
        self.journal.plan(*PREPARATION)
        with self.journal.step("Look at the account") as entry:
            self._refuse_unready()
            self._refuse_taken()
            self.journal.note(entry, f"{self.aws.region}{f' at {self.aws.endpoint_url}' if self.aws.is_local else ''}")
        self.synthesize()
        source = Source(f"s3://{self.bucket}/", "none", self.options.photos_count, 2 * self.options.photos_count)
        return price(self.aws, self.options, source, read_stacks(self.cdk.assembly), jobs=not self._stacks_only)

    def clean(self) -> None:
        """Removes what an interrupted check has left."""
        self.journal.plan("Synthesize", *REMOVAL)
        self.synthesize()
        self.remove()

    def synthesize(self) -> None:
        """The templates, which name what a destroy removes."""
        with self.journal.step("Synthesize") as entry:
            self.cdk.synth("env=dev", self.say(entry))

    def run(self) -> None:
        """Everything that costs money. Raises the first Problem, after the removal."""
        self.journal.plan("Deploy")
        if self._stacks_only:
            self.journal.plan("Change a setting")
        else:
            self.journal.plan("Fill the photo bucket", "Pipeline")
            self.journal.plan(*executions.STEPS, level=1)
            self.journal.plan(*PROMOTION, *PROBES)
        self.journal.plan(*REMOVAL)
        try:
            self.deploy()
            if self._stacks_only:
                self.change_a_setting()
            else:
                self.work()
        finally:
            self.remove()
        if bad := [finding for finding in self.findings if not finding.good]:
            raise Problem(
                "AWS does not do what the system needs",
                "; ".join(f"{finding.question}: {finding.answer}" for finding in bad),
                "report it with this output",
            )

    def work(self) -> None:
        """One small execution, its model behind the endpoint, a rollback, and the probes."""
        self.learn(self.fill())
        self.promote()
        self.count()
        self.compare()
        self.roll_back()
        self.promote_again()
        self.probe()

    def change_a_setting(self) -> None:
        """An update of every stack with a log group."""
        environment = {**self._environment, "BINVENTORY_STORAGE__LOG_RETENTION_DAYS": "30"}
        changed = Cdk(self.cdk.repository, self.cdk.assembly, self.cdk.log, environment)
        with self.journal.step("Change a setting") as entry:
            changed.deploy("env=dev", self.say(entry))
            self.journal.note(entry, "storage.log_retention_days: 30")

    def roll_back(self) -> None:
        """Promotes a package that answers bright photos with 500, while callers send some."""
        with self.journal.step("Roll a broken package back") as entry:
            broken = self._register(self._broken_archive())
            with Callers(self._ask_bright, people=2, pause=0.2).calling() as callers:
                serving.approve(self.aws, broken, "broken on purpose")
                try:
                    for event in serving.follow_promotion(self.aws, self.names, broken):
                        self.journal.note(entry, event)
                except Problem as problem:
                    self.journal.note(entry, problem.why)
            if not callers.errors:
                raise Problem("The broken package answered", "no caller got an error", "look at the endpoint's log")
            self.findings.append(
                probes.after_rollback(self.aws, self.names, self.result.package, self._served_package())
            )
            self.journal.note(entry, f"{len(callers.errors)} errors; {self.findings[-1].answer}")

    def promote_again(self) -> None:
        """Promotes the good model as a new version: an update after a rollback."""
        with self.journal.step("Promote again") as entry:
            location = self._container(self.result.package)["ModelDataUrl"]
            self._alarms_end(entry)
            again = self._register(location)
            serving.approve(self.aws, again, "the good model again")
            for event in serving.follow_promotion(self.aws, self.names, again):
                self.journal.note(entry, event)
            served = self._served_package()
            self.findings.append(Finding("An update after a rollback works", served == again, f"{served} serves"))
            self.journal.note(entry, f"endpoint {self.names.prefix} InService")

    def _alarms_end(self, entry: Entry) -> None:
        """Wait until no alarm of the endpoint is left from the broken package: it would roll the next one back."""
        alarms = self.aws.client("cloudwatch")
        ends = time.monotonic() + _ALARMS_END_SECONDS
        while True:
            found = alarms.describe_alarms(AlarmNamePrefix=f"{self.names.prefix}-", StateValue="ALARM")
            left = [alarm["AlarmName"] for alarm in found["MetricAlarms"]]
            if not left:
                return
            if time.monotonic() > ends:
                raise Problem(
                    "Alarms do not end",
                    f"{', '.join(left)} in ALARM for {_ALARMS_END_SECONDS:.0f} s after the rollback",
                    "look at the endpoint's errors and latency in CloudWatch",
                )
            self.journal.note(entry, f"waits for the end of {', '.join(left)}")
            time.sleep(0.5 if self.aws.is_local else 5)

    def probe(self) -> None:
        """The questions that need no rollout."""
        with self.journal.step("Probe") as entry:
            self.findings.append(probes.manifest(self.aws, self.result.package))
            self.findings.append(probes.registration(self.aws, self.result.package))
            self.journal.note(entry, "a job that maps a file of a FastFile channel")
            step = executions.look(self.aws, self.result.execution).step(TRAIN)
            assert step is not None, "the execution has trained"
            self.findings.append(probes.mapped_file(self.aws, self.names, step.job))
            self.journal.note(entry, f"{len(self.findings)} answers")

    def remove(self) -> None:
        """Destroys the stacks and the photo bucket, and looks for what is left."""
        with self.journal.step("Destroy") as entry:
            self.cdk.destroy(self.say(entry))
            ending.empty(self.aws, self.bucket)
            self.journal.note(entry, "stacks and photo bucket deleted")
        with self.journal.step("Prove that nothing is left") as entry:
            for look in range(_LOOKS):
                left, kinds = self._left()
                if not left or self.aws.is_local:
                    break
                self.journal.note(entry, f"look {look + 1}: {', '.join(left)}")
                time.sleep(_BETWEEN_LOOKS_SECONDS)
            if left:
                raise Problem(
                    "Something is left", ", ".join(left), "remove it by hand, and report it: the stacks should have"
                )
            self.journal.note(entry, f"none of: {', '.join(kinds)}")
        self.journal.skip_waiting()

    def _left(self) -> tuple[list[str], tuple[str, ...]]:
        stacks = self._stacks()
        try:
            found = strays.find(self.aws, self.names)
        except ClientError as error:
            # An emulator of the control plane lacks services; those hold nothing then.
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != HTTPStatus.NOT_IMPLEMENTED:
                raise
            return stacks, ("stacks",)
        unseen = [f"{each.kind}, as far as is known ({each.why})" for each in found.unseen]
        return [*stacks, *(f"{resource.kind} {resource.name}" for resource in found.found), *unseen], found.kinds

    def _refuse_unready(self) -> None:
        """Asks `binventory doctor`, without the stacks, which are not deployed yet."""
        done = subprocess.run(
            [sys.executable, "-m", "binventory", "doctor", "--json"],
            cwd=self.options.repository,
            env={**os.environ, **self._environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in {Exit.OK, Exit.NOT_READY}:
            raise Problem("The account was not looked at", done.stderr.strip(), "run: binventory doctor")
        missing = [check for check in json.loads(done.stdout) if check["state"] == "missing" and _stops(check)]
        if missing:
            raise Problem(
                "The account is not ready",
                "; ".join(f"{check['name']}: {check['found']}" for check in missing),
                "; ".join(dict.fromkeys(check["cure"] for check in missing)) + "; see docs/first-deploy.md",
                code=Exit.NOT_READY,
            )

    def _refuse_taken(self) -> None:
        left, _ = self._left()
        if left:
            raise Problem(
                f"The account holds {self.names.prefix} already",
                ", ".join(left),
                "remove it: make test-aws ARGS=--clean; or choose another name: make test-aws ARGS='--project other'",
                code=Exit.NOT_READY,
            )

    def _register(self, archive: str) -> str:
        """Registers a version like the good one, with another archive; returns its ARN."""
        described = probes.package_of(self.aws, self.result.package)
        specification = described["InferenceSpecification"]
        specification["Containers"][0]["ModelDataUrl"] = archive
        reply = self.aws.client("sagemaker").create_model_package(
            ModelPackageGroupName=self.names.prefix,
            ModelApprovalStatus="PendingManualApproval",
            InferenceSpecification=specification,
            DriftCheckBaselines=described["DriftCheckBaselines"],
            CustomerMetadataProperties={
                key: value for key, value in described["CustomerMetadataProperties"].items() if key != ARCHIVE
            },
        )
        return str(reply["ModelPackageArn"])

    def _broken_archive(self) -> str:
        """Uploads a model that answers bright photos with 500; returns its s3:// address."""
        folder = grey_model.write(self.options.state_dir / "broken", onnx=broken_model.broken_on_bright_photos())
        archive = grey_model.pack(folder, self.options.state_dir / "broken.tar.gz")
        bucket = self._container(self.result.package)["ModelDataUrl"].removeprefix("s3://").partition("/")[0]
        self.aws.client("s3").put_object(Bucket=bucket, Key=BROKEN_KEY, Body=archive.read_bytes())
        return f"s3://{bucket}/{BROKEN_KEY}"

    def _container(self, package: str) -> dict[str, Any]:
        return dict(probes.package_of(self.aws, package)["InferenceSpecification"]["Containers"][0])

    def _ask_bright(self, turn: int) -> str:
        return self._answer(grey_model.photo(broken_model.BRIGHT))

    def _answer(self, photo: bytes) -> str:
        """The package that answers a photo."""
        reply = self.aws.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=self.names.prefix, Body=photo, ContentType="image/jpeg"
        )
        return str(json.loads(reply["Body"].read())["model"]["package"])

    def _served_package(self) -> str:
        """The package that serves, once the endpoint and its stack are at rest."""
        ends = time.monotonic() + serving.wait_seconds(serving.template(self.aws, self.names))
        while time.monotonic() < ends:
            state = serving.endpoint_state(self.aws, self.names)
            if state.rests and not state.changing:
                break
            time.sleep(0.5 if self.aws.is_local else 5)
        try:
            return self._answer(grey_model.photo(broken_model.BRIGHT))
        except ClientError as error:
            return error_message(error)


def _stops(check: dict[str, str]) -> bool:
    """Whether a check must not start without it.

    The stacks are deployed by the check itself. An account lists the tag only after a first deployment has used it.
    """
    return not (check["name"].startswith("stack ") or (check["name"] == TAG and "not listed yet" in check["found"]))
