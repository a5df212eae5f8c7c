"""The audit's results in one SQLite file: it survives interruptions and ranks bins without holding them in memory."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from binventory.audit.estimate import WrongShare, posterior
from binventory.audit.model import AuditModel
from binventory.core.errors import Exit, Problem
from binventory.records.metadata import Line, Record

JOB_FAILED: Final = "job_failed"
"""Reason of a bin whose transform job failed without an answer for it."""
_SCHEMA_VERSION: Final = 1
_LEAST_DIFFERENCE: Final = 0.05
"""Units that a SKU must be off to be reported: less is shown as none."""
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bins (
    image_id TEXT PRIMARY KEY,
    photo TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('counted', 'out_of_scope', 'not_audited')),
    reason TEXT,
    detail TEXT,
    recorded INTEGER,
    recorded_probability REAL,
    likely INTEGER,
    likely_probability REAL,
    expected_count REAL,
    units_if_wrong REAL,
    difference_if_wrong REAL,
    probabilities TEXT,
    wrong_probability REAL,
    event_sent INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lines (
    image_id TEXT NOT NULL,
    sku TEXT NOT NULL,
    name TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    PRIMARY KEY (image_id, sku)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS model (document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS runs (began TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS name (audit TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_rank ON bins (state, recorded_probability, image_id);
"""


