"""Why a record or a file of records is not used."""

from __future__ import annotations


class RecordError(ValueError):
    """The record of one bin cannot be used. `reason` is a stable code, the message says it in words.

    Reasons: unsafe_id, second_photo, metadata_missing, metadata_too_large, metadata_malformed, metadata_invalid,
    quantity_mismatch, count_invalid, several_rows, several_photos; and those that Ingest adds.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TableError(ValueError):
    """A whole file cannot be used; the message quotes what it says and names what is wanted."""
