"""Runs one audit, from the request to the files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from binventory import serving
from binventory.audit import folder
from binventory.audit.batches import LARGE, TransformJobs, audit_in_batches
from binventory.audit.counters import Counter, EndpointCounter, Pace
from binventory.audit.csv_records import Columns, CsvRecords
from binventory.audit.database import AuditDatabase, Disagreement, Earlier, Filters
from binventory.audit.events import require_bus, send_events
from binventory.audit.files import FORMATS, Written, write_files
from binventory.audit.model import AuditModel, model_of_endpoint, model_of_evaluation, model_of_package
from binventory.audit.outputs import Origin
from binventory.audit.page import write_page
from binventory.audit.plan import Plan
from binventory.audit.predictions import PredictionsFile
from binventory.audit.run import Scope, audit_bins
from binventory.audit.sources import (
    PHOTO_FOLDER,
    Bin,
    Folder,
    PhotoUnreadableError,
    Prefix,
    Store,
    bins_with_metadata,
    read_photo,
)
from binventory.audit.summary import Summary, summarise
from binventory.batch.estimate import PHOTOS_A_JOB
from binventory.batch.site import Site, find_site
from binventory.batch.transform import Halted, TransformBatch
from binventory.client import Queue
from binventory.core.aws import Aws
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names
from binventory.core.remains import Left
from binventory.core.words import counted


@dataclass(frozen=True)
class Request:
    """The photos and records to audit, and the files to write."""

    source: str
    """A folder or `s3://bucket/prefix` with photos."""
    output: Path
    records: Path | None = None
    """CSV of records; None: metadata JSON beside the photos."""
    columns: Columns = field(default_factory=Columns)
    predictions: Path | None = None
    """Answers given before; None: ask the endpoint."""
    evaluation: str | None = None
    """Path or `s3://` address of the model's evaluation.json; None: the one registered with its model package."""
    endpoint: str = ""
    batch: bool | None = None
    """Ask transform jobs instead of the endpoint; None: from 20,000 bins of an S3 prefix on."""
    names: Names | None = None
    """The environment whose serving stack names the machines of transform jobs and the endpoint's queue; None is
    enough with `predictions`."""
    photos_a_job: int = PHOTOS_A_JOB
    filters: Filters = field(default_factory=Filters)
    formats: tuple[str, ...] = FORMATS
    page_bins: int = 2000
    """Most bins on the HTML page."""
    scope: Scope = field(default_factory=Scope)
    rate: float | None = None
    """Most requests a second to the endpoint."""
    concurrency: int = 8
    price_per_hour: float | None = 0.0
    """Of the endpoint's instance, dollars, for the plan."""
    bus: str | None = None
    """EventBridge bus for one event a listed bin; None: no events."""
    restart: bool = False
    """Discard what an earlier run of this audit has done."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.formats) - set(FORMATS))
        if unknown:
            raise Problem(
                f"There is no format {', '.join(unknown)}",
                f"an audit writes {', '.join(FORMATS)}",
                "give some of these, separated by commas",
                code=Exit.USAGE,
            )
        if self.batch and (self.predictions is not None or not self.source.startswith("s3://")):
            raise Problem(
                "There is nothing for a transform job to count",
                "it counts photos of an S3 prefix, and asks no answers given before",
                "give s3://bucket/prefix/ and no --predictions, or leave out --batch",
                code=Exit.USAGE,
            )

    @property
    def needs_aws(self) -> bool:
        """Whether this audit calls AWS."""
        addresses = (self.source, self.evaluation or "")
        on_s3 = any(address.startswith("s3://") for address in addresses)
        return on_s3 or self.predictions is None or self.bus is not None


@dataclass(frozen=True)
class Progress:
    """Callbacks while an audit runs; each call passes how many more are done."""

    planned: Callable[[Plan], None] = lambda plan: None
    """Called before the first request; raising stops the audit."""
    launched: Callable[[int, Site], None] = lambda bins, site: None
    """Called instead of `planned` where transform jobs will be started, with the most bins they can count."""
    transformed: Callable[[str, int], None] = lambda name, done: None
    """Called while a transform job runs, with its name and how many of its photos are answered."""
    halted: Halted = lambda name, ended: None
    """Called when a transform job is stopped because the audit was interrupted."""
    left: Left = lambda remains: None
    """Called with what a transform job or a queue leaves behind because it could not be deleted."""
    failed: Callable[[str], None] = lambda sentence: None
    """Called with a sentence about a transform job that failed with answers for only some of its photos."""
    unknown: Callable[[str], None] = lambda sentence: None
    """Called before the first request with what could not be looked at, or is not looked at again."""
    audited: Callable[[int], None] = lambda count: None
    drawn: Callable[[int], None] = lambda count: None
    sent: Callable[[int], None] = lambda count: None


@dataclass(frozen=True)
class Result:
    """What an audit has written."""

    summary: Summary
    files: tuple[Path, ...]
    removed: tuple[Path, ...]
    """Files of an earlier audit that this one does not write anew."""
    events: int


def run_audit(request: Request, connect: Callable[[], Aws], progress: Progress | None = None) -> Result:
    """Audits, estimates and writes. After an interruption, the same request continues where the first call stopped.

    connect: called only when the request needs AWS. Raises Problem.
    """
    heard = progress or Progress()
    aws = connect() if request.needs_aws else None
    store = _store(request, aws)
    if request.bus and aws and (unknown := require_bus(aws, request.bus)):
        heard.unknown(unknown)
    with ExitStack() as stack:
        stack.enter_context(folder.alone(request.output))
        begun = stack.enter_context(folder.put_aside(request.output)) if request.restart else lambda: None
        total, bins = _bins(request, store, stack)
        counter = _counter(request, aws, store, total, stack, heard)
        identity = _identity(request, store, counter)
        ledger = stack.enter_context(closing(AuditDatabase(request.output / folder.LEDGER, identity)))
        model = ledger.remember_model(_model(request, aws, counter))
        if isinstance(counter, EndpointCounter):
            counter.expect(model.package)
        earlier = ledger.earlier()
        if earlier is not None:
            heard.unknown(_not_again(earlier))

        def begin() -> None:
            begun()
            ledger.note_run()

        try:
            _count(request, bins, total, store, counter, ledger, heard, begin)
        finally:
            if isinstance(counter, EndpointCounter):
                # Where SageMaker did not say it, the answers name the package, which a later run must not mix.
                model = ledger.remember_model(replace(model, package=counter.package))
                for remains in counter.remains():
                    heard.left(remains)
        summary = summarise(
            ledger,
            model=model,
            identity=identity,
            filters=request.filters,
            classes=len(request.scope.classes),
            earlier=earlier,
        )
        origin = Origin(store.address, model.package)
        written = _write(request, store, ledger, summary, origin, heard)
        events = 0
        if request.bus and aws:
            events = send_events(
                aws,
                request.bus,
                ledger,
                request.filters,
                audit=ledger.name,
                origin=origin,
                model=model,
                on_sent=heard.sent,
            )
        folder.tidy(request.output)
    return Result(summary, written.files, written.removed, events)


def _not_again(earlier: Earlier) -> str:
    """What an earlier run has found stands, whatever has become of its photos and records."""
    since = f" since {earlier.began}" if earlier.began else ""
    return (
        f"{counted(earlier.bins, 'bin')} of an earlier run{since} stand as they are, also where a photo or its "
        "metadata is another by now: --restart looks at all of them again."
    )


def _store(request: Request, aws: Aws | None) -> Store:
    if request.source.startswith("s3://") and aws is not None:
        return Prefix.parse(aws, request.source)
    photos = Path(request.source)
    if not photos.is_dir():
        raise Problem(
            f"There is no folder {photos}",
            "an audit needs photos",
            "give a folder or s3://bucket/prefix/",
            code=Exit.USAGE,
        )
    return Folder(photos)


def _count(
    request: Request,
    bins: Iterable[Bin],
    total: int,
    store: Store,
    counter: Counter | TransformJobs,
    ledger: AuditDatabase,
    heard: Progress,
    begun: Callable[[], None],
) -> None:
    """Report the expected cost, then fill the ledger; `begun` is called in between."""
    if isinstance(counter, TransformJobs) and isinstance(store, Prefix):
        heard.launched(total, counter.batch.site)
        begun()
        audit_in_batches(
            bins,
            store,
            counter,
            ledger,
            scope=request.scope,
            concurrency=request.concurrency,
            on_done=heard.audited,
            failed=heard.failed,
        )
    elif not isinstance(counter, TransformJobs):
        heard.planned(_plan(request, total))
        begun()
        audit_bins(
            bins, store, counter, ledger, scope=request.scope, concurrency=request.concurrency, on_done=heard.audited
        )


def _counter(
    request: Request, aws: Aws | None, store: Store, total: int, stack: ExitStack, heard: Progress
) -> Counter | TransformJobs:
    if request.predictions is not None:
        predictions = PredictionsFile(request.predictions, request.output / folder.PREDICTIONS)
        stack.callback(predictions.close)
        return predictions
    if aws is None or request.names is None:
        raise AssertionError("a request without predictions needs AWS, and the names of an environment")
    names = request.names
    if request.batch if request.batch is not None else isinstance(store, Prefix) and total >= LARGE:
        batch = TransformBatch(aws, find_site(aws, names), "audit", halted=heard.halted, left=heard.left)
        return TransformJobs(
            batch, listed=request.records is None, heard=heard.transformed, photos_a_job=request.photos_a_job
        )

    def find_queue() -> Queue | None:
        # The stack names the queue of the environment's endpoint, which is no other's.
        return serving.find_queue(aws, names) if request.endpoint == names.prefix else None

    look = names.command("endpoint status")
    return EndpointCounter(aws, request.endpoint, Pace(request.rate), look=look, find_queue=find_queue)


def _model(request: Request, aws: Aws | None, counter: Counter | TransformJobs) -> AuditModel:
    """The model that answers. Its evaluation is read before anything is counted."""
    if isinstance(counter, TransformJobs):
        model = model_of_package(counter.batch.aws, counter.batch.site.package)
    elif isinstance(counter, EndpointCounter):
        model = model_of_endpoint(counter.aws, counter.endpoint)
    else:
        model = AuditModel(unknown="the answers come from a file, which names no model package; give --evaluation")
    if request.evaluation is not None:
        return replace(model_of_evaluation(aws, request.evaluation), package=model.package)
    return model


def _bins(request: Request, store: Store, stack: ExitStack) -> tuple[int, Iterator[Bin]]:
    """The number of bins, and the bins."""
    if request.records is not None:
        records = CsvRecords(request.records, request.columns, request.output / folder.RECORDS)
        stack.callback(records.close)
        return len(records), records.bins(store)
    total = sum(1 for _ in bins_with_metadata(store))
    if not total:
        raise Problem(
            f"There is nothing to audit in {store.address}",
            f"it has no photos below {PHOTO_FOLDER}/",
            "lay it out as bin-images/<id>.jpg and metadata/<id>.json, or give the records with --records",
            code=Exit.USAGE,
        )
    return total, bins_with_metadata(store)


def _identity(request: Request, store: Store, counter: Counter | TransformJobs) -> Mapping[str, str]:
    """What an audit is of. Another one may not continue it: files by their contents, which people correct in place."""
    identity = {
        "source": store.address,
        "records": "metadata" if request.records is None else f"{request.records} as {request.columns}",
        "counter": counter.name,
        "classes": ",".join(map(str, request.scope.classes)),
    }
    if request.records is not None:
        with request.records.open("rb") as stream:
            identity["digest of the records"] = hashlib.file_digest(stream, "sha256").hexdigest()
    if isinstance(counter, PredictionsFile):
        identity["digest of the predictions"] = counter.digest()
    return identity


def _plan(request: Request, total: int) -> Plan:
    listed = total if request.filters.top is None else min(total, request.filters.top)
    return Plan(
        bins=total,
        asks_endpoint=request.predictions is None,
        from_s3=request.source.startswith("s3://"),
        rate=request.rate,
        price_per_hour=request.price_per_hour,
        events=listed if request.bus else 0,
    )


def _write(
    request: Request,
    store: Store,
    ledger: AuditDatabase,
    summary: Summary,
    origin: Origin,
    heard: Progress,
) -> Written:
    def page(path: Path) -> None:
        _write_page(path, request, store, ledger, summary, heard)

    return write_files(
        request.output, request.formats, ledger, request.filters, summary=summary, origin=origin, page=page
    )


def _write_page(
    path: Path, request: Request, store: Store, ledger: AuditDatabase, summary: Summary, heard: Progress
) -> None:
    def photo(found: Disagreement) -> bytes | None:
        try:
            return read_photo(store, found.photo)
        except PhotoUnreadableError:
            return None

    write_page(
        path,
        lambda: ledger.ranked(request.filters),
        most=request.page_bins,
        summary=summary,
        classes=request.scope.classes,
        read_photo=photo,
        audit=ledger.name,
        threads=request.concurrency,
        on_done=heard.drawn,
    )