@dataclass(frozen=True, slots=True)
class CountedBin:
    """A bin whose record could be compared with its photo."""

    record: Record
    photo: str
    probabilities: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class SetAside:
    """A bin that is reported but never ranked."""

    image_id: str
    photo: str
    state: str
    """`out_of_scope`: the model knows no such quantity; `not_audited`: record or photo cannot be used."""
    reason: str
    detail: str
    recorded: int | None = None


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One bin of the ranked list."""

    rank: int
    image_id: str
    photo: str
    recorded: int
    recorded_probability: float
    """Calibrated probability of the recorded quantity given the photo: the ranking."""
    likely: int
    likely_probability: float
    expected_count: float
    wrong_probability: float | None
    """Probability that the record is wrong, given the estimated share of wrong records; None: not judged."""
    probabilities: Mapping[int, float]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class SkuError:
    """The expected error of one SKU; bins with several SKUs share their error by quantity."""

    sku: str
    name: str
    bins: int
    units: int
    """Recorded units in the audited bins."""
    expected_unit_error: float
    """Expected number of units by which the records are off, whichever way."""
    expected_difference: float
    """Expected units present beyond the record; below zero: units missing."""


Direction = Literal["more", "fewer"]
"""Whether a SKU has more or fewer units than recorded."""


@dataclass(frozen=True)
class Filters:
    """The part of the ranking to list; None: no limit."""

    threshold: float | None = None
    """Only bins whose recorded quantity has at most this probability."""
    top: int | None = None


@dataclass(frozen=True)
class Earlier:
    """What earlier runs of an audit have compared or set aside, and a later one does not look at again."""

    bins: int
    began: str
    """When the first of them began, as 2026-11-30 07:00 UTC; "" where that is not known."""


class AuditDatabase:
    """Opened for one audit; every method may be called again after a crash."""

    def __init__(self, path: Path, identity: Mapping[str, str]) -> None:
        """Open or make the ledger.

        Raises Problem for that of another audit. One without a bin, of an audit that was declined before its first
        request, is nobody's: it is begun anew.

        Args:
            path: of the ledger.
            identity: source, records, counter and classes of the audit.
        """
        self._connection = sqlite3.connect(path)
        # A crash of the machine may lose the last second, never the file: the audit is repeatable.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_TABLES)
        wanted = {"schema": str(_SCHEMA_VERSION), **identity}
        known = dict(self._connection.execute("SELECT key, value FROM facts"))
        begun = self._connection.execute("SELECT 1 FROM bins LIMIT 1").fetchone() is not None
        if known and known["schema"] == wanted["schema"] and not begun:
            with self._connection:
                self._connection.execute("DELETE FROM facts")
                self._connection.execute("DELETE FROM model")
                self._connection.execute("DELETE FROM runs")
                self._connection.execute("DELETE FROM name")
            known = {}
        if not known:
            with self._connection:
                self._connection.executemany("INSERT INTO facts VALUES (?, ?)", wanted.items())
                self._connection.execute("INSERT INTO name VALUES (?)", (uuid.uuid4().hex[:16],))
        elif known != wanted:
            self.close()
            differing = sorted(key for key in known.keys() | wanted.keys() if known.get(key) != wanted.get(key))
            raise Problem(
                f"{path.parent} holds another audit",
                "; ".join(f"{key} was {known.get(key)!r}, now {wanted.get(key)!r}" for key in differing),
                "choose another --output, or begin anew with --restart",
                code=Exit.USAGE,
            )

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    @property
    def name(self) -> str:
        """Name of this audit: a run that continues it has the same, one that begins anew has another.

        The identity alone is no name: next week's audit of the same place has the same one, and is of other photos.
        """
        row = self._connection.execute("SELECT audit FROM name").fetchone()
        if row is not None:
            return str(row[0])
        # An earlier version began it, and named it so in the events that it sent.
        facts = dict(self._connection.execute("SELECT key, value FROM facts WHERE key != 'schema'"))
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def remember_model(self, model: AuditModel) -> AuditModel:
        """Keep the model that answers; returns it, or the one of an earlier run where that is better known.

        Raises Problem when the earlier answers are those of another model package.
        """
        row = self._connection.execute("SELECT document FROM model").fetchone()
        if row is not None:
            before = AuditModel.of_json(row[0])
            if before.package and model.package and before.package != model.package:
                raise Problem(
                    "The endpoint serves another model than when this audit began",
                    f"{before.package} answered so far, {model.package} would answer the rest",
                    "begin anew with --restart, or choose another --output",
                    code=Exit.USAGE,
                )
            if model.trust is None and (before.trust is not None or before.package):
                return before
            model = replace(model, package=model.package or before.package)
        with self._connection:
            self._connection.execute("DELETE FROM model")
            self._connection.execute("INSERT INTO model VALUES (?)", (json.dumps(model.to_json()),))
        return model

    def earlier(self) -> Earlier | None:
        """What earlier runs have done; None before the first."""
        query = "SELECT COUNT(*) FROM bins WHERE reason IS NULL OR reason != ?"
        bins = int(self._connection.execute(query, (JOB_FAILED,)).fetchone()[0])
        began = self._connection.execute("SELECT MIN(began) FROM runs").fetchone()[0]
        return Earlier(bins, began or "") if bins else None

    def note_run(self) -> None:
        """Remember that a run begins now."""
        with self._connection:
            now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
            self._connection.execute("INSERT INTO runs VALUES (?)", (now,))

    def holds(self, image_id: str) -> bool:
        """Whether this bin is done: one that a failed job has no answer for is not, so the next run asks again."""
        found = self._connection.execute("SELECT reason FROM bins WHERE image_id = ?", (image_id,)).fetchone()
        return found is not None and found[0] != JOB_FAILED

    def lacks_answer(self, image_id: str) -> bool:
        """Whether a job of an earlier run failed without an answer for this bin."""
        query = "SELECT 1 FROM bins WHERE image_id = ? AND reason = ?"
        return self._connection.execute(query, (image_id, JOB_FAILED)).fetchone() is not None

    def add(self, results: Iterable[CountedBin | SetAside]) -> None:
        """Store finished bins, all or none."""
        with self._connection:
            for result in results:
                if isinstance(result, CountedBin):
                    self._add_counted(result)
                else:
                    self._connection.execute(
                        "INSERT OR REPLACE INTO bins (image_id, photo, state, reason, detail, recorded)"
                        " VALUES (?, ?, ?, ?, ?, ?)",
                        (result.image_id, result.photo, result.state, result.reason, result.detail, result.recorded),
                    )

    def counts(self) -> dict[str, int]:
        """Bins by state."""
        found = dict.fromkeys(("counted", "out_of_scope", "not_audited"), 0)
        found.update(self._connection.execute("SELECT state, COUNT(*) FROM bins GROUP BY state"))
        return found

    def reasons(self) -> list[tuple[str, str, int]]:
        """(state, reason, bins) of what was set aside, most frequent first."""
        return list(
            self._connection.execute(
                "SELECT state, reason, COUNT(*) FROM bins WHERE state != 'counted'"
                " GROUP BY state, reason ORDER BY COUNT(*) DESC, state, reason"
            )
        )

    def set_aside(self) -> Iterator[SetAside]:
        """Every bin that was not ranked, with its reason."""
        rows = self._connection.execute(
            "SELECT image_id, photo, state, reason, detail, recorded FROM bins"
            " WHERE state != 'counted' ORDER BY image_id"
        )
        return (SetAside(*row) for row in rows)

    def recorded_probabilities(self, filters: Filters | None = None) -> Iterator[tuple[str, float]]:
        """(image id, probability of the recorded quantity), least probable first."""
        where, values = _selection(filters or Filters())
        return iter(self._connection.execute(f"SELECT image_id, recorded_probability FROM bins {where}", values))

    def forget_verdicts(self) -> None:
        """Take back what `judge` has stored: no record is called wrong."""
        with self._connection:
            self._connection.execute("UPDATE bins SET wrong_probability = NULL")

    def judge(self, share: WrongShare) -> None:
        """Store for every counted bin how probable it is that its record is wrong."""

        def wrong(probability: float) -> float:
            return float(posterior(probability, share.share, share.classes))

        self._connection.create_function("wrong", 1, wrong, deterministic=True)
        with self._connection:
            self._connection.execute(
                "UPDATE bins SET wrong_probability = wrong(recorded_probability) WHERE state = 'counted'"
            )

    def ranked(self, filters: Filters | None = None) -> Iterator[Disagreement]:
        """Counted bins, least probable record first, read one by one."""
        return (found for found, _ in self._ranked(filters or Filters()))

    def unsent(self, filters: Filters) -> Iterator[Disagreement]:
        """The filtered ranking without what `mark_sent` has seen."""
        return (found for found, sent in self._ranked(filters) if not sent)

    def _ranked(self, filters: Filters) -> Iterator[tuple[Disagreement, bool]]:
        where, values = _selection(filters)
        rows = self._connection.execute(
            "SELECT image_id, photo, recorded, recorded_probability, likely, likely_probability, expected_count,"
            f" wrong_probability, probabilities, event_sent FROM bins {where}",
            values,
        )
        for rank, row in enumerate(rows, start=1):
            columns: tuple[str, str, int, float, int, float, float, float | None] = row[:8]
            probabilities = {int(count): share for count, share in json.loads(row[8]).items()}
            yield Disagreement(rank, *columns, probabilities, self._lines(row[0])), bool(row[9])

    def sku_errors(self, direction: Direction, limit: int) -> Iterator[SkuError]:
        """SKUs with more or fewer units than recorded, the largest expected difference first; needs `judge`."""
        sign = 1 if direction == "more" else -1
        rows = self._connection.execute(
            "SELECT lines.sku, MAX(lines.name), COUNT(*), SUM(lines.quantity),"
            " SUM(wrong_probability * units_if_wrong * lines.quantity / recorded),"
            " SUM(wrong_probability * difference_if_wrong * lines.quantity / recorded) AS difference"
            " FROM lines JOIN bins USING (image_id) WHERE state = 'counted' AND recorded > 0"
            " GROUP BY lines.sku HAVING ? * difference >= ? ORDER BY ABS(difference) DESC, lines.sku LIMIT ?",
            (sign, _LEAST_DIFFERENCE, limit),
        )
        return (SkuError(*row) for row in rows)

    def expected_unit_error(self) -> float:
        """Units by which all audited records together are expected to be off."""
        found = self._connection.execute(
            "SELECT COALESCE(SUM(wrong_probability * units_if_wrong), 0) FROM bins WHERE state = 'counted'"
        ).fetchone()
        return float(found[0])

    def mark_sent(self, image_ids: Iterable[str]) -> None:
        """Remember that the events of these bins are out."""
        with self._connection:
            self._connection.executemany(
                "UPDATE bins SET event_sent = 1 WHERE image_id = ?", ((image_id,) for image_id in image_ids)
            )

    def _add_counted(self, result: CountedBin) -> None:
        record, table = result.record, result.probabilities
        of_recorded = table[record.recorded]
        others = 1 - of_recorded
        likely = max(table, key=lambda count: table[count])
        units = sum(share * abs(count - record.recorded) for count, share in table.items())
        difference = sum(share * (count - record.recorded) for count, share in table.items())
        self._connection.execute(
            "INSERT OR REPLACE INTO bins (image_id, photo, state, recorded, recorded_probability, likely,"
            " likely_probability, expected_count, units_if_wrong, difference_if_wrong, probabilities)"
            " VALUES (?, ?, 'counted', ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.image_id,
                result.photo,
                record.recorded,
                of_recorded,
                likely,
                table[likely],
                sum(count * share for count, share in table.items()),
                units / others if others > 0 else 0.0,
                difference / others if others > 0 else 0.0,
                json.dumps(dict(table)),
            ),
        )
        self._connection.executemany(
            "INSERT OR REPLACE INTO lines VALUES (?, ?, ?, ?)",
            ((record.image_id, line.sku, line.name, line.quantity) for line in record.lines),
        )

    def _lines(self, image_id: str) -> tuple[Line, ...]:
        rows = self._connection.execute(
            "SELECT sku, name, quantity FROM lines WHERE image_id = ? ORDER BY quantity DESC, sku", (image_id,)
        )
        return tuple(Line(*row) for row in rows)


def _selection(filters: Filters) -> tuple[str, list[float]]:
    """The WHERE, ORDER BY and LIMIT of the ranking, and their values."""
    values: list[float] = []
    where = "WHERE state = 'counted'"
    if filters.threshold is not None:
        where += " AND recorded_probability <= ?"
        values.append(filters.threshold)
    where += " ORDER BY recorded_probability, image_id"
    if filters.top is not None:
        where += " LIMIT ?"
        values.append(filters.top)
    return where, values
