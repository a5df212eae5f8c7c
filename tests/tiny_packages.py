"""Real wheels of a few lines under the names that `make setup` installs, in folders that pip takes for indexes."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

REGISTRATIONS = (
    "import torchvision.extension\n"
    "def register_meta(name):\n    return lambda function: function\n"
    "class torch:\n    class library:\n        @staticmethod\n        def register_fake(name):\n"
    "            if not torchvision.extension.HAS_OPS:\n"
    "                raise RuntimeError(f'operator {name} does not exist')\n"
    "            return lambda function: function\n"
    '@torch.library.register_fake("torchvision::nms")\ndef meta_nms():\n    pass\n'
    '@torch.library.register_fake("torchvision::qnms")\ndef meta_qnms():\n    pass\n'
)
# As torchvision's: the operators are there when the compiled file is, and when torch is of the same build.
_EXTENSION = (
    "import pathlib, torch\n"
    "LIBRARY = pathlib.Path(__file__).with_name('_C.so')\n"
    "HAS_OPS = LIBRARY.exists() and LIBRARY.read_text() == torch.BUILD\n"
)


@dataclass(frozen=True)
class Wheel:
    """A wheel file, and the line of a lock that names it."""

    path: Path
    name: str
    version: str

    @property
    def sha256(self) -> str:
        """Digest of the file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def locked(self, version: str = "") -> str:
        """Its entry in a lock."""
        return f"{self.name}=={version or self.version} \\\n    --hash=sha256:{self.sha256}\n"


def wheel(folder: Path, name: str, version: str, files: Mapping[str, str], scripts: Mapping[str, str] = {}) -> Wheel:
    """Write a wheel with these files, and console scripts as name to `module:function`."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    contents = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if scripts:
        lines = [f"{script} = {target}" for script, target in scripts.items()]
        contents[f"{info}/entry_points.txt"] = "\n".join(["[console_scripts]", *lines, ""])
    with zipfile.ZipFile(path, "w") as archive:
        for target, text in contents.items():
            # A fixed date, so that the same files have the same digest.
            archive.writestr(zipfile.ZipInfo(target, (2026, 1, 1, 0, 0, 0)), text)
        archive.writestr(f"{info}/RECORD", "".join(f"{target},,\n" for target in [*contents, f"{info}/RECORD"]))
    return Wheel(path, name.replace("_", "-"), version)


def torch(folder: Path, version: str, build: str) -> Wheel:
    """A torch that knows its build."""
    return wheel(folder, "torch", version, {"torch/__init__.py": f"BUILD = {build!r}\n__version__ = {version!r}\n"})


def torchvision(folder: Path, version: str, build: str) -> Wheel:
    """A torchvision whose compiled file works beside a torch of the same build; it does not import without it."""
    files = {
        "torchvision/__init__.py": "from torchvision import _meta_registrations, extension, ops, version\n",
        "torchvision/extension.py": _EXTENSION,
        "torchvision/_meta_registrations.py": REGISTRATIONS,
        "torchvision/ops.py": "from torchvision import extension\ndef nms():\n    assert extension.HAS_OPS, 'no nms'\n",
        "torchvision/version.py": f"__version__ = {version!r}\n",
        "torchvision/_C.so": build,
        "torchvision.libs/libcudart.so.13": "CUDA",
    }
    return wheel(folder, "torchvision", version, files)


def index(folder: Path, wheels: Iterable[Wheel]) -> str:
    """A package index of these wheels as PEP 503 describes it; returns its address."""
    simple = folder / "simple"
    simple.mkdir(parents=True, exist_ok=True)
    names: dict[str, list[Wheel]] = {}
    for item in wheels:
        (simple / item.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(item.path, simple / item.name)
        names.setdefault(item.name, []).append(item)
    for name, items in names.items():
        links = "".join(f'<a href="{item.path.name}#sha256={item.sha256}">{item.path.name}</a>\n' for item in items)
        (simple / name / "index.html").write_text(f"<!DOCTYPE html><html><body>\n{links}</body></html>\n")
    return simple.as_uri()
