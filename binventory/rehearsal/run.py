"""The rehearsal: nine steps from an empty machine to counted photos, and back to an empty machine."""

from __future__ import annotations

from typing import Any

from binventory import executions, serving
from binventory.core.aws import Aws, connect
from binventory.core.errors import Problem
from binventory.core.journal import Entry, Journal
from binventory.deployment.cdk import Cdk, progress
from binventory.executions.watching import StepWatcher
from binventory.rehearsal import agreement, auditing, ending, leftovers, source
from binventory.rehearsal.result import CountedTestPhoto, Options, Result
from binventory.report.page import render
from binventory.report.record import read
from local_aws.server import LocalAws, LocalAwsError
from stacks.names import EVALUATE, INGEST, REGISTER

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
_PROMOTION_SECONDS = 180.0


def rehearse(options: Options, journal: Journal, result: Result | None = None) -> Result:
    """Runs the nine steps. Nothing is left running, also after a failure, unless `keep` is set.

    `result` is filled step by step: pass one to see the results of a rehearsal that fails.
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
        journal.plan(*executions.STEPS, level=1)
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
                self.result.kept = ending.keep(self.options, self.local)
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
                ending.clear(self.options.state_dir, keep_logs=not succeeded)

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
            arn = executions.start(self.aws, self.names, self.options.parameters(found))
            self.journal.note(entry, f"backbone {self.options.backbone}, weights {self.options.weights}")
            execution = self._follow(arn)
            self.result.execution = arn
            if self.options.report is not None:
                self.options.report.write_text(render(read(self.aws, arn)), encoding="utf-8")
            if execution.status != "Succeeded":
                raise executions.explain(self.aws, execution)
            self._evaluated = self._output(execution, EVALUATE, "evaluation")
            self.result.evaluation = dict(executions.read_json(self.aws, f"{self._evaluated}/evaluation.json"))
            register = execution.step(REGISTER)
            assert register is not None, "a succeeded execution has registered a model"
            self.result.package = register.detail
            self._manifest = self._output(execution, INGEST, "report")
            self.journal.note(entry, f"execution {execution.id}")

    def promote(self) -> None:
        """Step 5: approval, event, Lambda, stack update, endpoint."""
        with self.journal.step("Approve and promote") as entry:
            serving.approve(self.aws, self.result.package, "rehearsal")
            self.journal.note(entry, "approved; waiting for the function that makes it serve")
            for event in serving.follow_promotion(
                self.aws, self.names, self.result.package, timeout=_PROMOTION_SECONDS
            ):
                self.journal.note(entry, event)
            self.journal.note(entry, f"endpoint {self.names.prefix} InService")

    def count(self) -> None:
        """Step 6: some test photos through plain boto3."""
        with self.journal.step("Count test photos") as entry:
            counted = []
            self._queue = serving.find_queue(self.aws, self.names)
            self._test_split = agreement.test_photos(self.aws, self._manifest)
            spread = self._test_split[:: max(1, len(self._test_split) // TEST_PHOTOS)][:TEST_PHOTOS]
            for image_id, recorded in spread:
                counted.append(CountedTestPhoto(image_id, recorded, self._ask(image_id)))
                self.result.counted = tuple(counted)
                self.journal.note(entry, f"{len(counted)} photos")
            right = sum(item.answer.count == item.recorded for item in counted)
            self.journal.note(entry, f"{right} of {len(counted)} agree with the record")

    def compare(self) -> None:
        """Step 7: all test photos; the endpoint must answer as the evaluation did."""
        with self.journal.step("Compare with evaluation") as entry:
            judged = agreement.read_judged(self.aws, self._evaluated, self.result.evaluation)
            answers = {item.image_id: item.answer for item in self.result.counted}

            def ask(image_id: str) -> serving.EndpointAnswer:
                if image_id not in answers:
                    answers[image_id] = self._ask(image_id)
                    self.journal.note(entry, f"{len(answers)} of {len(self._test_split)} test photos")
                return answers[image_id]

            self.result.agreement = agreement.hold(self._test_split, judged, ask)
            self.journal.note(entry, str(self.result.agreement))

    def audit(self) -> None:
        """Step 8: the counted photos by Batch Transform, which must agree with the endpoint."""
        with self.journal.step("Audit by transform job") as entry:
            records = {item.image_id: item.recorded for item in self.result.counted}
            source_uri = f"s3://{source.PUBLIC_BUCKET}/"
            audited = auditing.audit(self.aws, self.names, source_uri, records, self.options.state_dir / "audit")
            likely = {found.image_id: found.likely for found in audited}
            differing = [item.image_id for item in self.result.counted if item.differs_from(likely[item.image_id])]
            if differing:
                raise Problem(
                    "The transform job and the endpoint disagree",
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
        """Step 9: deletes everything, and looks for leftovers."""
        with self.journal.step("Destroy") as entry:
            self.cdk.destroy(self._say(entry))
            self.journal.note(entry, "source bucket and bootstrap stack")
            ending.empty(self.aws, source.PUBLIC_BUCKET)
            ending.unbootstrap(self.aws)
            self.journal.note(entry, "stacks, source bucket and bootstrap stack deleted")
        with self.journal.step(AFTER[-1]) as entry:
            in_account = leftovers.in_account(self.aws)
            if not in_account.none:
                raise ending.left(in_account)
            self.local.stop()
            on_machine = leftovers.on_machine(self.options.state_dir, self.local.port)
            if not on_machine.none:
                raise ending.left(on_machine)
            self.result.checked = f"{in_account.checked}, {on_machine.checked}"
            self.journal.note(entry, f"none of: {self.result.checked}")

    def _follow(self, arn: str) -> executions.Execution:
        watcher = StepWatcher(
            self.aws, self.journal, reclaim_at=self.local.endpoint_url if self.options.reclaim else ""
        )
        for execution in executions.follow(self.aws, arn):
            watcher.update(execution)
            self.result.trials = watcher.trials
        if self.options.reclaim:
            self.result.transitions = watcher.transitions(execution)
        return execution

    def _output(self, execution: executions.Execution, step: str, name: str) -> str:
        found = execution.step(step)
        assert found is not None, f"{step} has run"
        uri = executions.output(self.aws, found, name)
        if uri is None:
            raise Problem(
                f"Step {step} has no output {name}",
                f"its job {found.job} names none",
                "see stacks/pipeline: the rehearsal reads this output",
            )
        return uri

    def _ask(self, image_id: str) -> serving.EndpointAnswer:
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
