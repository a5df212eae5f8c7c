"""Digests of files: the step that writes a file records its digest, the step that reads the file compares it.

A sealed document is readable JSON with the SHA-256 of all its other fields under `sha256`. The digest of a file that
cannot contain one (a graph, weights, a shard) is in a sealed document beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

SEAL: Final = "sha256"
"""The field of a sealed document that holds the digest of the others."""


class DamagedFile(ValueError):
    """A file is not as it was written; the message names the file and the evidence."""


def sha256_of(path: Path) -> str:
    """The digest of a file, in hexadecimal. Raises OSError where it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seal(document: Mapping[str, Any]) -> bytes:
    """The document as JSON with its digest: the same bytes for equal documents. An old digest is replaced."""
    # As a reader will see it: keys that are numbers become text, and sort as text.
    plain: dict[str, Any] = json.loads(json.dumps(document))
    plain.pop(SEAL, None)
    return json.dumps({**plain, SEAL: _digest(plain)}, indent=2, sort_keys=True).encode() + b"\n"


def unseal(document: Any, name: str) -> dict[str, Any]:
    """The content of a sealed document, without its digest. Raises DamagedFile, with the document's `name`."""
    if not isinstance(document, dict) or SEAL not in document:
        raise DamagedFile(f"{name} carries no digest of itself")
    plain = {key: value for key, value in document.items() if key != SEAL}
    if document[SEAL] != _digest(plain):
        raise DamagedFile(f"{name} is damaged: its content does not match its digest")
    return plain


def read_sealed(path: Path) -> dict[str, Any]:
    """The content of a sealed file. Raises DamagedFile, and OSError where it cannot be read."""
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"{path.name} is damaged: it is not JSON ({error})") from error
    return unseal(document, path.name)


def _digest(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
