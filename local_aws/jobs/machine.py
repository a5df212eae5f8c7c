"""One machine of a job: its folders, its Python and its environment variables."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_aws.images.filesystem import inside
from local_aws.images.pytorch import image_executables, make_layer

NETWORK_INTERFACE = "lo" if sys.platform.startswith("linux") else "lo0"
_PASSED_ON = {"HOME", "LANG", "TZ", "USER", "LD_LIBRARY_PATH", "TORCH_HOME", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"}
_PASSED_ON_PREFIXES = ("PIP_", "LC_")
_PROXIES = {"http_proxy", "https_proxy", "no_proxy", "all_proxy"}


@dataclass(frozen=True)
class JobMachine:
    """A machine of a job; `root` stands in for its `/opt/ml`."""

    name: str
    index: int
    root: Path
    executables: Path

    @classmethod
    def make(cls, job_folder: Path, index: int) -> JobMachine:
        """Make the empty folders of machine `algo-(index + 1)`; removes those of an earlier attempt."""
        name = f"algo-{index + 1}"
        folder = job_folder / name
        shutil.rmtree(folder, ignore_errors=True)
        root = folder / "ml"
        root.mkdir(parents=True)
        return cls(name, index, root, make_layer(folder / "layer"))

    def write_config(self, relative: str, document: Any) -> None:
        """Write one of the JSON files that the container contract names."""
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1), encoding="utf-8")

    def read_text(self, relative: str, limit: int = 1024) -> str:
        """The start of a file that the job may have written; empty when it has not."""
        path = self.root / relative
        if not path.is_file():
            return ""
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(limit).strip()

    def environment(self, variables: Mapping[str, str], threads: int) -> dict[str, str]:
        """All environment variables of a process on this machine.

        Args:
            variables: the job's; they replace others of the same name.
            threads: the machine's share of this computer's processors.
        """
        base = {
            name: value
            for name, value in os.environ.items()
            if name in _PASSED_ON or name.lower() in _PROXIES or name.startswith(_PASSED_ON_PREFIXES)
        }
        base |= {
            "PATH": os.pathsep.join([str(self.executables), image_executables(), os.environ.get("PATH", os.defpath)]),
            "SAGEMAKER_BASE_DIR": str(inside(self.root)),
            # As in AWS's images: the log is live and the code folder gets no compiled files.
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONIOENCODING": "UTF-8",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
            "OMP_NUM_THREADS": str(threads),
            # gloo resolves the host's name, which may have no address on a laptop.
            "GLOO_SOCKET_IFNAME": NETWORK_INTERFACE,
            "TP_SOCKET_IFNAME": NETWORK_INTERFACE,
        }
        return base | dict(variables)
