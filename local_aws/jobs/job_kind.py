"""What creating, finding, listing, stopping and resuming has in common for every kind of job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from local_aws.core.context import Context
from local_aws.core.errors import in_use, not_found, validation
from local_aws.core.listing import Page, list_page
from local_aws.core.tags import set_tags
from local_aws.core.wire import Document, summarise
from local_aws.jobs.running import Run, from_before, jobs_of

_TAKEN = "Job name must be unique within an AWS account and region, and a job with name {} exists"
_MISSING = "Could not find requested job with name: {}"


@dataclass(frozen=True)
class JobKind:
    """One kind of job; its members on the wire are named after it, for example `ProcessingJobName`.

    Args:
        family: what it is called on the wire and in the store, for example `ProcessingJob`.
        noun: what AWS's messages call it.
        run: what does the work of the stored job of a name.
        taken: what AWS says when there is one of that name.
        missing: what AWS says when there is none of that name.
    """

    family: str
    noun: str
    run: Callable[[Context, str], Run]
    taken: str = _TAKEN
    missing: str = _MISSING

    def create(self, context: Context, request: Document, more: Document) -> Document:
        """Store and start a job; returns the reply.

        Args:
            context: the local AWS.
            request: the Create request, checked.
            more: members of the description that the request does not hold.
        """
        name, now = request[self._member("Name")], context.now()
        arn = context.arn(_words(self.family), name)
        job = {key: value for key, value in request.items() if key != "Tags"} | {
            self._member("Arn"): arn,
            self._member("Status"): "InProgress",
            "CreationTime": now,
            "LastModifiedTime": now,
            **more,
        }
        if not context.table(self.family).insert(name, job):
            raise in_use(self.taken.format(name))
        set_tags(context, arn, request.get("Tags"))
        self._start(context, name)
        return {self._member("Arn"): arn}

    def find(self, context: Context, request: Document) -> Document:
        """The job that a request names; raises `AwsError` when there is none."""
        name = request[self._member("Name")]
        job = context.table(self.family).get(name)
        if job is None:
            raise not_found(self.missing.format(name))
        return job

    def page(self, context: Context, request: Document) -> Page:
        """The jobs that a List request asks for, newest first unless it says otherwise."""
        jobs = context.table(self.family).all()
        return list_page(jobs, request, name=self._member("Name"), status=self._member("Status"))

    def reply(self, page: Page) -> Document:
        """The reply of the List operation."""
        member = self._member("Summaries")
        return page.reply(member, summarise(f"List{self.family}s", member, page.documents))

    def stop(self, context: Context, request: Document) -> Document:
        """Ask a running job to end, once; raises `AwsError` when it has ended."""
        status = self.find(context, request)[self._member("Status")]
        if status not in {"InProgress", "Stopping"}:
            raise validation(f"The request was rejected because the {self.noun} is in status {status}.")
        run = jobs_of(context).find(self.family, request[self._member("Name")])
        if run is not None and status == "InProgress":
            run.stop()
        return {}

    def resume(self, context: Context) -> None:
        """Start again what an earlier local AWS left running; what it was stopping is stopped."""
        for job in from_before(context, self.family):
            name, status = job[self._member("Name")], job[self._member("Status")]
            if status == "InProgress":
                self._start(context, name)
            elif status == "Stopping":
                context.table(self.family).put(name, job | {self._member("Status"): "Stopped"})

    def _start(self, context: Context, name: str) -> None:
        jobs_of(context).start(self.family, name, self.run(context, name))

    def _member(self, end: str) -> str:
        return f"{self.family}{end}"


def _words(family: str) -> str:
    """`ProcessingJob` as ARNs write it: `processing-job`."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in family).lstrip("-")
