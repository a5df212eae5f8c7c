"""Whether bytes that came from S3 are the object's: S3 names the MD5 of most objects, or another checksum."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

_MD5: Final = re.compile(r"[0-9a-f]{32}")


def mismatch(reply: Mapping[str, Any], data: bytes) -> str:
    """Why `data` is not the whole object of an answer of GetObject; "" where it is, or where S3 names no MD5."""
    expected = named_md5(reply)
    if expected is None or (found := md5_of(data)) == expected:
        return ""
    return f"its MD5 is {found}, not {expected} as its ETag says"


def named_md5(reply: Mapping[str, Any]) -> str | None:
    """The MD5 of the whole object that an answer of GetObject names; None where its ETag is something else.

    It is the MD5 of what was uploaded in one part and is encrypted with S3's own keys or not at all; in directory
    buckets it never is.
    """
    tag = str(reply.get("ETag", "")).strip('"')
    own_keys = reply.get("ServerSideEncryption", "AES256") == "AES256" and "SSECustomerAlgorithm" not in reply
    in_directory = reply.get("StorageClass") == "EXPRESS_ONEZONE"
    return tag if own_keys and not in_directory and _MD5.fullmatch(tag) else None


def md5_of(data: bytes) -> str:
    """The MD5 of bytes, in hexadecimal; it recognises damage, and protects from nobody."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
