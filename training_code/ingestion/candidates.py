"""Which ids are taken: a whole bucket, a list of ids, or a labels file, with or without a limit per class.

Every id that is not taken becomes a row with the reason, so that no listed id is lost.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final

from ingestion.intake import MAX_BYTES
from ingestion.labels import Label, Labelled, Labels, RecordError, parse_record, settle
from ingestion.plan import Candidate
from ingestion.rows import QUARANTINED, SKIPPED, Fate, SetAside
from ingestion.source import (
    METADATA,
    METADATA_SUFFIX,
    PHOTO_SUFFIX,
    PHOTOS,
    BinSource,
    Changed,
    ListedObject,
    SourceError,
)
from ingestion.split import block_of, draw, is_bin_id
from ingestion.throttle import in_order
from stacks.vocabulary import CLASSES

_NO_LABEL: Final = Label(None, "")
# Real records have a few thousand bytes.
_MAX_METADATA: Final = 1024 * 1024


@dataclass(slots=True)
class Selection:
    """The candidates, and a row for every other id that was listed."""

    block_size: int
    candidates: list[Candidate] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)

    def block_of(self, bin_id: str) -> str:
        """The name of an id's block; interned, because half a million ids share some thousand names."""
        return sys.intern(block_of(bin_id, self.block_size))

    def refuse(
        self,
        bin_id: str,
        fate: Fate,
        reason: str,
        detail: str,
        count: int | None = None,
        items: tuple[str, ...] = (),
    ) -> None:
        """Add a row for an id that is not taken."""
        block = self.block_of(bin_id)
        self.set_aside.append(SetAside(bin_id, fate, reason, detail, block, count=count, items=items))


async def select(
    source: BinSource,
    labels: Labels | None,
    *,
    seed: int,
    block_size: int,
    limit: int,
    ignore_etags: bool,
    expect: Callable[[int], None],
) -> Selection:
    """List the source and choose the candidates.

    Args:
        labels: the labels file; None takes every photo of the source, with the count in its metadata.
        limit: most candidates of each class, drawn by the seed; 0 takes all. With a limit, metadata is read only until
            every class is full.
        expect: called with the number of possible candidates while the source is listed.

    Raises:
        SourceError: the source cannot be read, or lists no photo.
    """
    selection = Selection(block_size)
    most = min(len(labels.by_id) if labels else sys.maxsize, limit * len(CLASSES) if limit else sys.maxsize)
    listings = await asyncio.gather(
        source.list_photos(lambda listed: expect(min(most, listed))), source.list_metadata()
    )
    photos, metadata = _named(listings[0], PHOTO_SUFFIX), _named(listings[1], METADATA_SUFFIX)
    if not photos.by_id:
        raise SourceError(f"{source.url} lists no photo; it must hold bin-images/<id>.jpg")
    if labels is None:
        _refuse_other_names(photos, metadata, selection)
        ids: Iterable[str] = photos.by_id.keys() | metadata.by_id.keys()
    else:
        ids = labels.by_id
        for bin_id, reason, detail in labels.refused:
            selection.refuse(bin_id, QUARANTINED, reason, detail)
    pool: list[Candidate] = []
    for bin_id in sorted(ids):
        label = _NO_LABEL if labels is None else labels.by_id[bin_id]
        photo, described = photos.by_id.get(bin_id), metadata.by_id.get(bin_id)
        if photo is None:
            detail = "it has a label or metadata, the source has no photo"
            selection.refuse(bin_id, QUARANTINED, "photo_missing", detail, label.count)
        else:
            candidate = Candidate(bin_id, photo, label, described, selection.block_of(bin_id))
            if _usable(candidate, selection):
                pool.append(candidate)
    if not ignore_etags:
        await source.probe([candidate.photo for candidate in pool])
    if not limit:
        selection.candidates = pool
    elif all(candidate.labelled_count is not None for candidate in pool):
        _limit_by_label(pool, selection, seed=seed, limit=limit)
    else:
        await _limit_by_metadata(source, pool, selection, seed=seed, limit=limit)
    return selection


@dataclass(frozen=True, slots=True)
class _Named:
    by_id: Mapping[str, ListedObject]
    others: Sequence[str]


def _named(found: Iterable[ListedObject], suffix: str) -> _Named:
    by_id: dict[str, ListedObject] = {}
    others: list[str] = []
    for entry in found:
        stem = entry.name.removesuffix(suffix)
        if stem != entry.name and is_bin_id(stem):
            by_id[stem] = entry
        else:
            others.append(entry.name)
    return _Named(by_id, others)


