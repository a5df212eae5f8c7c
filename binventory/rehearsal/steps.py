"""The steps that are the same in the local AWS and in an account: deploy, train, promote, count, compare."""

from __future__ import annotations

from collections.abc import Callable

from binventory import executions, serving
from binventory.core.aws import Aws
from binventory.core.errors import Problem
from binventory.core.journal import Entry, Journal
from binventory.core.objects import read_at
from binventory.core.outputs import write_text
from binventory.core.words import counted
from binventory.deployment.cdk import Cdk, progress
from binventory.executions.watching import StepWatcher
from binventory.rehearsal import agreement, source
from binventory.rehearsal.result import CountedTestPhoto, Options, Result
from binventory.report.page import render
from binventory.report.record import read
from stacks.names import EVALUATE, INGEST, REGISTER

TEST_PHOTOS = 10


class Steps:
    """Each step is one method. A subclass sets `aws` and `cdk`, and calls the methods in their order."""

    aws: Aws
    cdk: Cdk
    bucket = source.PUBLIC_BUCKET
    """Of the photos."""

    def __init__(self, options: Options, journal: Journal, result: Result) -> None:
        self.options = options
        self.names = options.names
        self.journal = journal
        self.result = result
        if options.photos is not None:
            source.check(options.photos)
        self.keys: dict[str, str] = {}
        """Of the photos in the bucket, by id."""
        self.logs = options.state_dir / "logs"
        """A subclass makes it."""

    def reclaim(self, job: str) -> None:
        """Interrupts the spot capacity of a training job; only a local AWS can do so."""
        raise NotImplementedError(job)

    def deploy(self) -> None:
        """All stacks, by the CDK CLI."""
        with self.journal.step("Deploy") as entry:
            self.cdk.deploy(f"env={self.names.environment}", self.say(entry))
            self.journal.note(entry, ", ".join(self._stacks()))

    def fill(self, check: Callable[[], None] = lambda: None) -> source.Source:
        """Photos into the bucket, which is made where there is none.

        check: is called after each file; what it raises ends the step.
        """
        with self.journal.step("Fill the photo bucket") as entry:

            def say(note: str) -> None:
                self.journal.note(entry, note)
                check()

            folder, count = self.options.photos, self.options.photos_count
            if folder is None:
                folder = self.options.state_dir / "photos"
                source.render(folder, count, lambda done: say(f"{done} of {count} bins rendered"))
            found = source.fill(
                self.aws, folder, lambda done, total: say(f"{done} of {total} files"), bucket=self.bucket
            )
            self.result.source = found
            self.keys = source.photo_keys(folder)
            labels = "labels.csv" if found.labels_uri != "none" else "metadata"
            photos = counted(found.photos, f"{source.kind_of(self.options.photos)} photo")
            self.journal.note(entry, f"{photos}, labels from {labels}")
            return found

    def learn(self, found: source.Source) -> None:
        """The pipeline, by its API."""
        with self.journal.step("Pipeline") as entry:
            arn = executions.start(self.aws, self.names, self.options.parameters(found))
            self.journal.note(entry, f"backbone {self.options.backbone}, weights {self.options.weights}")
            execution = self._follow(arn)
            self.result.execution = arn
            if self.options.report is not None:
                write_text(self.options.report, render(read(self.aws, arn)))
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
        """Approval, event, Lambda, stack update, endpoint."""
        with self.journal.step("Approve and promote") as entry:
            serving.approve(self.aws, self.result.package, "rehearsal")
            self.journal.note(entry, "approved; waiting for the function that makes it serve")
            for event in serving.follow_promotion(self.aws, self.names, self.result.package):
                self.journal.note(entry, event)
            self.journal.note(entry, f"endpoint {self.names.prefix} InService")

    def count(self) -> None:
        """Some test photos through plain boto3."""
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
        """All test photos; the endpoint must answer as the evaluation did."""
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

    def _follow(self, arn: str) -> executions.Execution:
        watcher = StepWatcher(self.aws, self.journal, reclaim=self.reclaim if self.options.reclaim else None)
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
        photo = read_at(self.aws.client("s3"), f"s3://{self.bucket}/{self.keys[image_id]}")
        return serving.count(self.aws, self.names, photo, queue=self._queue)

    def _stacks(self) -> list[str]:
        """The stacks of this environment that exist, in the order in which they were deployed."""
        pages = self.aws.client("cloudformation").get_paginator("describe_stacks").paginate()
        stacks = [stack for page in pages for stack in page["Stacks"]]
        ours = [stack for stack in stacks if stack["StackName"].startswith(f"{self.names.prefix}-")]
        return [stack["StackName"] for stack in sorted(ours, key=lambda stack: stack["CreationTime"])]

    def say(self, entry: Entry) -> Callable[[str], None]:
        """Notes the CDK CLI's progress at a step."""

        def say(line: str) -> None:
            if (short := progress(line)) is not None:
                self.journal.note(entry, short)

        return say
