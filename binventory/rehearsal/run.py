"""The rehearsal itself: nine steps from an empty machine to counted photos, and back to an empty machine."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from binventory import pipeline, promotion, serving
from binventory.aws import Aws, connect
from binventory.errors import Exit, Problem
from binventory.journal import Entry, Journal
from binventory.names import Names
from binventory.rehearsal import agreement, auditing, leftovers, source
from binventory.rehearsal.agreement import Agreement
from binventory.rehearsal.auditing import Audited
from binventory.rehearsal.cdk import Cdk, progress
from binventory.report.page import render
from binventory.report.record import read
from binventory.watching import StepWatcher, Transition
from local_aws.server import LocalAws, LocalAwsError, stop_running

BEFORE = ("Start the local AWS", "Bootstrap", "Deploy", "Fill the photo bucket", "Pipeline")
AFTER = (
    "Approve and promote",
    "Count test photos",
    "Compare with evaluation",
    "Audit by transform job",
    "Destroy",
    "Prove that nothing is left",
)
TEST_PHOTOS = 10
PHOTOS = 1000
"""Rendered photos from which a head learns to count three test photos of four."""
BACKBONE = "efficientnet_lite0"
WEIGHTS = "packaged"
"""ImageNet weights that were installed with the project: a rehearsal downloads nothing, and still counts."""
EXPORTS = "environment.sh"
"""File of a kept rehearsal with the exports, for `source`."""
_TIE = 0.01
_PROMOTION_SECONDS = 180.0
# Of a head on features, a second or two a trial. They give --reclaim something to interrupt.
_EPOCHS = 40
# A person's own photos may be too few to count well, and the rehearsal is to go on to the endpoint: the gate is walked
# through. The threshold in settings/ holds back a bad model on AWS.
_THRESHOLD = 0.0


@dataclass(frozen=True)
class Options:
    """What a rehearsal is asked to do."""

    repository: Path
    state_dir: Path
    photos: Path | None = None  # None renders `photos_count` of them
    photos_count: int = PHOTOS
    keep: bool = False
    reclaim: bool = False
    enforce_iam: bool = False
    report: Path | None = None  # where the execution's page is written
    backbone: str = BACKBONE
    weights: str = WEIGHTS
    names: Names = field(default_factory=Names)

    def parameters(self, found: source.Source) -> dict[str, str | int | float]:
        """The pipeline parameters of a rehearsal; everything else keeps its default from settings/."""
        return {
            "PhotosUri": found.photos_uri,
            "LabelsUri": found.labels_uri,
            "LimitPerClass": 0,
            "Backbone": self.backbone,
            "Weights": self.weights,
            # A view costs as much as the photo itself and gains little.
            "Views": 0,
            "Epochs": _EPOCHS,
            "AccuracyThreshold": _THRESHOLD,
        }


@dataclass(frozen=True)
class Counted:
    """One test photo: what the record says and what the endpoint says."""

    image_id: str
    recorded: int
    answer: serving.Answer

    def differs_from(self, likely: int) -> bool:
        """Whether another answer's likeliest count contradicts this one; where two counts tie, either may win."""
        shares = self.answer.probabilities
        return max(shares.values()) - shares[likely] > _TIE


@dataclass
class Result:
    """What a rehearsal found out; filled as it goes, so that a failed one still shows what it has."""

    source: source.Source | None = None
    execution: str = ""
    trials: tuple[pipeline.Trial, ...] = ()
    evaluation: dict[str, Any] = field(default_factory=dict)
    package: str = ""
    transitions: tuple[Transition, ...] = ()
    counted: tuple[Counted, ...] = ()
    agreement: Agreement | None = None
    audited: tuple[Audited, ...] = ()
    checked: str = ""
    kept: dict[str, str] = field(default_factory=dict)  # exports of a kept local AWS

    @property
    def accuracy(self) -> float | None:
        """Accuracy on the test split."""
        metric = self.evaluation.get("multiclass_classification_metrics", {}).get("accuracy", {})
        return float(metric["value"]) if "value" in metric else None

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        return asdict(self)


def rehearse(options: Options, journal: Journal, result: Result | None = None) -> Result:
    """Runs the nine steps. Whatever happens, nothing is left running, unless `keep` asks for it.

    `result` is filled as it goes, for whoever wants what a failed rehearsal has found.
    """
    return _Rehearsal(options, journal, Result() if result is None else result).run()


