"""AWS's PyTorch images, for which the environment of the local AWS stands in.

A container may install packages without changing its image. Here each job gets a virtual environment of three small
files on top of the packages of the local AWS: its pip installs into the job's folder, which is removed with the job.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

from local_aws.core.context import Context
from local_aws.core.errors import not_local
from local_aws.core.protocol import ImageUri
from local_aws.images.cache import require_pushed
from local_aws.images.filesystem import GUARD, why_shared

_START = "local_aws_container"
"""The module that every Python of a job imports as it starts."""
_NAMES = """\
'''Machines of one job reach each other by name (algo-1, algo-2, ...), as in a container network.'''
import re
import socket

_MACHINE = re.compile(r"algo-\\d+")


def _here(function):
    def resolve(host, *arguments, **keywords):
        if isinstance(host, str) and _MACHINE.fullmatch(host):
            host = "127.0.0.1"
        return function(host, *arguments, **keywords)

    return resolve


for _name in ("gethostbyname", "gethostbyname_ex", "getaddrinfo"):
    setattr(socket, _name, _here(getattr(socket, _name)))
"""


def require_job_image(context: Context, image: str) -> None:
    """Refuse a job whose image does not exist in this account, or is not one of AWS's PyTorch images."""
    require_pushed(context, image)
    if image_problem(image):
        raise not_local(
            f"Image {image} does not run locally",
            "give one of AWS's PyTorch images (ACCOUNT.dkr.ecr.REGION.amazonaws.com/pytorch...)",
        )


def image_problem(image: str) -> str | None:
    """Why no job can run from `image`; None for AWS's PyTorch images, whose packages this environment has."""
    name = ImageUri.parse(image)
    if name and name.repository.split("/")[-1].startswith("pytorch"):
        return None
    return (
        f"ClientError: Cannot pull image {image}: the local AWS runs jobs without Docker, and has the packages of "
        "AWS's PyTorch images only (ACCOUNT.dkr.ecr.REGION.amazonaws.com/pytorch...)"
    )


def make_layer(folder: Path) -> Path:
    """Make the job's environment in `folder`; returns the folder that comes first on its PATH."""
    executables = folder / "bin"
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    executables.mkdir(parents=True)
    packages.mkdir(parents=True)
    base = Path(sys.base_prefix) / "bin"
    (folder / "pyvenv.cfg").write_text(f"home = {base}\ninclude-system-site-packages = false\n", encoding="utf-8")
    # The link must lead to the base interpreter; that of the outer environment reads the outer environment's settings.
    interpreter = os.path.realpath(sys.executable)
    for name in ("python", "python3"):
        (executables / name).symlink_to(interpreter)
    below = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    # Not a sitecustomize: the Python of Debian and Ubuntu has one, which would be found first.
    (packages / "image.pth").write_text("".join(f"{path}\n" for path in below) + f"import {_START}\n", encoding="utf-8")
    why = why_shared()
    guard = f"_WHY = {why!r}\n{GUARD}" if why else ""
    (packages / f"{_START}.py").write_text(_NAMES + guard, encoding="utf-8")
    return executables


def image_executables() -> str:
    """The folder of the packages' commands (torchrun, ...) in the environment of the local AWS."""
    return sysconfig.get_path("scripts")
