"""The listing with which an execution started. Ingest reads the objects that it names, and none that came later.

The pipeline's step Fingerprint lists photos, metadata and labels, and writes the listing under its own SHA-256. That
address is an argument of the Ingest job, so the step cache finds the shards of an equal listing and of no other.
Each line is an object: size, ETag and percent-encoded key, separated by tabs. The key of the labels file has no folder.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from ingestion.objects import ListedObject
from ingestion.run import IngestError
from ingestion.source import METADATA, PHOTOS, read_file

_LABELS: Final = "labels"
_ENDING: Final = ".gz"


class ListingError(IngestError):
    """The listing cannot be used; the message names the cure."""


@dataclass(frozen=True, slots=True)
class ExecutionListing:
    """The objects that existed when the execution started."""

    folders: Mapping[str, list[ListedObject]]
    """The objects below `bin-images/` and `metadata/`, sorted by name."""
    labels: ListedObject | None
    """The labels file; None without one."""


async def read_listing(uri: str) -> ExecutionListing:
    """Read a listing and compare it with the SHA-256 in its name. Raises ListingError, SourceError."""
    packed = await read_file(uri)
    if packed is None:
        raise ListingError(f"the listing {uri} does not exist; start the execution again: it lists the photos anew")
    return await asyncio.to_thread(_parse, uri, packed)


def _parse(uri: str, packed: bytes) -> ExecutionListing:
    try:
        lines = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error):
        lines = b""
    if hashlib.sha256(lines).hexdigest() != uri.rpartition("/")[2].removesuffix(_ENDING):
        raise ListingError(
            f"the listing {uri} is damaged: its SHA-256 is not the one in its name; start a new execution"
        )
    folders: dict[str, list[ListedObject]] = {PHOTOS: [], METADATA: []}
    labels: ListedObject | None = None
    for line in lines.decode().splitlines():
        size, etag, key = line.split("\t")
        folder, slash, _ = key.partition("/")
        if slash:
            name = unquote(key)[len(folder) + 1 :]
            folders[folder + slash].append(ListedObject(name, int(size), etag))
        elif key == _LABELS:
            labels = ListedObject(key, int(size), etag)
    return ExecutionListing(folders, labels)
