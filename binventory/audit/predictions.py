"""Answers that were given before: files and folders of them, read once into a database file.

CSV is read as records are, so both take the same delimiters and encodings, and refuse the same rows.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pyarrow.parquet as parquet  # type: ignore[import-untyped]

from binventory.audit.counters import PhotoRefusedError, parse_probabilities, reason_in
from binventory.core.errors import Exit, Problem
from binventory.records.errors import RecordError
from binventory.records.ids import checked_id, id_of_photo, is_bin_id, read_id
from binventory.records.tables import open_table

_SHARE: Final = re.compile(r"p([0-9]+)")
"""The name of a column with the probability of a count."""


class PredictionsFile:
    """Earlier answers, in one of these forms:

    - CSV or Parquet with image_id and one column for each count: p1, p2, ...
    - JSON Lines with the endpoint's answers, each with "image_id"
    - a folder of Batch Transform's `<id>.jpg.out` files

    Where they give the model's reason for no answer, the audit gives it too. They are kept in a database file beside
    the ledger, so memory does not grow with their number.
    """

    def __init__(self, path: Path, spill: Path) -> None:
        self._path = path
        self._database = sqlite3.connect(spill, check_same_thread=False)
        self._lock = threading.Lock()
        with self._database:
            self._database.execute("DROP TABLE IF EXISTS answers")
            self._database.execute(
                "CREATE TABLE answers (image_id TEXT PRIMARY KEY, answer TEXT, place TEXT) WITHOUT ROWID"
            )
            try:
                for place, image_id, found in _read(path):
                    self._keep(place, image_id, found)
            except (ValueError, OSError) as error:
                raise Problem(
                    f"The predictions {path} were not read",
                    str(error),
                    "give CSV or Parquet with image_id,p1,p2,..., JSON Lines, or a folder of .out files",
                    code=Exit.USAGE,
                ) from error

    @property
    def name(self) -> str:
        """The file or folder."""
        return f"predictions {self._path}"

    @property
    def needs_photo(self) -> bool:
        """Never: the answers are in the file."""
        return False

    def probabilities(self, image_id: str, photo: bytes) -> Mapping[int, float]:
        """The stored answer."""
        with self._lock:
            row = self._database.execute("SELECT answer FROM answers WHERE image_id = ?", (image_id,)).fetchone()
        if row is None:
            raise PhotoRefusedError("no_prediction", f"{self._path.name} has no answer for it")
        found = json.loads(row[0])
        if isinstance(found, str):
            raise PhotoRefusedError("refused", found)
        return {int(count): share for count, share in found.items()}

    def halt(self) -> None:
        """Nothing: no answer is waited for."""

    def digest(self) -> str:
        """SHA-256 of all answers, in whatever form and order they were given."""
        found = hashlib.sha256()
        for row in self._database.execute("SELECT image_id, answer FROM answers ORDER BY image_id"):
            found.update(json.dumps(row).encode())
        return found.hexdigest()

    def _keep(self, place: str, image_id: str, found: Mapping[int, float] | str) -> None:
        """Store an answer. Raises ValueError for another answer than the one that the photo has already."""
        answer = json.dumps(found if isinstance(found, str) else dict(found))
        done = self._database.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", (image_id, answer, place))
        if not done.rowcount:
            query = "SELECT answer, place FROM answers WHERE image_id = ?"
            before, where = self._database.execute(query, (image_id,)).fetchone()
            if before != answer:
                raise ValueError(f"{place}: {image_id} has another answer already, from {where}; keep one of them")

    def close(self) -> None:
        """Release the file."""
        self._database.close()


def read_predictions(path: Path) -> Iterator[tuple[str, Mapping[int, float]]]:
    """Image ids and probabilities, one at a time. Raises ValueError naming the line or file that is wrong."""
    return ((image_id, found) for _, image_id, found in _read(path) if not isinstance(found, str))


def _read(path: Path) -> Iterator[tuple[str, str, Mapping[int, float] | str]]:
    """Place, image id, and probabilities or the reason why there are none. Raises ValueError."""
    readers = {".csv": _from_csv, ".parquet": _from_parquet, ".jsonl": _from_json_lines}
    if path.is_dir():
        rows = _from_transform_folder(path)
    elif path.suffix in readers:
        rows = readers[path.suffix](path)
    else:
        raise ValueError(f"it is neither a folder nor one of {', '.join(readers)}")
    for place, image_id, answer in rows:
        try:
            reason = reason_in(answer)
            if reason is None:
                yield place, checked_id(image_id), parse_probabilities(answer)
            elif is_bin_id(image_id):  # other names are of photos that no audit asks about
                yield place, image_id, reason
        except (ValueError, RecordError) as error:
            raise ValueError(f"{place}: {error}") from error


_Rows = Iterator[tuple[str, str, Any]]


def _from_csv(path: Path) -> _Rows:
    with path.open("rb") as stream:
        table = open_table(stream)
        image_id = table.position("image_id")
        shares = {found[1]: table.position(name) for name in table.header if (found := _SHARE.fullmatch(name))}
        if image_id is None or not shares:
            raise ValueError(
                f"its header is {table.quoted}; it needs image_id, and a column for each count: p1, p2, ..."
            )
        for row in table.rows():
            try:
                bin_id = read_id(row.key(image_id))
            except RecordError as error:
                raise ValueError(f"line {row.line}: {error}") from error
            yield f"line {row.line}", bin_id, {"probabilities": {count: row.cell(at) for count, at in shares.items()}}


def _from_parquet(path: Path) -> _Rows:
    with parquet.ParquetFile(path) as file:
        number = 0
        for batch in file.iter_batches(batch_size=4096):
            for row in batch.to_pylist():
                shares = {found[1]: value for name, value in row.items() if (found := _SHARE.fullmatch(name))}
                yield f"row {number}", str(row.get("image_id") or ""), {"probabilities": shares}
                number += 1


def _from_json_lines(path: Path) -> _Rows:
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                answer = _parsed(f"line {number}", line)
                if not isinstance(answer, dict):
                    yield f"line {number}", "", answer
                else:
                    # `binventory count --output` names the photo.
                    name = PurePosixPath(str(answer.get("photo", ""))).name
                    yield f"line {number}", str(answer.get("image_id") or id_of_photo(name) or name), answer


def _from_transform_folder(path: Path) -> _Rows:
    for file in sorted(path.rglob("*.out")):
        place = file.relative_to(path).as_posix()
        yield place, Path(file.stem).stem, _parsed(place, file.read_bytes())


def _parsed(place: str, text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{place}: it is no JSON: {error}") from error
