"""Ids of bins: in the names of files, and in cells that people or spreadsheets wrote.

Ids are names, not numbers: `1234` and `01234` are two bins, and neither is padded into the other.
"""

from __future__ import annotations

import re
from typing import Final

from binventory.records.errors import RecordError

PHOTO_SUFFIXES: Final = (".jpg", ".jpeg", ".png")
"""Endings of photos, in any case. The content decides whether a photo is a JPEG or a PNG, not its name."""
METADATA_SUFFIX: Final = ".json"
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_DECIMAL: Final = re.compile(r"[0-9]+[.,]0+")


def is_bin_id(text: str) -> bool:
    """Whether the text may be used as an id: letters, digits, `-`, `_`; no dots or slashes, at most 64 characters."""
    return _ID.fullmatch(text) is not None


def checked_id(text: str) -> str:
    """The id, if it can safely be part of a path and a key. Raises RecordError (unsafe_id)."""
    if not is_bin_id(text):
        raise RecordError(
            "unsafe_id", f"{text[:80]!r} is no id: one has letters, digits, - and _ only, at most 64, no - or _ first"
        )
    return text


def is_photo(name: str) -> bool:
    """Whether a file's name ends as a photo's does."""
    return name.lower().endswith(PHOTO_SUFFIXES)


def id_of_photo(name: str) -> str | None:
    """The id in the name of a photo, such as `00231.jpg` or `00231.JPEG`; None for any other name."""
    stem = name.rpartition(".")[0]
    return stem if is_photo(name) and is_bin_id(stem) else None


def id_of_metadata(name: str) -> str | None:
    """The id in the name of a metadata file, `00231.json`; None for any other name."""
    stem = name.removesuffix(METADATA_SUFFIX)
    return stem if stem != name and is_bin_id(stem) else None


def preference(name: str) -> tuple[bool, str]:
    """Sorts the photos of one bin: the first is used, `<id>.jpg` before any other, the others are named."""
    return not name.endswith(PHOTO_SUFFIXES[0]), name


def second_photo(name: str, first: str) -> RecordError:
    """Why a photo is not used whose bin has another one."""
    return RecordError("second_photo", f"{name[:80]} is not used: {first[:80]} is a photo of the same bin")


def read_id(text: str) -> str:
    """The id in a cell: as written, but for spaces around it and the ending of a photo's or metadata file's name.

    Raises RecordError (unsafe_id).
    """
    written = text.strip()
    for ending in (*PHOTO_SUFFIXES, METADATA_SUFFIX):
        if written.lower().endswith(ending):
            written = written[: -len(ending)]
            break
    if not written:
        raise RecordError("unsafe_id", "the id is empty")
    if _DECIMAL.fullmatch(written):
        raise RecordError(
            "unsafe_id", f"{written[:80]!r} is an id that was saved as a number; save the column of ids as text"
        )
    return checked_id(written)


def without_zeros(bin_id: str) -> str:
    """What a spreadsheet makes of an id of digits: the number without the zeros at its beginning."""
    return bin_id.lstrip("0") or "0"
