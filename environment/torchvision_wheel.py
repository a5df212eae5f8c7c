"""Build a torchvision without compiled operators from PyPI's wheel.

PyPI's wheels for Linux link CUDA libraries, so a CPU build of torch cannot load the operators. torchvision 0.28.0 does
not import without them: it registers shapes for `nms` and `qnms` without checking that they exist; all its other
registrations check that first. The new wheel checks these two as well and contains no compiled file. Its version is
0.28.0+no.operators. Models, transforms and datasets are Python and stay the same; `torchvision.ops.nms` and other
compiled operators raise torchvision's own error, which says that the operators are missing.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from environment.errors import SetupError

LABEL: Final = "+no.operators"
_REGISTRATIONS: Final = "torchvision/_meta_registrations.py"
_UNCHECKED: Final = '@torch.library.register_fake("torchvision::'
_CHECKED: Final = '@register_meta("'
_UNCHECKED_OPERATORS: Final = ("nms", "qnms")


def without_operators(wheel: Path, folder: Path) -> Path:
    """Write the wheel without operators into a folder; returns its path.

    Raises SetupError when PyPI's wheel is not laid out as that of 0.28.0.
    """
    name, version, *_ = wheel.name.split("-")
    version = version.partition("+")[0]
    old_info, new_info = _info_folders(wheel, version)
    made = folder / f"{name}-{version}{LABEL}-py3-none-any.whl"
    record: list[str] = []
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as target:
        for item in source.infolist():
            path = PurePosixPath(item.filename)
            if item.is_dir() or ".so" in path.suffixes or path.parts[0] == "torchvision.libs" or path.name == "RECORD":
                continue
            target_name = item.filename.replace(old_info, new_info, 1)
            data = _changed(target_name, source.read(item), version)
            target.writestr(target_name, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{target_name},sha256={digest},{len(data)}")
        target.writestr(f"{new_info}/RECORD", "\n".join([*record, f"{new_info}/RECORD,,", ""]))
    return made


def _info_folders(wheel: Path, version: str) -> tuple[str, str]:
    with zipfile.ZipFile(wheel) as source:
        folders = {PurePosixPath(name).parts[0] for name in source.namelist() if ".dist-info/" in name}
    if len(folders) != 1:
        raise SetupError(f"{wheel.name} is not a wheel of torchvision", "run: make TORCH=pypi setup")
    return folders.pop(), f"torchvision-{version}{LABEL}.dist-info"


def _changed(name: str, data: bytes, version: str) -> bytes:
    if name == _REGISTRATIONS:
        text = data.decode()
        for operator in _UNCHECKED_OPERATORS:
            unchecked = f'{_UNCHECKED}{operator}")'
            if text.count(unchecked) != 1:
                raise SetupError(
                    f"torchvision {version} does not register {operator} as torchvision 0.28.0 does",
                    "run: make TORCH=pypi setup",
                )
            text = text.replace(unchecked, f'{_CHECKED}{operator}")')
        return text.encode()
    if name == "torchvision/version.py":
        return f"__version__ = '{version}{LABEL}'\n".encode()
    if name.endswith(".dist-info/METADATA"):
        return data.replace(f"\nVersion: {version}\n".encode(), f"\nVersion: {version}{LABEL}\n".encode(), 1)
    if name.endswith(".dist-info/WHEEL"):
        kept = [
            line for line in data.decode().splitlines() if line and not line.startswith(("Tag:", "Root-Is-Purelib:"))
        ]
        return "\n".join([*kept, "Root-Is-Purelib: true", "Tag: py3-none-any", ""]).encode()
    return data
