"""The plan: the split and the shard of every id. Every machine makes it alone and gets the same plan.

The bucket's listing has each photo's size and ETag. So duplicates across splits, oversized files and the memory that a
download needs are known before a photo is read.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from binventory.core.contents import md5_of
from binventory.records.labels import Label
from ingestion.labels import Labelled
from ingestion.objects import ListedObject
from ingestion.rows import NO_SPLIT, QUARANTINED, SetAside
from ingestion.run import Packed
from ingestion.source import BinSource
from ingestion.split import draw, split_blocks
from ingestion.throttle import in_order
from stacks.vocabulary import SPLITS

# About this many shards for any size of data: a retried machine repeats only a small part, and all processes of a few
# machines end together. The bounds make shards of 100 to 500 MB of the whole data set.
_SHARDS: Final = 48
_FEWEST: Final = 256
_MOST: Final = 20_000
_DIGESTS_AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True)
class Candidate(Packed):
    """An id that will be ingested, with all that is known before its photo is read."""

    id: str
    photo: ListedObject
    label: Label
    """From the labels file; its count is None without one."""
    metadata: ListedObject | None
    """None where there is no metadata file."""
    block: str
    known: Labelled | None = None
    """Its count, where sampling has read it already."""
    read_md5: str = ""
    """MD5 of the photo's content, where the listing does not have it."""

    @property
    def md5(self) -> str:
        """The MD5 that the photo's content must have."""
        return self.read_md5 or self.photo.etag

    @property
    def labelled_count(self) -> int | None:
        """The count in the labels file; None without one."""
        return self.label.count


class Digests(NamedTuple):
    """Digests of a candidate's content."""

    photo: str
    """MD5; empty when the photo is gone or has changed since it was listed."""
    metadata: str
    """MD5 or another tag that changes with the content; empty where there is none."""


DigestsOf = Callable[[Candidate], Digests]


