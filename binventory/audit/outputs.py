"""The ranked bins as CSV, JSON Lines and Parquet, written row by row."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet as parquet  # type: ignore[import-untyped]

from binventory.audit.database import Disagreement, SetAside

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")
# Excel's limit of characters in a cell: it drops the others, or puts them into the next row.
_MOST_IN_A_CELL: Final = 32_767
_CUT: Final = "... (cut)"
_ROWS_AT_ONCE: Final = 5000
_DECIMALS: Final = 6
_COLUMNS: Final = (
    "rank",
    "image_id",
    "recorded",
    "likely",
    "recorded_probability",
    "likely_probability",
    "wrong_probability",
    "expected_count",
)
_ORIGIN: Final = ("photo", "model_package")


@dataclass(frozen=True)
class Origin:
    """What the bins of one audit share."""

    photos: str
    """Address below which the photos lie: a folder or an `s3://` prefix."""
    package: str
    """ARN of the model package that answered; "" where the answers name none."""

    def photo(self, found: Disagreement) -> str:
        """Address of a bin's photo."""
        return f"{self.photos.rstrip('/')}/{found.photo}"


def _row(found: Disagreement, origin: Origin) -> dict[str, Any]:
    """The columns that every format shares."""
    values = ((column, getattr(found, column)) for column in _COLUMNS)
    row = {column: round(value, _DECIMALS) if isinstance(value, float) else value for column, value in values}
    return {**row, "photo": origin.photo(found), "model_package": origin.package or None}


def write_csv(path: Path, rows: Iterable[Disagreement], origin: Origin) -> None:
    """One line for each bin; SKUs, names and recorded quantities in one cell each, separated by " | ".

    A cell that a spreadsheet would cut says how many SKUs it leaves out.
    """
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [*_COLUMNS, *_ORIGIN, "skus", "names", "quantities"])
        writer.writeheader()
        for found in rows:
            row = {
                **_row(found, origin),
                "skus": _in_one_cell([line.sku for line in found.lines]),
                "names": _in_one_cell([line.name for line in found.lines]),
                "quantities": _in_one_cell([str(line.quantity) for line in found.lines]),
            }
            writer.writerow({column: cell(value) for column, value in row.items()})


def write_json_lines(path: Path, rows: Iterable[Disagreement], origin: Origin) -> None:
    """One JSON object a line, with all probabilities and the SKUs as a list."""
    with path.open("w", encoding="utf-8") as stream:
        for found in rows:
            stream.write(json.dumps(to_json(found, origin)) + "\n")


def to_json(found: Disagreement, origin: Origin) -> dict[str, Any]:
    """The JSON form of one bin, which the event carries too."""
    return {
        **_row(found, origin),
        "probabilities": {str(count): round(share, _DECIMALS) for count, share in found.probabilities.items()},
        "skus": [{"sku": line.sku, "name": line.name, "quantity": line.quantity} for line in found.lines],
    }


def write_parquet(path: Path, rows: Iterable[Disagreement], origin: Origin) -> None:
    """Row groups of a few thousand bins; SKUs as a list of structs, probabilities as a map."""
    sku = pyarrow.struct([("sku", pyarrow.string()), ("name", pyarrow.string()), ("quantity", pyarrow.int32())])
    schema = pyarrow.schema(
        [
            ("rank", pyarrow.int64()),
            ("image_id", pyarrow.string()),
            ("recorded", pyarrow.int32()),
            ("likely", pyarrow.int32()),
            ("recorded_probability", pyarrow.float64()),
            ("likely_probability", pyarrow.float64()),
            ("wrong_probability", pyarrow.float64()),
            ("expected_count", pyarrow.float64()),
            ("photo", pyarrow.string()),
            ("model_package", pyarrow.string()),
            ("probabilities", pyarrow.map_(pyarrow.string(), pyarrow.float64())),
            ("skus", pyarrow.list_(sku)),
        ]
    )
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        iterator = iter(rows)
        while chunk := list(itertools.islice(iterator, _ROWS_AT_ONCE)):
            plain = [to_json(found, origin) for found in chunk]
            for row in plain:
                row["probabilities"] = list(row["probabilities"].items())
            writer.write_table(pyarrow.Table.from_pylist(plain, schema=schema))


WRITERS: Final[dict[str, tuple[str, Callable[[Path, Iterable[Disagreement], Origin], None]]]] = {
    "csv": ("disagreements.csv", write_csv),
    "jsonl": ("disagreements.jsonl", write_json_lines),
    "parquet": ("disagreements.parquet", write_parquet),
}
"""File name and writer of each format."""


def write_set_aside(path: Path, rows: Iterable[SetAside]) -> None:
    """The bins that were not ranked, one line each with the reason."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image_id", "recorded", "state", "reason", "detail", "photo"])
        for found in rows:
            values = (found.image_id, found.recorded, found.state, found.reason, found.detail, found.photo)
            writer.writerow([cell(value) for value in values])


def _in_one_cell(parts: Sequence[str]) -> str:
    """The parts, separated by " | "; as many as a cell of a spreadsheet holds, and the number of the others."""
    text, kept = " | ".join(parts), len(parts)
    while _length(text) > _MOST_IN_A_CELL and kept:
        kept -= 1
        left_out = f"... and {len(parts) - kept} more, which the other formats have"
        text = " | ".join([*parts[:kept], left_out])
    return text


def cell(value: Any) -> Any:
    """A cell that no spreadsheet reads as a formula, and that none cuts: longer text is cut with a mark."""
    value = inert(value)
    if not isinstance(value, str) or _length(value) <= _MOST_IN_A_CELL:
        return value
    kept = value.encode("utf-16-le", errors="surrogatepass")[: 2 * (_MOST_IN_A_CELL - len(_CUT))]
    return kept.decode("utf-16-le", errors="ignore") + _CUT


def _length(text: str) -> int:
    """Characters as Excel counts them: those beyond the first 65,536 of Unicode are two."""
    return len(text.encode("utf-16-le", errors="surrogatepass")) // 2


def inert(value: Any) -> Any:
    """A cell that no spreadsheet reads as a formula: text that could begin one gets a leading apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.lstrip().startswith(_FORMULA_STARTS) else value
