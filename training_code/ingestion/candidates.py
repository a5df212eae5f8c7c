"""Which ids are taken: a whole bucket, a list of ids, or a labels file, with or without a limit per class.

Every id that is not taken becomes a row with the reason, so that no listed id is lost.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final

from binventory.records import ids
from binventory.records.errors import RecordError
from binventory.records.labels import Label, Labels
from binventory.records.metadata import MAX_METADATA_BYTES, read_metadata, too_large
from ingestion.labels import Labelled, settle
from ingestion.objects import ListedObject
from ingestion.plan import Candidate
from ingestion.rows import QUARANTINED, SKIPPED, Fate, SetAside
from ingestion.source import METADATA, PHOTOS, BinSource, Changed, SourceError
from ingestion.split import block_of, draw
from ingestion.throttle import in_order
from photo import MAX_BYTES
from stacks.vocabulary import CLASSES

_NO_LABEL: Final = Label(None, "")


@dataclass(slots=True)
class Selection:
    """The candidates, and a row for every other id that was listed."""

    block_size: int
    candidates: list[Candidate] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    unnamed: int = 0
    """Ids of photos that a labels file does not name. They have no row: a list may name a few of half a million."""

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
    photos, metadata = _photos(listings[0]), _named(listings[1], ids.id_of_metadata)
    del listings
    if not photos.entries:
        raise SourceError(f"{source.url} lists no photo; it must hold bin-images/<id>.jpg")
    if labels is None:
        _refuse_other_names(photos, metadata, selection)
        wanted: Collection[str] = {*photos.ids(), *metadata.ids()}
    else:
        wanted = labels.by_id
        for bin_id, reason, detail in labels.refused:
            selection.refuse(bin_id, QUARANTINED, reason, detail)
        refused = {bin_id for bin_id, _, _ in labels.refused}
        selection.unnamed = sum(bin_id not in labels.by_id and bin_id not in refused for bin_id in photos.ids())
    _refuse_second_photos(photos, wanted, selection)
    pool: list[Candidate] = []
    padded: Mapping[str, str] | None = None
    photo_of, record_of = photos.ascending(), metadata.ascending()
    for bin_id in sorted(wanted):
        label = _NO_LABEL if labels is None else labels.by_id[bin_id]
        photo, described = photo_of(bin_id), record_of(bin_id)
        if photo is None:
            padded = padded or {ids.without_zeros(name): name for name in photos.ids()}
            detail = _no_photo(bin_id, padded)
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
    """Objects with ids in their names, one for each id.

    They are looked up in the order of the ids: two dictionaries of half a million ids would take 140 MB.
    """

    entries: Sequence[ListedObject]
    """Sorted by id."""
    id_of: Callable[[str], str]
    others: Sequence[str]
    second: Sequence[tuple[str, str, str]] = ()
    """Id and name of each photo whose bin has another photo, which is used, and that one's name."""

    def ids(self) -> Iterator[str]:
        """The ids, sorted."""
        return (self.id_of(entry.name) for entry in self.entries)

    def ascending(self) -> Callable[[str], ListedObject | None]:
        """A function that finds an object by its id. Each id must be larger than the one asked for before."""
        left = zip(self.ids(), self.entries, strict=True)
        at, entry = next(left, _END)

        def find(bin_id: str) -> ListedObject | None:
            nonlocal at, entry
            while at is not None and at < bin_id:
                at, entry = next(left, _END)
            return entry if at == bin_id else None

        return find


_END: Final[tuple[str | None, ListedObject | None]] = (None, None)


def _named(found: Iterable[ListedObject], id_of: Callable[[str], str | None]) -> _Named:
    """Objects by the ids in their names. Where several objects have an id, the first is taken."""

    def known(name: str) -> str:
        return id_of(name) or ""

    entries: list[ListedObject] = []
    others: list[str] = []
    second: list[tuple[str, str, str]] = []
    for entry in found:
        if id_of(entry.name) is not None:
            entries.append(entry)
        elif not _is_folder(entry):
            others.append(entry.name)
    entries.sort(key=lambda entry: known(entry.name))
    taken: list[ListedObject] = []
    last = ""
    for entry in entries:
        bin_id = known(entry.name)
        if bin_id != last:
            taken.append(entry)
            last = bin_id
        else:
            second.append((bin_id, entry.name, taken[-1].name))
    return _Named(taken, known, others, second)


def _photos(found: Iterable[ListedObject]) -> _Named:
    # Sorted by name already, which leaves the first part of the preference.
    return _named(sorted(found, key=lambda entry: ids.preference(entry.name)[0]), ids.id_of_photo)


def _is_folder(entry: ListedObject) -> bool:
    """Whether an object is what consoles make for an empty folder."""
    return entry.size == 0 and "." not in entry.name.rpartition("/")[2]


def _refuse_second_photos(photos: _Named, wanted: Collection[str], selection: Selection) -> None:
    for bin_id, name, first in photos.second:
        if bin_id in wanted:
            error = ids.second_photo(name, first)
            selection.refuse(f"{PHOTOS}{name}", QUARANTINED, error.reason, str(error))


def _no_photo(bin_id: str, padded: Mapping[str, str]) -> str:
    """Why an id has no photo; `padded` has the ids of all photos by what spreadsheets make of them."""
    whole = padded.get(bin_id)
    if whole is None:
        return "it has a label or metadata, the source has no photo"
    return f"the source has no photo {bin_id}, but {whole}: a spreadsheet removes zeros unless the column is text"


def _refuse_other_names(photos: _Named, metadata: _Named, selection: Selection) -> None:
    """Set aside the objects whose names are no ids."""
    for folder, named in ((PHOTOS, photos), (METADATA, metadata)):
        for name in named.others:
            detail = "a name has letters, digits, - and _ only, and ends in .jpg, .jpeg, .png or .json"
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
    if candidate.metadata is not None and candidate.metadata.size > MAX_METADATA_BYTES:
        raise too_large(candidate.metadata.size)
    try:
        data = None if candidate.metadata is None else await source.metadata(candidate.metadata)
    except Changed as error:
        raise RecordError("changed_while_reading", str(error)) from error
    return settle(candidate.label, None if data is None else read_metadata(candidate.id, data))
