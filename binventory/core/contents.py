"""Addresses of objects in S3, and whether bytes are the object's: S3 names the MD5 of most, or another checksum.

Packed with the jobs and with the functions, which read an object with `whole`; ingest compares photos itself. Commands
read it with `objects`, which also requests it again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_MD5: Final = re.compile(r"[0-9a-f]{32}")


class DamagedError(Exception):
    """An object that did not arrive as it is in S3; the message names it."""


def bucket_and_key(uri: str) -> tuple[str, str]:
    """Bucket and key, or prefix, of an s3:// address. A key may hold every character, `?`, `#` and `;` too."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def whole(reply: Mapping[str, Any], what: str) -> bytes:
    """The body of an answer of GetObject, read to its end. Raises DamagedError where it is not the object.

    boto3 raises its own errors for a body that ends early, and for one with another checksum than S3 has sent.
    """
    with reply["Body"] as body:
        data = bytes(body.read())
    if why := mismatch(reply, data):
        raise DamagedError(f"{what} arrived damaged: {why}; run it again")
    return data


def mismatch(reply: Mapping[str, Any], data: bytes) -> str:
    """Why `data` is not the whole object of an answer of GetObject; "" where it is, or where S3 names no MD5."""
    expected = named_md5(reply)
    return "" if expected is None else _differs(md5_of(data), expected)


def file_mismatch(reply: Mapping[str, Any], path: Path) -> str:
    """As `mismatch`, of a downloaded file and an answer of HeadObject."""
    expected = named_md5(reply)
    if expected is None:
        return ""
    with path.open("rb") as file:
        return _differs(hashlib.file_digest(file, _md5).hexdigest(), expected)


def _differs(found: str, expected: str) -> str:
    return "" if found == expected else f"its MD5 is {found}, not {expected} as its ETag says"


def named_md5(reply: Mapping[str, Any]) -> str | None:
    """The MD5 of the whole object that an answer of GetObject names; None where its ETag is something else.

    It is the MD5 of what was uploaded in one part and is encrypted with S3's own keys or not at all; in directory
    buckets it never is.
    """
    tag = str(reply.get("ETag", "")).strip('"')
    own_keys = reply.get("ServerSideEncryption", "AES256") == "AES256" and "SSECustomerAlgorithm" not in reply
    in_directory = reply.get("StorageClass") == "EXPRESS_ONEZONE"
    return tag if own_keys and not in_directory and is_md5(tag) else None


def is_md5(etag: str) -> bool:
    """Whether an ETag has the form of an MD5; multipart uploads and folders have other ETags."""
    return _MD5.fullmatch(etag) is not None


def md5_of(data: bytes) -> str:
    """The MD5 of bytes, in hexadecimal; it recognises damage, and protects from nobody."""
    return str(_md5(data).hexdigest())


def _md5(data: bytes = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)
