"""Audits a large prefix group by group through transform jobs; no photo comes to this computer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from binventory.audit.counters import PhotoRefusedError, parse_probabilities, reason_in
from binventory.audit.database import JOB_FAILED, AuditDatabase, CountedBin, SetAside
from binventory.audit.run import Scope, not_yet, out_of_scope
from binventory.audit.sources import Bin, Prefix
from binventory.batch.estimate import PHOTOS_A_JOB
from binventory.batch.ordered_map import ordered_map
from binventory.batch.transform import MAX_PHOTO_BYTES, Heard, NoAnswersProblem, Photos, TransformBatch
from binventory.core.errors import Problem
from binventory.core.words import counted
from binventory.records.errors import RecordError
from binventory.records.metadata import Record

LARGE: Final = 20_000
"""Bins of a prefix from which transform jobs are the default."""


@dataclass(frozen=True)
class TransformJobs:
    """Answers for an audit by transform jobs, which count many photos at once where a `Counter` counts one."""

    batch: TransformBatch
    listed: bool
    """Whether the photos were listed and so exist; a CSV may name any."""
    heard: Heard = lambda name, done: None
    photos_a_job: int = PHOTOS_A_JOB

    @property
    def name(self) -> str:
        """The name of this source of answers. A resumed audit must use the same one."""
        return f"transform jobs with {self.batch.site.package}"


def audit_in_batches(
    bins: Iterable[Bin],
    store: Prefix,
    jobs: TransformJobs,
    ledger: AuditDatabase,
    *,
    scope: Scope,
    concurrency: int,
    on_done: Callable[[int], None],
    failed: Callable[[str], None],
) -> None:
    """Count every bin that the ledger lacks; only photos whose record can be judged are paid for.

    A group goes into the ledger as a whole. An interrupted run makes the same groups again, and so finds the job that
    it left. What a failed job has no answer for is set aside, and the next run asks for it again; `failed` is called
    with a sentence about each such job. Raises Problem.
    """
    jobs.batch.site.require_readable(store.address)
    for group in _groups(bins, store, jobs, ledger, scope, concurrency, on_done):
        paths = [found.photo for found, _ in group]
        photos = Photos(store.address, paths, partial(store.changed, paths))
        asked_before = all(ledger.lacks_answer(found.image_id) for found, _ in group)
        try:
            with jobs.batch.answers(photos, jobs.heard) as answers:
                table = dict(answers)
                ledger.add(_judged(group, table, scope, answers.failure))
            lacking = len(set(photos.paths) - table.keys())
            if sentence := answers.missing(lacking, len(group), "the same command asks for them again"):
                failed(sentence)
        except NoAnswersProblem as problem:
            # Photos that fail every job must not keep the other bins from being reported.
            if not asked_before:
                raise
            failed(f"{problem}. {counted(len(group), 'photo')} had no answer before: --restart begins anew.")
        on_done(len(group))


_Judgeable = tuple[Bin, Record]


def _groups(
    bins: Iterable[Bin],
    store: Prefix,
    jobs: TransformJobs,
    ledger: AuditDatabase,
    scope: Scope,
    concurrency: int,
    on_done: Callable[[int], None],
) -> Iterator[list[_Judgeable]]:
    """The bins of each job, in listing order; bins that need no answer go into the ledger at once."""

    def examine(found: Bin) -> _Judgeable | SetAside:
        try:
            record = found.record()
        except RecordError as error:
            return SetAside(found.image_id, found.photo, "not_audited", error.reason, str(error))
        if record.recorded not in scope.classes:
            return out_of_scope(found, record.recorded, scope)
        problem = _unanswerable(found, store.large.get(found.photo, 0) if jobs.listed else store.size(found.photo))
        return problem or (found, record)

    group: list[_Judgeable] = []
    aside: list[SetAside] = []

    def put_aside() -> None:
        ledger.add(aside)
        on_done(len(aside))
        aside.clear()

    try:
        for result in ordered_map(examine, not_yet(bins, ledger, on_done), threads=concurrency):
            if isinstance(result, SetAside):
                aside.append(result)
            else:
                group.append(result)
            if len(aside) >= 256:
                put_aside()
            if len(group) >= jobs.photos_a_job:
                put_aside()
                yield group
                group = []
    finally:
        put_aside()
    if group:
        yield group


def _unanswerable(found: Bin, size: int | None) -> SetAside | None:
    """Why a photo of so many bytes cannot be in a job, which a missing one (None) or a large one would fail."""
    if size is None:
        return SetAside(
            found.image_id, found.photo, "not_audited", "no_photo", f"there is no photo {found.photo[:200]}"
        )
    if size > MAX_PHOTO_BYTES:
        detail = f"{found.photo[:200]} has more than {MAX_PHOTO_BYTES} bytes"
        return SetAside(found.image_id, found.photo, "not_audited", "photo_too_large", detail)
    return None


def _judged(
    group: list[_Judgeable], answers: Mapping[str, Any], scope: Scope, failure: str
) -> Iterator[CountedBin | SetAside]:
    for found, record in group:
        try:
            table = _probabilities(answers.get(found.photo), failure)
        except PhotoRefusedError as error:
            yield SetAside(found.image_id, found.photo, "not_audited", error.reason, str(error))
            continue
        scope.require(table)
        yield CountedBin(record, found.photo, table)


def _probabilities(answer: Any, failure: str) -> Mapping[int, float]:
    if answer is None:
        if failure:
            raise PhotoRefusedError(JOB_FAILED, failure)
        raise PhotoRefusedError("no_prediction", "the transform job has no answer for it")
    if (reason := reason_in(answer)) is not None:
        raise PhotoRefusedError("refused", reason)
    try:
        return parse_probabilities(answer)
    except ValueError as error:
        raise Problem(
            "The transform job does not answer as a count model does", str(error), "check which model package it ran"
        ) from error