@dataclass(frozen=True, slots=True)
class Unit:
    """The work of one shard: whole blocks of one split. It depends on data and settings, not on the machines."""

    name: str
    split: str
    candidates: tuple[Candidate, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class IngestPlan:
    """All decisions that are made before a photo is read."""

    listed: int
    units: tuple[Unit, ...]
    set_aside: tuple[SetAside, ...]
    rule: str
    split_by_block: Mapping[str, str]
    fingerprint: str
    """Of the data as listed and the settings."""

    @property
    def candidates(self) -> int:
        """Ids that will be ingested."""
        return sum(len(unit.candidates) for unit in self.units)

    def share(self, machine: int, machines: int) -> tuple[Unit, ...]:
        """The units of one machine of several: every n-th, which is fair since a hash of the blocks orders them."""
        return self.units[machine::machines]


async def make_plan(
    source: BinSource,
    candidates: Sequence[Candidate],
    set_aside: Sequence[SetAside],
    *,
    seed: int,
    block_size: int,
    shard_photos: int,
    code: str,
) -> IngestPlan:
    """Split the candidates by blocks, refuse content that is in two splits, and cut the splits into units.

    Candidates must be sorted by their ids.
    """
    split = split_blocks(Counter(candidate.block for candidate in candidates), seed)
    digests = await _digests(source, candidates)
    twins = _twins_in_other_splits(candidates, digests, split.split_of)
    members: dict[str, list[Candidate]] = {name: [] for name in SPLITS}
    for candidate in candidates:
        if candidate.id not in twins:
            md5 = digests(candidate).photo
            known = candidate if md5 == candidate.md5 else replace(candidate, read_md5=md5)
            members[split.split_of[candidate.block]].append(known)
    context = [code, split.rule, str(seed), str(block_size)]
    size = shard_photos or min(_MOST, max(_FEWEST, len(candidates) // _SHARDS))
    units: list[Unit] = []
    for name in SPLITS:
        for number, group in enumerate(_cut(members[name], seed=seed, size=size)):
            unit = f"{name}-{number:05}"
            units.append(Unit(unit, name, tuple(group), _fingerprint([*context, unit], group, digests)))
    rows = [replace(row, split=split.split_of.get(row.block, NO_SPLIT)) for row in set_aside]
    rows += [_refused_twin(twin, first, split.split_of) for twin, first in twins.values()]
    return IngestPlan(
        listed=len(candidates) + len(set_aside),
        units=tuple(units),
        set_aside=tuple(sorted(rows, key=lambda row: row.id)),
        rule=split.rule,
        split_by_block=split.split_of,
        fingerprint=_fingerprint(context, candidates, digests),
    )


def _refused_twin(twin: Candidate, first: Candidate, split_of: Mapping[str, str]) -> SetAside:
    detail = f"the same content as {first.id}, which is in {split_of[first.block]}"
    return SetAside(twin.id, QUARANTINED, "same_content_in_other_split", detail, twin.block, split_of[twin.block])


async def _digests(source: BinSource, candidates: Sequence[Candidate]) -> DigestsOf:
    """Digests of every candidate's photo and metadata.

    From the listing where its ETags are MD5 sums of the content; else every photo is read once for them.
    """

    async def read(candidate: Candidate) -> Digests:
        photo, metadata = await source.unchanged_photo(candidate.photo), None
        # A folder's tags are times and inode numbers: a copy of the folder must give the same fingerprint.
        if source.is_folder and candidate.metadata is not None:
            metadata = await source.metadata(candidate.metadata)
        return Digests(
            photo="" if photo is None else await asyncio.to_thread(md5_of, photo),
            metadata=_etag(candidate.metadata) if metadata is None else md5_of(metadata),
        )

    if source.content_tags:
        return lambda candidate: Digests(candidate.photo.etag, _etag(candidate.metadata))
    found = {candidate.id: digests async for candidate, digests in in_order(candidates, read, _DIGESTS_AT_ONCE)}
    return lambda candidate: found[candidate.id]


def _etag(found: ListedObject | None) -> str:
    return "" if found is None else found.etag


def _twins_in_other_splits(
    candidates: Iterable[Candidate], digests: DigestsOf, split_of: Mapping[str, str]
) -> dict[str, tuple[Candidate, Candidate]]:
    """Candidates to refuse because another split has the same content, by id, each with the candidate that stays.

    Of equal photos the smallest id stays, with all its twins in the same split. Twins in other splits are refused.
    """
    smallest: dict[str, Candidate] = {}
    twins: dict[str, tuple[Candidate, Candidate]] = {}
    for candidate in candidates:
        if digest := digests(candidate).photo:
            first = smallest.setdefault(digest, candidate)
            if split_of[first.block] != split_of[candidate.block]:
                twins[candidate.id] = candidate, first
    return twins


def _cut(candidates: Iterable[Candidate], *, seed: int, size: int) -> list[list[Candidate]]:
    """Groups of whole blocks in seeded order, of at most `size` photos where a block allows it; shuffled within."""
    by_block: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_block[candidate.block].append(candidate)
    groups: list[list[Candidate]] = []
    for block in sorted(by_block, key=lambda name: (draw(seed, "unit", name), name)):
        members = by_block[block]
        if not groups or len(groups[-1]) + len(members) > size:
            groups.append([])
        groups[-1].extend(members)
    return [sorted(group, key=lambda c: (draw(seed, "order", c.id), c.id)) for group in groups]


def _fingerprint(context: Sequence[str], candidates: Iterable[Candidate], digests: DigestsOf) -> str:
    """SHA-256 of everything that the result depends on, the order of the candidates included."""
    digest = hashlib.sha256(repr(context).encode())
    for c in candidates:
        digest.update(repr((c.id, c.photo.size, c.label.count, c.label.source, *digests(c))).encode())
    return digest.hexdigest()