class _Rehearsal:
    """The steps in their order; each is one method."""

    def __init__(self, options: Options, journal: Journal, result: Result) -> None:
        self.options = options
        self.names = options.names
        self.journal = journal
        self.result = result
        self.aws: Aws
        self.cdk: Cdk
        if options.photos is not None:
            source.check(options.photos)
        self.logs = options.state_dir / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.local = LocalAws(options.state_dir / "aws", keep=options.keep, enforce_iam=options.enforce_iam)
        journal.plan(*BEFORE)
        journal.plan(*pipeline.STEPS, level=1)
        journal.plan(*(AFTER[:4] if options.keep else AFTER))

    def run(self) -> Result:
        """All steps; the clean-up runs even after Ctrl-C."""
        succeeded = False
        try:
            self.start()
            self.deploy()
            found = self.fill()
            self.learn(found)
            self.promote()
            self.count()
            self.compare()
            self.audit()
            if self.options.keep:
                self.result.kept = keep(self.options, self.local)
            else:
                self.destroy()
            succeeded = True
            return self.result
        except LocalAwsError as error:
            raise Problem(
                "The local AWS failed",
                str(error).splitlines()[0],
                f"its whole log is {self.local.log_path}",
                log=tuple(str(error).splitlines()[1:]),
            ) from error
        finally:
            self.journal.skip_waiting()
            if not (succeeded and self.options.keep):
                self.local.stop()
                clear(self.options.state_dir, keep_logs=not succeeded)

    def start(self) -> None:
        """Step 1: the local AWS."""
        with self.journal.step(BEFORE[0]) as entry:
            self.local.start()
            environment = self.local.environment()
            self.aws = connect(environment)
            self.cdk = Cdk(
                self.options.repository, self.options.state_dir / "assembly", self.logs / "cdk.log", environment
            )
            self.journal.note(entry, self.local.endpoint_url)

    def deploy(self) -> None:
        """Step 2: the real CDK CLI, the same app that goes to AWS."""
        with self.journal.step("Bootstrap") as entry:
            self.cdk.bootstrap(self.local.account, self.local.region, self._say(entry))
            self.journal.note(entry, "CDKToolkit")
        with self.journal.step("Deploy") as entry:
            self.cdk.deploy(f"env={self.names.environment}", self._say(entry))
            self.journal.note(entry, ", ".join(self._stacks()))

    def fill(self) -> source.Source:
        """Step 3: photos into the local copy of the public bucket."""
        with self.journal.step("Fill the photo bucket") as entry:
            folder, kind = self.options.photos, "real"
            if folder is None:
                self.journal.note(entry, f"rendering {self.options.photos_count} bins")
                kind, folder = "rendered", source.render(self.options.state_dir / "photos", self.options.photos_count)
            found = source.fill(
                self.aws, folder, lambda done, total: self.journal.note(entry, f"{done} of {total} files")
            )
            self.result.source = found
            labels = "labels.csv" if found.labels_uri != "none" else "metadata"
            self.journal.note(entry, f"{found.photos} {kind} photos, labels from {labels}")
            return found

    def learn(self, found: source.Source) -> None:
        """Step 4: the pipeline, by its API."""
        with self.journal.step("Pipeline") as entry:
            arn = pipeline.start(self.aws, self.names, self.options.parameters(found))
            self.journal.note(entry, f"backbone {self.options.backbone}, weights {self.options.weights}")
            execution = self._follow(arn)
            self.result.execution = arn
            if self.options.report is not None:
                self.options.report.write_text(render(read(self.aws, arn)), encoding="utf-8")
            if execution.status != "Succeeded":
                raise pipeline.explain(self.aws, execution)
            self._evaluated = self._output(execution, "Evaluate", "evaluation")
            self.result.evaluation = dict(pipeline.read_json(self.aws, f"{self._evaluated}/evaluation.json"))
            register = execution.step("Register")
            assert register is not None, "a succeeded execution has registered a model"
            self.result.package = register.detail
            self._manifest = self._output(execution, "Ingest", "report")
            self.journal.note(entry, f"execution {execution.id}")

    def promote(self) -> None:
        """Step 5: approval, event, Lambda, stack update, endpoint."""
        with self.journal.step("Approve and promote") as entry:
            promotion.approve(self.aws, self.result.package, "rehearsal")
            self.journal.note(entry, "approved; waiting for the function that makes it serve")
            for event in promotion.follow_promotion(
                self.aws, self.names, self.result.package, timeout=_PROMOTION_SECONDS
            ):
                self.journal.note(entry, event)
            self.journal.note(entry, f"endpoint {self.names.prefix} InService")

    def count(self) -> None:
        """Step 6: some test photos through plain boto3."""
        with self.journal.step("Count test photos") as entry:
            counted = []
            self._queue = serving.find_queue(self.aws, self.names)
            self._test_split = self._test_photos()
            spread = self._test_split[:: max(1, len(self._test_split) // TEST_PHOTOS)][:TEST_PHOTOS]
            for image_id, recorded in spread:
                counted.append(Counted(image_id, recorded, self._ask(image_id)))
                self.result.counted = tuple(counted)
                self.journal.note(entry, f"{len(counted)} photos")
            right = sum(item.answer.count == item.recorded for item in counted)
            self.journal.note(entry, f"{right} of {len(counted)} agree with the record")

    def compare(self) -> None:
        """Step 7: all test photos, which must be answered as they were judged."""
        with self.journal.step("Compare with evaluation") as entry:
            judged = agreement.read_judged(self.aws, self._evaluated, self.result.evaluation)
            answers = {item.image_id: item.answer for item in self.result.counted}

            def ask(image_id: str) -> serving.Answer:
                if image_id not in answers:
                    answers[image_id] = self._ask(image_id)
                    self.journal.note(entry, f"{len(answers)} of {len(self._test_split)} test photos")
                return answers[image_id]

            self.result.agreement = agreement.hold(self._test_split, judged, ask)
            self.journal.note(entry, str(self.result.agreement))

    def audit(self) -> None:
        """Step 8: the counted photos by Batch Transform, which must see what the endpoint saw."""
        with self.journal.step("Audit by transform job") as entry:
            records = {item.image_id: item.recorded for item in self.result.counted}
            source_uri = f"s3://{source.PUBLIC_BUCKET}/"
            audited = auditing.audit(self.aws, self.names, source_uri, records, self.options.state_dir / "audit")
            likely = {found.image_id: found.likely for found in audited}
            differing = [item.image_id for item in self.result.counted if item.differs_from(likely[item.image_id])]
            if differing:
                raise Problem(
                    "The transform job counts otherwise than the endpoint",
                    f"it differs on {', '.join(differing)}",
                    "both run one image and one artefact: look at which package each was given",
                )
            self.result.audited = audited
            worst = audited[0]
            self.journal.note(
                entry,
                f"{len(audited)} events received, worst {worst.image_id}: recorded {worst.recorded} has "
                f"probability {worst.recorded_probability:.2f}",
            )

    def destroy(self) -> None:
        """Step 9: everything goes, and is looked for."""
        with self.journal.step("Destroy") as entry:
            self.cdk.destroy(self._say(entry))
            self.journal.note(entry, "source bucket and bootstrap stack")
            source.empty(self.aws, source.PUBLIC_BUCKET)
            unbootstrap(self.aws)
            self.journal.note(entry, "stacks, source bucket and bootstrap stack deleted")
        with self.journal.step(AFTER[-1]) as entry:
            in_account = leftovers.in_account(self.aws)
            if not in_account.none:
                raise _left(in_account)
            self.local.stop()
            on_machine = leftovers.on_machine(self.options.state_dir, self.local.port)
            if not on_machine.none:
                raise _left(on_machine)
            self.result.checked = f"{in_account.checked}, {on_machine.checked}"
            self.journal.note(entry, f"none of: {self.result.checked}")

    def _follow(self, arn: str) -> pipeline.Execution:
        watcher = StepWatcher(
            self.aws, self.journal, reclaim_at=self.local.endpoint_url if self.options.reclaim else ""
        )
        for execution in pipeline.follow(self.aws, arn):
            watcher.update(execution)
            self.result.trials = watcher.trials
        if self.options.reclaim:
            self.result.transitions = watcher.transitions(execution)
        return execution

    def _output(self, execution: pipeline.Execution, step: str, name: str) -> str:
        found = execution.step(step)
        assert found is not None, f"{step} has run"
        uri = pipeline.output(self.aws, found, name)
        if uri is None:
            raise Problem(
                f"Step {step} has no output {name}",
                f"its job {found.job} names none",
                "see stacks/pipeline: the rehearsal reads this output",
            )
        return uri

    def _test_photos(self) -> list[tuple[str, int]]:
        """The ids of the test split with their recorded quantity."""
        bucket, _, prefix = self._manifest.removeprefix("s3://").partition("/")
        s3 = self.aws.client("s3")
        rows: list[tuple[str, int]] = []
        for item in s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/manifest").get("Contents", []):
            text = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read().decode()
            records = (json.loads(line) for line in text.splitlines())
            rows.extend((str(row["id"]), int(row["count"])) for row in records if row.get("split") == "test")
        if not rows:
            raise Problem(
                "There are no test photos",
                f"no manifest under {self._manifest} has a row of the split test",
                f"give the rehearsal more photos: --photos-count {PHOTOS}",
            )
        return sorted(rows)

    def _ask(self, image_id: str) -> serving.Answer:
        key = f"bin-images/{image_id}.jpg"
        photo = bytes(self.aws.client("s3").get_object(Bucket=source.PUBLIC_BUCKET, Key=key)["Body"].read())
        return serving.count(self.aws, self.names, photo, queue=self._queue)

    def _stacks(self) -> list[str]:
        """The stacks of this environment that exist, in the order in which they were deployed."""
        stacks = self.aws.client("cloudformation").describe_stacks()["Stacks"]
        ours = [stack for stack in stacks if stack["StackName"].startswith(f"{self.names.prefix}-")]
        return [stack["StackName"] for stack in sorted(ours, key=lambda stack: stack["CreationTime"])]

    def _say(self, entry: Entry) -> Any:
        def say(line: str) -> None:
            if (short := progress(line)) is not None:
                self.journal.note(entry, short)

        return say


def unbootstrap(aws: Aws) -> None:
    """Deletes the bootstrap stack and what it retains: its bucket and its image repository."""
    cloudformation = aws.client("cloudformation")
    resources = cloudformation.describe_stack_resources(StackName="CDKToolkit")["StackResources"]
    held = {item["ResourceType"]: item["PhysicalResourceId"] for item in resources}
    with contextlib.suppress(aws.client("ecr").exceptions.RepositoryNotFoundException):
        if "AWS::ECR::Repository" in held:
            aws.client("ecr").delete_repository(repositoryName=held["AWS::ECR::Repository"], force=True)
    if "AWS::S3::Bucket" in held:
        source.empty(aws, held["AWS::S3::Bucket"])
    cloudformation.delete_stack(StackName="CDKToolkit")
    cloudformation.get_waiter("stack_delete_complete").wait(
        StackName="CDKToolkit", WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )


def keep(options: Options, local: LocalAws) -> dict[str, str]:
    """Notes what a kept local AWS needs to be used (`environment.sh`) and ended; returns the exports."""
    exports = local.environment()
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    (options.state_dir / EXPORTS).write_text("\n".join(lines) + "\n")
    record = {"port": local.port, "environment": exports, "prefix": options.names.prefix}
    (options.state_dir / "rehearsal.json").write_text(json.dumps(record, indent=2))
    return exports


def end(state_dir: Path) -> leftovers.Leftovers:
    """Ends a kept rehearsal: stops its local AWS, removes its state, and looks for what is left."""
    record = state_dir / "rehearsal.json"
    if not record.is_file():
        raise Problem(
            f"No kept rehearsal in {state_dir}",
            "there is no rehearsal.json in it",
            "name the folder that `binventory rehearse --keep` printed",
            code=Exit.USAGE,
        )
    port = int(json.loads(record.read_text())["port"])
    stop_running(state_dir / "aws")
    found = leftovers.on_machine(state_dir, port)
    if not found.none:
        raise _left(found)
    shutil.rmtree(state_dir)
    return found


def clear(state_dir: Path, *, keep_logs: bool) -> None:
    """Removes what a rehearsal wrote; after a failure the logs stay."""
    if not keep_logs:
        shutil.rmtree(state_dir, ignore_errors=True)
        return
    server_log = state_dir / "aws" / "server.log"
    if server_log.is_file():
        shutil.copy(server_log, state_dir / "logs" / "local_aws.log")
    for path in _children(state_dir):
        if path.name != "logs":
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _children(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from folder.iterdir()


def _left(found: leftovers.Leftovers) -> Problem:
    return Problem("Something is left", str(found), "this is a fault of the stacks or of the local AWS: see the logs")
