"""The operations that every kind of job has: Create, Describe, List and Stop, and how it is resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from local_aws.core.context import Context
from local_aws.core.errors import in_use, not_found, validation
from local_aws.core.listing import OLDEST_FIRST, Order, Page, list_page
from local_aws.core.protocol import Document
from local_aws.core.record import Record
from local_aws.core.tags import store_new
from local_aws.core.wire import describe, summarise
from local_aws.jobs.records import JobRecord
from local_aws.jobs.running import Jobs, Run, from_before

_TAKEN = "Job name must be unique within an AWS account and region, and a job with name {} exists"
_MISSING = "Could not find requested job with name: {}"


@dataclass(frozen=True)
class JobKind:
    """One kind of job; its members on the wire begin with its name, for example `ProcessingJobName`.

    Args:
        family: its name on the wire and in the store, for example `ProcessingJob`.
        noun: its name in AWS's messages.
        check: raises `AwsError` for a Create request that AWS refuses, or that does not run locally.
        members: the members of a new job that its Create request does not hold.
        run: does the work of a stored job.
        taken: AWS's message when a job has that name already.
        missing: AWS's message when no job has that name.
        record: makes the record of a stored job; None for that of processing jobs, whose event shows every member.
        move: gives a job's document the status Stopping or Stopped; None where there is only the one status.
        resumed: does the work of a job that ran when the local AWS stopped; None where `run` does.
        usual: the order in which its List operation lists the jobs unless the request says otherwise.
    """

    family: str
    noun: str
    check: Callable[[Context, Document], None]
    members: Callable[[Context, Document], Document]
    run: Callable[[Context, str], Run]
    taken: str = _TAKEN
    missing: str = _MISSING
    record: Callable[[Context, str], Record] | None = None
    move: Callable[[Document, str, float], None] | None = None
    resumed: Callable[[Context, str], Run] | None = None
    usual: Order = OLDEST_FIRST

    def create(
        self,
        context: Context,
        request: Document,
        *,
        run: Callable[[Context, str], Run] | None = None,
        more: Document | None = None,
    ) -> Document:
        """The Create operation: check, store and start a job.

        Args:
            context: the local AWS.
            request: the Create request, valid in shape.
            run: does the job's work, in place of the kind's `run`.
            more: members that no request can set, such as a trial's TuningJobArn.
        """
        self.check(context, request)
        name, now = request[self._member("Name")], context.now()
        arn = context.arn(_words(self.family), name)
        job = {key: value for key, value in request.items() if key != "Tags"} | {
            self._member("Arn"): arn,
            self._member("Status"): "InProgress",
            "CreationTime": now,
            "LastModifiedTime": now,
            **self.members(context, request),
            **(more or {}),
        }
        with context.shared(Jobs).starting:
            if not store_new(context, self.family, name, job, arn, request.get("Tags")):
                raise in_use(self.taken.format(name))
            self.start(context, name, run, lambda: self._recorded(context, name).announce(job, None))
        return {self._member("Arn"): arn}

    def start(
        self,
        context: Context,
        name: str,
        run: Callable[[Context, str], Run] | None = None,
        first: Callable[[], None] = lambda: None,
    ) -> None:
        """Start the work of a stored job; `first` is called before it, in its thread."""
        context.shared(Jobs).start(self.family, name, (run or self.run)(context, name), first)

    def find(self, context: Context, request: Document) -> Document:
        """The job that a request names; raises `AwsError` when there is none."""
        name = request[self._member("Name")]
        job = context.table(self.family).get(name)
        if job is None:
            raise not_found(self.missing.format(name))
        return job

    def describe(self, context: Context, request: Document) -> Document:
        """The Describe operation: everything about one job."""
        return describe(f"Describe{self.family}", self.find(context, request))

    def list(self, context: Context, request: Document) -> Document:
        """The List operation: jobs in their usual order unless the request says otherwise."""
        return self.reply(self.page(context, request))

    def page(self, context: Context, request: Document) -> Page:
        """The page of jobs that a List request asks for."""
        jobs = context.table(self.family).all()
        return list_page(jobs, request, name=self._member("Name"), status=self._member("Status"), usual=self.usual)

    def reply(self, page: Page) -> Document:
        """A page as the reply of the List operation."""
        member = self._member("Summaries")
        return page.reply(member, summarise(f"List{self.family}s", member, page.documents))

    def stop(self, context: Context, request: Document) -> Document:
        """The Stop operation: ask a running job to end, once; raises `AwsError` when it has ended."""
        jobs, name = context.shared(Jobs), request[self._member("Name")]
        with jobs.starting:
            status = self.find(context, request)[self._member("Status")]
            if status not in {"InProgress", "Stopping"}:
                raise validation(f"The request was rejected because the {self.noun} is in status {status}.")
            run = jobs.find(self.family, name)
            if run is None:  # it ends at this moment, or it ran before a restart and is not resumed yet
                self._change(context, name, "Stopping", only_from="InProgress")
        if run is not None and status == "InProgress":
            run.stop()
        return {}

    def resume(self, context: Context) -> None:
        """Start again what an earlier local AWS left running; a job that it was stopping becomes Stopped."""
        for job in from_before(context, self.family):
            name = job[self._member("Name")]
            with context.shared(Jobs).starting:  # a client may have stopped it since it was listed
                status = self.find(context, {self._member("Name"): name})[self._member("Status")]
                if status == "InProgress":
                    self.start(context, name, self.resumed)
                elif status == "Stopping" and context.shared(Jobs).find(self.family, name) is None:
                    self._change(context, name, "Stopped")

    def _change(self, context: Context, name: str, status: str, *, only_from: str | None = None) -> None:
        record = self._recorded(context, name)
        now, move = context.now(), self.move or self._move
        record.change(lambda job: move(job, status, now), only_from=only_from)

    def _recorded(self, context: Context, name: str) -> Record:
        return self.record(context, name) if self.record else JobRecord(context, self.family, name)

    def _move(self, job: Document, status: str, now: float) -> None:
        job[self._member("Status")] = status
        if status == "Stopped":
            job["LastModifiedTime"] = job[f"{self.family.removesuffix('Job')}EndTime"] = now

    def _member(self, end: str) -> str:
        return f"{self.family}{end}"


def _words(family: str) -> str:
    """`ProcessingJob` as ARNs write it: `processing-job`."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in family).lstrip("-")
