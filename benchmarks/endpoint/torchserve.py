"""TorchServe 0.12 with its image classifier, in a separate environment: the server of many endpoints."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.endpoint.models import NETWORK, Models
from environment import pytorch
from environment.errors import SetupError
from environment.install import ROOT
from environment.locks import RUN, pins
from environment.packages import Pip

_PACKAGES: Final = (
    "torchserve==0.12.0",
    "torch-model-archiver==0.12.0",
    # What it imports without asking for it.
    "captum==0.9.0",
    "pyyaml==6.0.3",
    "setuptools==80.10.2",
)
# What torch and torchvision import, in this project's versions.
_BEFORE_TORCH: Final = (
    "filelock", "fsspec", "jinja2", "markupsafe", "mpmath", "networkx", "numpy", "pillow", "sympy", "typing-extensions",
)  # fmt: skip
_HANDLER: Final = """
from ts.torch_handler.image_classifier import ImageClassifier


class BinHandler(ImageClassifier):
    pass
"""


@dataclass(frozen=True)
class Tuning:
    """How TorchServe is run: `workers` None is its default, `threads` None is PyTorch's.

    `first_worker_port` names the workers' sockets in /tmp; two instances must not share them.
    """

    name: str
    first_worker_port: int
    workers: int | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Ports:
    """What one instance listens on; no two instances may share any."""

    inference: int
    management: int
    metrics: int
    grpc_inference: int
    grpc_management: int


TUNINGS: Final = (
    Tuning("torchserve as shipped", 9000),
    Tuning("torchserve one worker", 9100, workers=1),
    Tuning("torchserve one thread a worker", 9200, threads=1),
)


class Unavailable(Exception):
    """TorchServe cannot be run here; the message says what is missing."""


@dataclass(frozen=True)
class TorchServe:
    """An installed TorchServe and an archive of the model."""

    folder: Path

    @classmethod
    def install(cls, folder: Path, models: Models) -> TorchServe:
        """Raises Unavailable where Java or the packages are missing."""
        if shutil.which("java") is None:
            raise Unavailable("it needs Java (Debian: apt-get install default-jre-headless)")
        serve = cls(folder)
        if not (folder / "bin" / "torchserve").exists():
            print(f"installing {', '.join(_PACKAGES)} into {folder}", file=sys.stderr)
            try:
                subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
                pip = Pip(folder, folder / "pip.log")
                locked = pins(ROOT / RUN)
                needed = [f"{locked[name].name}=={locked[name].version}" for name in _BEFORE_TORCH]
                pip.install("What PyTorch needs", needed)
                pytorch.Installer(pip, ROOT).install()
                subprocess.run(
                    [str(folder / "bin/pip"), "install", "--quiet", *_PACKAGES], check=True, stderr=subprocess.DEVNULL
                )
            except subprocess.CalledProcessError as error:
                raise Unavailable(f"{error.cmd[-1]} could not be installed") from error
            except SetupError as error:
                raise Unavailable(f"{error.what}; {error.cure}") from error
        serve._archive(models)
        return serve

    def _archive(self, models: Models) -> None:
        store = self.folder / "store"
        store.mkdir(exist_ok=True)
        handler = self.folder / "bin_handler.py"
        handler.write_text(_HANDLER)
        subprocess.run(
            [
                str(self.folder / "bin/torch-model-archiver"), "--model-name", "bins", "--version", "1", "--force",
                "--model-file", str(NETWORK), "--serialized-file", str(models.weights),
                "--handler", str(handler), "--export-path", str(store),
            ],
            check=True, capture_output=True,
        )  # fmt: skip

    def command(self, tuning: Tuning, ports: Ports) -> list[str]:
        """The command that serves the archive on loopback ports."""
        lines = [
            f"inference_address=http://127.0.0.1:{ports.inference}",
            f"management_address=http://127.0.0.1:{ports.management}",
            f"metrics_address=http://127.0.0.1:{ports.metrics}",
            # It opens gRPC unasked, and an instance that cannot have these ports ends without a word.
            f"grpc_inference_port={ports.grpc_inference}",
            f"grpc_management_port={ports.grpc_management}",
            # Its own sampling of the machine would disturb its neighbours in the benchmark.
            "disable_system_metrics=true",
            "install_py_dep_per_model=false",
            f"initial_worker_port={tuning.first_worker_port}",
        ]
        if tuning.workers is not None:
            lines.append(f"default_workers_per_model={tuning.workers}")
        configuration = self.folder / f"{tuning.name.replace(' ', '-')}.properties"
        configuration.write_text("\n".join(lines))
        return [
            str(self.folder / "bin/torchserve"), "--start", "--foreground", "--ncs", "--disable-token-auth",
            "--model-store", str(self.folder / "store"), "--models", "bins.mar", "--ts-config", str(configuration),
        ]  # fmt: skip
