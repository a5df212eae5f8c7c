"""The files of an audit in its folder: those of one audit only, and all of them or none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from binventory.audit.database import AuditDatabase, Disagreement, Filters
from binventory.audit.outputs import WRITERS, Origin, write_set_aside
from binventory.audit.summary import Summary

FORMATS: Final = (*WRITERS, "html")
PAGE_NAME: Final = "audit.html"
SUMMARY_NAME: Final = "summary.json"
SET_ASIDE_NAME: Final = "set_aside.csv"
_OF_FORMATS: Final = {**{chosen: name for chosen, (name, _) in WRITERS.items()}, "html": PAGE_NAME}

Writer = Callable[[Path], None]


@dataclass(frozen=True)
class Written:
    """The files that were written, and those that were removed."""

    files: tuple[Path, ...]
    removed: tuple[Path, ...]
    """Files of an earlier audit in formats that were not asked for: they would contradict the new ones."""


def write_files(
    folder: Path,
    formats: Iterable[str],
    ledger: AuditDatabase,
    filters: Filters,
    *,
    summary: Summary,
    origin: Origin,
    page: Writer,
) -> Written:
    """Writes the listed bins in each of `formats`, the bins that were set aside, and the summary.

    page: writes the HTML page to a path. While the page is drawn, which takes minutes, the folder stays as it was; a
    call that fails leaves it so.
    """
    chosen = tuple(formats)
    writers = {WRITERS[name][0]: _of(WRITERS[name][1], ledger, filters, origin) for name in chosen if name in WRITERS}
    writers[SET_ASIDE_NAME] = lambda part: write_set_aside(part, ledger.set_aside())
    writers[SUMMARY_NAME] = lambda part: _write_summary(part, summary)
    if "html" in chosen:
        writers[PAGE_NAME] = page
    parts = {folder / name: folder / f".{name}.part" for name in writers}
    stale = tuple(path for path in (folder / name for name in _OF_FORMATS.values()) if path not in parts)
    try:
        for write, part in zip(writers.values(), parts.values(), strict=True):
            write(part)
        removed = tuple(path for path in stale if path.exists())
        for path in removed:
            path.unlink()
        for path, part in parts.items():
            part.replace(path)
    except BaseException:
        for part in parts.values():
            part.unlink(missing_ok=True)
        raise
    return Written(tuple(parts), removed)


def _of(
    write: Callable[[Path, Iterable[Disagreement], Origin], None],
    ledger: AuditDatabase,
    filters: Filters,
    origin: Origin,
) -> Writer:
    return lambda part: write(part, ledger.ranked(filters), origin)


def _write_summary(path: Path, summary: Summary) -> None:
    path.write_text(json.dumps(summary.to_json(), indent=2) + "\n", encoding="utf-8")
