"""The files of one unit of work: its shard, its rows, and the mark that they are complete.

    <split>/<unit>.tar
    report/manifest-<unit>.jsonl, quarantine-<unit>.jsonl, skipped-<unit>.jsonl   (those that have rows)
    report/units/<unit>.json

The mark is written last. A run skips a unit with a valid mark, and does any other unit again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from digests import DamagedFile, read_sealed, seal, sha256_of
from ingestion.intake import ShardPhoto
from ingestion.labels import Labelled
from ingestion.plan import Candidate, Unit
from ingestion.rows import QUARANTINED, SKIPPED, Fate, Kept, SetAside, to_line
from shards import ShardSummary, ShardWriter
from stacks.vocabulary import CLASSES, SPLITS

REPORT: Final = "report"
PLAN: Final = "plan"
"""Name instead of a unit's in the files of rows that were decided before any photo was read."""
ROW_FILES: Final = ("manifest", "quarantine", "skipped")

_SHORT: Final = 16
_OURS: Final = re.compile(
    r"(?:(?:manifest|quarantine|skipped)-)?((?:train|validation|test)-\d{5})\.(?:tar|jsonl|json)(?:\.part)?"
)


@dataclass(frozen=True, slots=True)
class PhotoOutcome:
    """A labelled photo for the shard, or the reason why its id is set aside."""

    labelled: Labelled | None = None
    photo: ShardPhoto | None = None
    fate: Fate = QUARANTINED
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """The mark of a finished unit: names, sizes and digests of its files."""

    unit: str
    split: str
    fingerprint: str
    shard: ShardSummary | None
    """None when no photo of the unit was kept."""
    per_class: dict[str, int]
    """Samples in the shard, counted as they were written."""
    files: dict[str, str]
    """SHA-256 of each row file."""

    @classmethod
    def read(cls, path: Path) -> Finished | None:
        """Read a unit's mark; None where it is missing or damaged."""
        try:
            record = read_sealed(path)
            shard = record.pop("shard")
            return cls(shard=None if shard is None else ShardSummary(**shard), **record)
        except (OSError, DamagedFile, TypeError, KeyError):
            return None


class UnitWriter:
    """Writes one unit. The unit counts as done only after `finish` has written its mark."""

    def __init__(self, output: Path, unit: Unit, *, rule: str) -> None:
        self._output = output
        self._unit = unit
        self._rule = rule
        self._shard = ShardWriter(output / unit.split / f"{unit.name}.tar")
        self._rows = {kind: bytearray() for kind in ROW_FILES}
        self._per_class: Counter[int] = Counter()

    def add(self, candidate: Candidate, outcome: PhotoOutcome) -> None:
        """Add the next outcome, in the order of the unit."""
        if outcome.photo is not None and outcome.labelled is not None:
            self._rows["manifest"] += to_line(self._keep(candidate, outcome.labelled, outcome.photo))
        else:
            kind = "skipped" if outcome.fate == SKIPPED else "quarantine"
            self._rows[kind] += to_line(self._set_aside(candidate, outcome))

    def finish(self) -> Finished:
        """Write the shard, then the rows, then the mark. Returns the mark."""
        if self._per_class:
            shard = self._shard.close()
        else:
            shard = None
            self._shard.discard()
        files = {f"{kind}-{self._unit.name}.jsonl": bytes(rows) for kind, rows in self._rows.items()}
        for name, content in files.items():
            write_rows(self._output / REPORT / name, content)
        finished = Finished(
            unit=self._unit.name,
            split=self._unit.split,
            fingerprint=self._unit.fingerprint,
            shard=shard,
            per_class={str(count): self._per_class[count] for count in CLASSES},
            files={name: hashlib.sha256(content).hexdigest() for name, content in files.items() if content},
        )
        write_whole(mark_path(self._output, self._unit.name), seal(asdict(finished)))
        return finished

    def discard(self) -> None:
        """Remove the unfinished shard."""
        self._shard.discard()

    def _keep(self, candidate: Candidate, labelled: Labelled, photo: ShardPhoto) -> Kept:
        record = {
            "block": candidate.block,
            "count": labelled.count,
            "height": photo.source.height,
            "id": candidate.id,
            "items": labelled.items,
            "width": photo.source.width,
        }
        placed = self._shard.add(candidate.id, photo.data, record, suffix=photo.suffix)
        self._per_class[labelled.count] += 1
        return Kept(
            id=candidate.id,
            count=labelled.count,
            label_source=labelled.source,
            items=labelled.items,
            block=candidate.block,
            split=self._unit.split,
            rule=self._rule,
            fingerprint=self._unit.fingerprint[:_SHORT],
            shard=f"{self._unit.split}/{self._unit.name}.tar",
            offset=placed.offset,
            size=len(photo.data),
            sha256=placed.sha256,
            width=photo.width,
            height=photo.height,
            source=photo.source,
        )

    def _set_aside(self, candidate: Candidate, outcome: PhotoOutcome) -> SetAside:
        known = outcome.labelled
        count, items = (candidate.labelled_count, ()) if known is None else (known.count, known.items)
        return SetAside(
            id=candidate.id,
            fate=outcome.fate,
            reason=outcome.reason,
            detail=outcome.detail,
            block=candidate.block,
            split=self._unit.split,
            count=count,
            items=items,
        )


