"""The listing that an execution started with: what is ingested is what it names, and not what came later.

The pipeline's step Fingerprint lists photos, metadata and labels, and puts the listing where its own SHA-256 says. That
address is an argument of the Ingest job, so that the step cache finds the shards of an equal listing and of no other.
A line an object: size, ETag and percent-encoded key, parted by tabs; the labels file is the one without a folder.
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

from ingestion.run import IngestError
from ingestion.source import METADATA, PHOTOS, Found, read_file

_LABELS: Final = "labels"
_ENDING: Final = ".gz"


class ListingError(IngestError):
    """The listing cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What was there when the execution started."""

    folders: Mapping[str, list[Found]]
    """The objects below `bin-images/` and `metadata/`, sorted by name."""
    labels: Found | None
    """The labels file; None without one."""


async def read_listing(uri: str) -> Listing:
    """Read a listing by its address and hold it to the SHA-256 in its name. Raises ListingError, SourceError."""
    packed = await read_file(uri)
    if packed is None:
        raise ListingError(f"the listing {uri} does not exist; start the execution again: it lists the photos anew")
    return await asyncio.to_thread(_parse, uri, packed)


def _parse(uri: str, packed: bytes) -> Listing:
    try:
        lines = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error):
        lines = b""
    if hashlib.sha256(lines).hexdigest() != uri.rpartition("/")[2].removesuffix(_ENDING):
        raise ListingError(f"the listing {uri} is damaged: it has not the SHA-256 in its name; start a new execution")
    folders: dict[str, list[Found]] = {PHOTOS: [], METADATA: []}
    labels: Found | None = None
    for line in lines.decode().splitlines():
        size, etag, key = line.split("\t")
        folder, slash, _ = key.partition("/")
        if slash:
            name = unquote(key)[len(folder) + 1 :]
            folders[folder + slash].append(Found(name, int(size), etag))
        elif key == _LABELS:
            labels = Found(key, int(size), etag)
    return Listing(folders, labels)
