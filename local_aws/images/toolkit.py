"""Starts AWS's training toolkit (`sagemaker-training` with its PyTorch module) as its image does.

A stand-alone script, because it runs in a job's process, which can import the job's packages only. It changes what
depends on a container's network or image:

- SIGTERM does not end the toolkit while the script runs, and does not reach the script. In AWS's image process 1 is a
  shell that passes no signal on.
- The first machine is reached at a loopback address and at a port that only this job has, so that several such jobs run
  side by side. The toolkit's port is a constant.
- pip does not look up the packages of the job's requirements that are installed already.
- torch's version is read from its metadata, because to import torch for it takes seconds.
- Ways to run a script that need a client of SSH are imported by a job that asks for them.
- boto3 is imported by a job that needs it: it takes most of the processor time of a start. The region is read from the
  variable that boto3 reads, and obstore downloads the script. What obstore cannot download, boto3 does, so that a
  refusal reads as on AWS.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import sys
from contextlib import suppress
from importlib import import_module, metadata
from types import ModuleType, SimpleNamespace

MASTER_ADDRESS = "LOCAL_AWS_MASTER_ADDRESS"
MASTER_PORT = "LOCAL_AWS_MASTER_PORT"
_LARGEST = 8 << 20  # bytes of a script that is downloaded into memory


class _Late(ModuleType):
    """Stands in for a module, and imports it at the first use of an attribute."""

    def __getattr__(self, attribute: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), attribute)


def _import_ssh_late() -> None:
    for name in ("sagemaker_training.mpi", "sagemaker_training.smdataparallel"):
        sys.modules[name] = _Late(name)


def _import_boto3_late() -> None:
    boto3 = sys.modules["boto3"] = _Late("boto3")
    uploads = sys.modules["sagemaker_training.intermediate_output"] = _Late("sagemaker_training.intermediate_output")

    def start_sync(location: str, *arguments: object, **keywords: object) -> object:
        """Copy to S3 what the script writes meanwhile, if its job has a place for that."""
        if not location:
            return None
        # As in AWS's image: the default of Python 3.14, and of macOS, cannot hand a watch of folders to a process.
        import_module("multiprocessing").set_start_method("fork", force=True)
        assert boto3.session  # its first use puts the real one in its place, before a part of it is imported
        return uploads.__getattr__("start_sync")(location, *arguments, **keywords)  # type: ignore[operator]

    uploads.start_sync = start_sync  # type: ignore[attr-defined]


def _know_the_region() -> None:
    from sagemaker_training import environment

    if region := os.environ.get("AWS_DEFAULT_REGION"):
        session = SimpleNamespace(region_name=region)
        environment.boto3 = SimpleNamespace(session=SimpleNamespace(Session=lambda: session))


def _download_quickly() -> None:
    from sagemaker_training import files, params

    download = files.s3_download

    def s3_download(url: str, target: str) -> None:
        data = None if os.environ.get(params.S3_ENDPOINT_URL) else _small_object(url)
        if data is None:
            download(url, target)
        else:
            files.write_file(target, data, "wb")

    files.s3_download = s3_download


def _small_object(url: str) -> bytes | None:
    """The object, whose MD5 is its ETag; None if it is no such object, or cannot be read."""
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    bucket, _, key = url.removeprefix("s3://").partition("/")
    if not key.isprintable() or set("?#;").intersection(key) or {"", ".", ".."}.intersection(key.split("/")):
        return None  # obstore would ask for another key, or the toolkit does
    with suppress(BaseError, OSError, ValueError):
        # It reads address, region and keys from the variables that boto3 reads. boto3 repeats what fails.
        store = S3Store(bucket, client_options={"allow_http": True}, retry_config={"max_retries": 0})
        found = store.get(key)
        if found.meta["size"] <= _LARGEST:
            data = bytes(found.bytes())
            if hashlib.md5(data, usedforsecurity=False).hexdigest() == (found.meta["e_tag"] or "").strip('"'):
                return data
    return None


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


def main() -> None:
    """Run the toolkit's `train` command; its exit status is the job's."""
    sys.path.pop(0)  # this folder: the script inherits the toolkit's path
    _import_ssh_late()
    _import_boto3_late()
    from sagemaker_training.cli import train

    _know_the_region()
    _download_quickly()
    _relay_to_the_end()
    _use_loopback()
    _name_torch_without_importing_it()
    _install_only_what_is_missing()
    sys.argv = ["train"]
    train.main()


if __name__ == "__main__":
    main()