def _refuse_other_names(photos: _Named, metadata: _Named, selection: Selection) -> None:
    """Set aside the objects whose names are no ids."""
    for folder, named in ((PHOTOS, photos), (METADATA, metadata)):
        for name in named.others:
            detail = "a name has letters, digits, - and _ only, and ends in .jpg or .json"
            selection.refuse(f"{folder}{name}", QUARANTINED, "unexpected_name", detail)


def _usable(candidate: Candidate, selection: Selection) -> bool:
    """Whether a candidate can be taken, by its listing and label alone; sets it aside where it cannot."""
    count = candidate.labelled_count
    if count is None and candidate.metadata is None:
        selection.refuse(candidate.id, QUARANTINED, "metadata_missing", "it has neither metadata nor a label")
    elif count is not None and count not in CLASSES:
        selection.refuse(candidate.id, SKIPPED, "count_out_of_range", f"count {count}", count)
    elif candidate.photo.size > MAX_BYTES:
        detail = f"{candidate.photo.size} bytes, at most {MAX_BYTES}"
        selection.refuse(candidate.id, QUARANTINED, "too_many_bytes", detail, count)
    else:
        return True
    return False


def _in_drawn_order(pool: Iterable[Candidate], seed: int) -> list[Candidate]:
    return sorted(pool, key=lambda candidate: (draw(seed, "sample", candidate.id), candidate.id))


def _limit_by_label(pool: Iterable[Candidate], selection: Selection, *, seed: int, limit: int) -> None:
    taken: Counter[int] = Counter()
    for candidate in _in_drawn_order(pool, seed):
        count = candidate.labelled_count
        if count is None or taken[count] >= limit:
            selection.refuse(candidate.id, SKIPPED, "over_limit", f"{limit} of its class are taken", count)
        else:
            taken[count] += 1
            selection.candidates.append(candidate)
    selection.candidates.sort(key=lambda candidate: candidate.id)


async def _limit_by_metadata(
    source: BinSource, pool: Iterable[Candidate], selection: Selection, *, seed: int, limit: int
) -> None:
    """Read metadata in drawn order until every class is full. Records that were read ahead by then are ignored."""

    async def read(candidate: Candidate) -> Labelled | RecordError:
        try:
            return await read_label(source, candidate)
        except RecordError as error:
            return error

    order = _in_drawn_order(pool, seed)
    taken: Counter[int] = Counter()
    seen = 0
    async with aclosing(in_order(order, read, source.limit.maximum)) as results:
        async for candidate, labelled in results:
            seen += 1
            _take(candidate, labelled, taken, selection, limit)
            if all(taken[count] >= limit for count in CLASSES):
                break
    for candidate in order[seen:]:
        selection.refuse(candidate.id, SKIPPED, "not_sampled", "every class was full before its turn")
    selection.candidates.sort(key=lambda candidate: candidate.id)


def _take(
    candidate: Candidate, labelled: Labelled | RecordError, taken: Counter[int], selection: Selection, limit: int
) -> None:
    if isinstance(labelled, RecordError):
        selection.refuse(candidate.id, QUARANTINED, labelled.reason, str(labelled), candidate.labelled_count)
    elif labelled.count not in CLASSES:
        detail = f"count {labelled.count}"
        selection.refuse(candidate.id, SKIPPED, "count_out_of_range", detail, labelled.count, labelled.items)
    elif taken[labelled.count] >= limit:
        detail = f"{limit} of its class are taken"
        selection.refuse(candidate.id, SKIPPED, "over_limit", detail, labelled.count, labelled.items)
    else:
        taken[labelled.count] += 1
        selection.candidates.append(replace(candidate, known=labelled))


async def read_label(source: BinSource, candidate: Candidate) -> Labelled:
    """The count of a candidate, from its metadata and its label. Raises RecordError where they give none."""
    if candidate.known is not None:
        return candidate.known
    if candidate.metadata is not None and candidate.metadata.size > _MAX_METADATA:
        raise RecordError("metadata_invalid", f"{candidate.metadata.size} bytes of metadata, at most {_MAX_METADATA}")
    try:
        data = None if candidate.metadata is None else await source.metadata(candidate.metadata)
    except Changed as error:
        raise RecordError("changed_while_reading", str(error)) from error
    return settle(candidate.label, None if data is None else parse_record(data))
