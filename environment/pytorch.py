"""Choose and install a build of torch and torchvision.

PyPI's wheels for Linux are CUDA builds of gigabytes, also on Arm. These sources are tried in order:

1. configured: the user's pip configuration, if it offers CPU builds of both.
2. index: PyTorch's public CPU index.
3. A CPU build of torch from either, with PyPI's torchvision without its compiled operators (torchvision_wheel.py), for
   a closed network that has torch but no torchvision. The project calls none of the operators.
4. pypi: PyPI's CUDA build with all its packages; its size is printed first.

macOS takes PyPI's builds, which are CPU builds there. pip checks every file's hash, from any source. A pair is
accepted when it imports and torchvision's `nms` runs.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from environment import torchvision_wheel
from environment.errors import SetupError
from environment.locks import TORCH_CPU, TORCH_PYPI, pins
from environment.packages import Pip
from environment.progress import Progress

SOURCES: Final = ("auto", "configured", "index", "pypi")
PUBLIC_INDEX: Final = "https://download.pytorch.org/whl/cpu"
PROOF: Final = Path(__file__).with_name("proof.py")
STEP: Final = "PyTorch"
# Sizes of torch 2.13.0 and torchvision 0.28.0 for Linux on x86-64 with their CUDA packages.
CUDA_DOWNLOAD_GB: Final = 2.7
CUDA_DISK_GB: Final = 4.8
# An index that does not answer must not delay the set-up by minutes.
_PATIENCE: Final = ("--retries", "2", "--timeout", "15")


@dataclass(frozen=True)
class Installed:
    """The installed pair, its source, and a remark for the user."""

    source: str
    torch: str
    torchvision: str
    remark: str = ""


@dataclass(frozen=True)
class Installer:
    """Installs the pair with one environment's pip.

    Args:
        root: the folder of the locks.
        index: address of PyTorch's CPU index.
        source: one of SOURCES; `auto` tries them in order.
        system: the operating system, as `platform.system` names it.
        ready: returns when what PyTorch imports is installed; a pair is tried after that.
    """

    pip: Pip
    root: Path
    index: str = PUBLIC_INDEX
    source: str = "auto"
    system: str = platform.system()
    ready: Callable[[], object] = lambda: None

    def install(self) -> Installed:
        """Install the first pair that works. Raises SetupError with the reason of each source."""
        with Progress(STEP) as progress:
            return self._first_that_works(progress)

    def _first_that_works(self, progress: Progress) -> Installed:
        failed: list[str] = []
        for name, attempt in self._attempts(progress):
            reason = attempt()
            if not reason:
                return self._found(name, progress)
            failed.append(f"{name}: {reason}")
            progress.note(failed[-1])
        raise SetupError(
            "no build of torch and torchvision could be installed:\n" + "\n".join(f"  {line}" for line in failed),
            "give pip a source (pip config set global.find-links FOLDER), or choose another: make TORCH=pypi setup. "
            f"pip's whole output: {self.pip.log}",
        )

    def _attempts(self, progress: Progress) -> Iterator[tuple[str, Callable[[], str]]]:
        """Name and attempt of each source in turn; an attempt returns why it failed, or an empty text."""
        if self.system == "Darwin":
            yield "PyPI", partial(self._everything, progress)
            return
        places = {"configured": ("your pip configuration", ()), "index": (self.index, ("--index-url", self.index))}
        chosen = {name: place for name, place in places.items() if self.source in ("auto", name)}
        for name, options in chosen.values():
            yield name, partial(self._pair, options, progress)
        for name, options in chosen.values():
            title = f"{name}, with torchvision without its operators"
            yield title, partial(self._without_operators, options, progress)
        if self.source in ("auto", "pypi"):
            yield "PyPI", partial(self._everything_of_cuda, progress)

    def _pair(self, options: tuple[str, ...], progress: Progress) -> str:
        # torchvision first: if it is missing, pip need not read the much larger torch.
        entries = sorted(pins(self.root / TORCH_CPU).values(), key=lambda pin: pin.name, reverse=True)
        with written("\n".join(pin.text for pin in entries)) as lock:
            ended = self.pip.try_install(
                [*_PATIENCE, *options, "--require-hashes", "--requirement", str(lock)], progress, lock=lock
            )
        return ended.reason if ended.code else self._unproven()

    def _without_operators(self, options: tuple[str, ...], progress: Progress) -> str:
        with written(pins(self.root / TORCH_CPU)["torch"].text) as lock:
            ended = self.pip.try_install(
                [*_PATIENCE, *options, "--require-hashes", "--requirement", str(lock)], progress
            )
        if ended.code:
            return ended.reason
        with (
            tempfile.TemporaryDirectory(prefix="torchvision-") as folder,
            written(_exactly(pins(self.root / TORCH_PYPI)["torchvision"].text)) as lock,
        ):
            fetched = Path(folder) / "fetched"
            command = ["download", "--no-deps", "--only-binary", ":all:", *self.pip.bar(), "--dest", str(fetched)]
            ended = self.pip.run([*command, "--require-hashes", "--requirement", str(lock)], progress)
            if ended.code:
                return ended.reason
            wheel = torchvision_wheel.without_operators(next(fetched.glob("*.whl")), Path(folder))
            ended = self.pip.try_install(["--no-index", str(wheel)], progress)
        return ended.reason if ended.code else self._unproven("--without-operators")

    def _everything_of_cuda(self, progress: Progress) -> str:
        progress.note(
            f"No CPU build was found, so PyPI's CUDA build is installed with all its packages: about "
            f"{CUDA_DOWNLOAD_GB} GB to download, {CUDA_DISK_GB} GB on disk. (A CPU build is 0.2 GB and 0.7 GB.)"
            if self.source == "auto"
            else f"PyPI's build includes CUDA: about {CUDA_DOWNLOAD_GB} GB to download, {CUDA_DISK_GB} GB on disk."
        )
        needed: dict[int, float] = {}
        for folder, size in ((tempfile.gettempdir(), CUDA_DOWNLOAD_GB), (str(self.pip.place), CUDA_DISK_GB)):
            disk = os.stat(folder).st_dev
            needed[disk] = needed.get(disk, 0.0) + size
            free = shutil.disk_usage(folder).free / 1e9
            if free < needed[disk]:
                raise SetupError(
                    f"PyPI's build of PyTorch needs {needed[disk]:.1f} GB on the disk of {folder}, "
                    f"{free:.1f} GB are free",
                    "free disk space, name a folder on another disk for downloads (TMPDIR), or give pip a CPU build "
                    "of torch (pip config set global.find-links FOLDER)",
                )
        return self._everything(progress)

    def _everything(self, progress: Progress) -> str:
        self.ready()  # this lock names numpy and others of those packages again: two pips must not install them at once
        with written(_exactly((self.root / TORCH_PYPI).read_text(encoding="utf-8"))) as lock:
            ended = self.pip.try_install(["--require-hashes", "--requirement", str(lock)], progress, lock=lock)
        return ended.reason if ended.code else self._unproven()

    def _unproven(self, *flags: str) -> str:
        """Try the installed pair; if it does not work, remove it and return the reason, else an empty text."""
        self.ready()
        command = [str(self.pip.python), str(PROOF), "pytorch", *flags]
        proof = subprocess.run(command, capture_output=True, text=True, check=False)
        if proof.returncode == 0:
            return ""
        with self.pip.log.open("a", encoding="utf-8") as log:
            log.write(proof.stdout + proof.stderr)
        remove = [str(self.pip.python), "-m", "pip", "uninstall", "--yes", "--quiet", "torch", "torchvision"]
        subprocess.run(remove, capture_output=True, check=False)
        output = (proof.stdout + proof.stderr).strip().splitlines()
        return f"it is installed but does not work: {output[-1] if output else 'no message'}"

    def _found(self, source: str, progress: Progress) -> Installed:
        installed = self.pip.installed()
        pair = Installed(source, installed["torch"], installed["torchvision"])
        progress.note(f"torch {pair.torch} and torchvision {pair.torchvision} from {source}")
        if not pair.torchvision.endswith(torchvision_wheel.LABEL):
            return pair
        remark = (
            f"torchvision {pair.torchvision} is PyPI's without its compiled operators (nms, roi_align, decode_jpeg "
            "and others), because no CPU build of it was found. This project calls none of them. "
            f"To install the whole pair, make {self.index} reachable or add a matching torchvision to your pip "
            "configuration, then run: make clean setup"
        )
        return Installed(source, pair.torch, pair.torchvision, remark)


@contextmanager
def written(text: str) -> Iterator[Path]:
    """A temporary lock with this text."""
    with tempfile.TemporaryDirectory(prefix="lock-") as folder:
        lock = Path(folder) / "requirements.txt"
        lock.write_text(text + "\n", encoding="utf-8")
        yield lock


def _exactly(text: str) -> str:
    """A lock's text that requires builds without a label: with `==`, pip would prefer a configured 2.13.0+cpu."""
    return re.sub(r"^(torch|torchvision)==", r"\1===", text, flags=re.MULTILINE)


def unsupported(system: str = platform.system(), machine: str = platform.machine()) -> str:
    """Why PyTorch has no build for this machine, as text; empty when it has one."""
    if system == "Darwin":
        version = platform.mac_ver()[0]
        if machine != "arm64":
            return "PyTorch has no build for Macs with an Intel processor"
        if version and int(version.split(".")[0]) < 14:
            return f"PyTorch needs macOS 14 or newer, this is {version}"
        return ""
    if system != "Linux":
        return f"{system} is not supported; on Windows use WSL"
    if machine not in ("x86_64", "aarch64"):
        return f"PyTorch has no build for Linux on {machine}"
    if sys.platform == "linux" and platform.libc_ver()[0] != "glibc":
        return "PyTorch needs glibc, which this Linux does not have"
    return ""
