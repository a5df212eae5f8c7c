"""AWS's training toolkit (`sagemaker-training` with its PyTorch module), started the way its image starts it.

A stand-alone script: it runs inside a job's process, where only the job's own packages are importable, and changes
what depends on a container network or on an image of one's own:

- SIGTERM does not end it once the script runs. In an image it is process 1, which ignores the signal, and goes on
  relaying the script's output until the script has ended.
- The first machine is reached at a loopback address and at a port of the job's own, so that several jobs with several
  machines run side by side (the toolkit's port is a constant).
- Packages that the job's requirements name and that are installed already are not looked up again by pip.
- torch's version is read from its metadata; importing torch for it costs seconds before the script even starts.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import metadata

MASTER_ADDRESS = "LOCAL_AWS_MASTER_ADDRESS"
MASTER_PORT = "LOCAL_AWS_MASTER_PORT"


def _relay_to_the_end() -> None:
    from sagemaker_training import process

    create = process.create

    def create_and_outlive(*arguments: object, **keywords: object) -> object:
        # From here on, not before: a signal that nobody would hear must not be lost on the way to the script. And a
        # handler, not SIG_IGN: an ignored signal would stay ignored in the script, which may want to hear it.
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
    """The lines of requirements.txt that need pip: what is missing, and whatever is more than name and version."""
    from packaging.requirements import InvalidRequirement, Requirement

    unmet: list[str] = []
    with open(os.path.join(path, "requirements.txt"), encoding="utf-8") as requirements:
        lines = [line.split(" #")[0].strip() for line in requirements]
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


def main() -> None:
    """Run the toolkit's `train` command; its exit status is the job's."""
    sys.path.pop(0)  # this folder: the toolkit hands its own path on to the script
    from sagemaker_training.cli import train

    _relay_to_the_end()
    _use_loopback()
    _name_torch_without_importing_it()
    _install_only_what_is_missing()
    sys.argv = ["train"]
    train.main()


if __name__ == "__main__":
    main()
