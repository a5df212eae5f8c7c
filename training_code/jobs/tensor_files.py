"""Tensors on disk with a digest: plain safetensors files that are refused when damaged.

The digest is of the file with zeros in the digest's place. So it covers the tensors, their names and the description,
and any safetensors reader can read the file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from digests import DamagedFile

# One entry of metadata only: safetensors writes several in an order that changes from run to run.
_ENTRY: Final = "about"
_BLANK: Final = b"0" * 64
# The entry's text is JSON inside JSON, and starts with the digest.
_BEFORE: Final = rb'"{\"sha256\": \"'
_LENGTH: Final = 8


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    """Write tensors and their description atomically; returns the digest.

    Equal values give equal bytes.
    """
    text = json.dumps({"sha256": _BLANK.decode(), **dict(sorted(about.items()))})
    data = bytearray(save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, {_ENTRY: text}))
    place = _place(data)
    digest = hashlib.sha256(data).hexdigest()
    data[place : place + len(_BLANK)] = digest.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(data)
    os.replace(partial, path)
    return digest


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """Tensors by name, their description, and the digest.

    Raises DamagedFile unless the file is as `write_tensors` wrote it, OSError where it cannot be read.
    """
    data = path.read_bytes()
    try:
        place = _place(data)
        found = data[place : place + len(_BLANK)].decode("ascii", "replace")
        digest = hashlib.sha256(data[:place] + _BLANK)
        digest.update(memoryview(data)[place + len(_BLANK) :])
        if digest.hexdigest() != found:
            raise DamagedFile(f"{path.name} is damaged: its content does not match its digest")
        header = json.loads(data[_LENGTH : _LENGTH + int.from_bytes(data[:_LENGTH], "little")])
        about: dict[str, Any] = json.loads(header["__metadata__"][_ENTRY])
        return load(data), {name: value for name, value in about.items() if name != "sha256"}, found
    except (SafetensorError, ValueError, KeyError) as error:
        if isinstance(error, DamagedFile):
            raise
        raise DamagedFile(f"{path.name} is damaged, or not a file of this project: {error}") from error


def _place(data: bytes | bytearray) -> int:
    """Position of the digest. Raises ValueError without one."""
    place = data.find(_BEFORE, _LENGTH, _LENGTH + int.from_bytes(data[:_LENGTH], "little"))
    if place < 0:
        raise ValueError("it carries no digest of itself")
    return place + len(_BEFORE)


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values, in any order of the tensors."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        plain = value.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
