"""Starts AWS's training toolkit (`sagemaker-training` with its PyTorch module) as its image does.

A stand-alone script, because it runs in a job's process, which can import the job's packages only. It changes what
depends on a container's network or image:

- SIGTERM does not end the toolkit while the script runs, and does not reach the script. In AWS's image process 1 is a
  shell that passes no signal on.
- The first machine is reached at a loopback address and at a port that only this job has, so that several such jobs run
  side by side. The toolkit's port is a constant.
- pip does not look up the packages of the job's requirements that are installed already, and is found at an address
  with spaces or apostrophes. The toolkit splits its command at both.
- torch's version is read from its metadata, because to import torch for it takes seconds.
- Ways to run a script that need a client of SSH are imported by a job that asks for them.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from importlib import import_module, metadata
from types import ModuleType

MASTER_ADDRESS = "LOCAL_AWS_MASTER_ADDRESS"
MASTER_PORT = "LOCAL_AWS_MASTER_PORT"


class _Late(ModuleType):
    """Stands in for a module, and imports it at the first use of an attribute."""

    def __getattr__(self, attribute: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), attribute)


def _import_ssh_late() -> None:
    for name in ("sagemaker_training.mpi", "sagemaker_training.smdataparallel"):
        sys.modules[name] = _Late(name)


def _relay_to_the_end() -> None:
    from sagemaker_training import process

    create = process.create

    def create_and_outlive(*arguments: object, **keywords: object) -> object:
        # Not earlier, because a signal that comes before the script starts must end the job. A handler and not
        # SIG_IGN, because the script would inherit that and could not handle the signal.
        signal.signal(signal.SIGTERM, lambda *_: None)
        return create(*arguments, **keywords)

    process.create = create_and_outlive


def _use_loopback() -> None:
    from sagemaker_pytorch_container import training
    from sagemaker_training import environment, torch_distributed

    training.MASTER_PORT = torch_distributed.MASTER_PORT = os.environ[MASTER_PORT]
    address = os.environ[MASTER_ADDRESS]
    environment.Environment.master_hostname = property(lambda _: address)


def _name_torch_without_importing_it() -> None:
    from sagemaker_pytorch_container import training

    def set_version() -> None:
        try:
            os.environ["SM_DLC_TORCH_VERSION"] = metadata.version("torch")
        except metadata.PackageNotFoundError:
            training.logger.warning("PyTorch cannot be found")

    training._set_torch_version_environment = set_version


def _unmet(path: str) -> list[str]:
    """The lines of requirements.txt that need pip: missing packages, and lines with more than name and version."""
    from packaging.requirements import InvalidRequirement, Requirement

    unmet: list[str] = []
    with open(os.path.join(path, "requirements.txt"), encoding="utf-8") as requirements:
        # A lock has each package's hashes on lines that continue its own; what is installed was checked against them.
        text = re.sub(r"\\\n", " ", requirements.read())
    lines = [re.sub(r"\s--hash=\S+", "", line).split(" #")[0].strip() for line in text.splitlines()]
    for line in lines:
        if not line or line.startswith("#"):
            continue
        try:
            requirement = Requirement(line)
            if requirement.marker is not None and not requirement.marker.evaluate():
                continue
            version = metadata.version(requirement.name)
        except (InvalidRequirement, metadata.PackageNotFoundError):
            unmet.append(line)
            continue
        if requirement.url or requirement.extras or not requirement.specifier.contains(version, prereleases=True):
            unmet.append(line)
    return unmet


def _install_only_what_is_missing() -> None:
    from sagemaker_training import modules

    install = modules.install_requirements

    def install_requirements(path: str, capture_error: bool = False) -> None:
        if _unmet(path):
            install(path, capture_error)
        else:
            modules.logger.info("Every package in requirements.txt is installed")

    modules.install_requirements = install_requirements


def _find_the_interpreter_at_any_address() -> None:
    from sagemaker_training import modules, process

    class Words:
        """`shlex` for the toolkit's commands, which begin with the interpreter as it is."""

        @staticmethod
        def split(command: str) -> list[str]:
            python = process.python_executable()
            if not command.startswith(f"{python} "):
                return shlex.split(command)
            return [python, *shlex.split(command.removeprefix(python))]

    modules.shlex = Words


def main() -> None:
    """Run the toolkit's `train` command; its exit status is the job's."""
    sys.path.pop(0)  # this folder: the script inherits the toolkit's path
    _import_ssh_late()
    from sagemaker_training.cli import train

    _relay_to_the_end()
    _use_loopback()
    _name_torch_without_importing_it()
    _install_only_what_is_missing()
    _find_the_interpreter_at_any_address()
    sys.argv = ["train"]
    train.main()


if __name__ == "__main__":
    main()