def make_folders(output: Path) -> None:
    """Make all folders that a job uploads, also those that stay empty."""
    for folder in (*SPLITS, REPORT, f"{REPORT}/units"):
        (output / folder).mkdir(parents=True, exist_ok=True)


def finished_unit(output: Path, unit: Unit) -> Finished | None:
    """The unit's mark, if it was made from the same data, settings and code and its files are undamaged; else None."""
    finished = Finished.read(mark_path(output, unit.name))
    if finished is None or (finished.unit, finished.fingerprint) != (unit.name, unit.fingerprint):
        return None
    digests = ([] if finished.shard is None else [finished.shard.sha256]) + list(finished.files.values())
    found = (_sha256(path) for path in unit_paths(output, finished))
    return finished if all(digest == expected for digest, expected in zip(found, digests, strict=True)) else None


def unit_paths(output: Path, finished: Finished) -> list[Path]:
    """The files of a finished unit without its mark: the shard, if it has one, then the rows."""
    shard = [] if finished.shard is None else [output / finished.split / finished.shard.name]
    return shard + [output / REPORT / name for name in finished.files]


def mark_path(output: Path, unit: str) -> Path:
    """Path of a unit's mark."""
    return output / REPORT / "units" / f"{unit}.json"


def damaged_rows(output: Path, files: Mapping[str, str]) -> list[str]:
    """Those of the row files that are missing or have another SHA-256 than given."""
    return [name for name, digest in files.items() if _sha256(output / REPORT / name) != digest]


def sweep(output: Path, keep: Iterable[str]) -> None:
    """Remove the files of units that are not in `keep`, which earlier runs with other settings have left.

    By hand, the machines of a run may share the folder, so `keep` must name the units of all of them.
    """
    names = set(keep)
    for folder in (*SPLITS, REPORT, f"{REPORT}/units"):
        for path in (output / folder).iterdir():
            ours = _OURS.fullmatch(path.name)
            if ours and ours.group(1) not in names:
                path.unlink()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name first, so that no reader sees a part of it."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_rows(path: Path, content: bytes) -> None:
    """Write a file of rows, or remove it when there are none."""
    if content:
        write_whole(path, content)
    else:
        path.unlink(missing_ok=True)


def to_json(document: object) -> bytes:
    """Readable JSON, the same bytes for the same document."""
    return json.dumps(document, sort_keys=True, indent=2).encode() + b"\n"


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:
        return ""
