"""The objects of a listing, and their ETags."""

from __future__ import annotations

from dataclasses import dataclass

from binventory.core.contents import is_md5
from ingestion.run import Packed


@dataclass(frozen=True, slots=True, init=False)
class ListedObject(Packed):
    """One object of a listing. There are a million of them, so an ETag of hexadecimal digits is kept as its bytes."""

    name: str
    """The key below the listed folder, for example `00231.jpg`."""
    size: int
    _tag: bytes | str

    def __init__(self, name: str, size: int, tag: bytes | str) -> None:
        """`tag`: the ETag, or as another object keeps it."""
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "_tag", bytes.fromhex(tag) if isinstance(tag, str) and is_md5(tag) else tag)

    @property
    def etag(self) -> str:
        """Without quotes: the content's MD5 where `BinSource.content_tags` holds; empty where the source has none."""
        return self._tag if isinstance(self._tag, str) else self._tag.hex()


def bare_tag(etag: str | None) -> str:
    """An ETag as S3 writes it, without its quotes; empty where there is none."""
    return (etag or "").strip('"')
