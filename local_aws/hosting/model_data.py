"""Model artefacts: from S3 into an instance's model folder, with every member of the archive checked."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from pathlib import Path

from botocore.exceptions import ClientError

from local_aws.core.errors import AwsError
from local_aws.core.objects import ObjectStore, S3Uri
from local_aws.core.protocol import Document

MAX_BYTES = 20 << 30
MAX_MEMBERS = 100_000
_NO_NAMES = frozenset({"", ".", ".."})
_LONGEST_NAME = 255  # bytes


class ModelDataError(AwsError):
    """The artefact cannot be downloaded or must not be unpacked; the message has the reason."""

    def __init__(self, message: str) -> None:
        super().__init__("ValidationException", message)


def place_model(objects: ObjectStore, container: Document, folder: Path) -> None:
    """Put the container's model, a model.tar.gz or an uncompressed prefix, into `folder` (`/opt/ml/model`)."""
    folder.mkdir(parents=True, exist_ok=True)
    source = container.get("ModelDataSource", {}).get("S3DataSource")
    uri = source["S3Uri"] if source else container.get("ModelDataUrl")
    if not uri:
        return
    if source and source["CompressionType"] == "None":
        _fetch_files(objects, uri, folder, whole_prefix=source["S3DataType"] == "S3Prefix")
        return
    archive = folder.parent / "model.tar.gz"
    try:
        objects.download_file(uri, archive)
    except ClientError as error:
        raise ModelDataError(f"Could not find model data at {uri}: {error.response['Error']['Message']}") from None
    try:
        unpack(archive, folder)
    except ModelDataError as error:
        raise ModelDataError(f"Failed to extract model data archive from {uri}: {error.message}") from None
    finally:
        archive.unlink(missing_ok=True)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a gzipped tar of files and folders; refuses links, devices, absolute paths and `..`."""
    total = 0
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for count, member in enumerate(tar, start=1):
                if count > MAX_MEMBERS:
                    raise ModelDataError(f"more than {MAX_MEMBERS} members")
                if not (member.isreg() or member.isdir()):
                    raise ModelDataError(f"member {member.name!r} is neither a file nor a folder")
                total += member.size
                if total > MAX_BYTES:
                    raise ModelDataError(f"unpacks to more than {MAX_BYTES >> 30} GiB")
                tar.extract(member, folder, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ModelDataError(str(error) or type(error).__name__) from None


def _fetch_files(objects: ObjectStore, uri: str, folder: Path, *, whole_prefix: bool) -> None:
    prefix = S3Uri.parse(uri).key if whole_prefix else ""
    try:
        paths = [key[len(prefix) :] for key in objects.keys(uri, folders=True)] if whole_prefix else [_file_name(uri)]
        if not paths:
            raise ModelDataError(f"No objects under {uri}")
        _refuse_paths(uri, paths)
        if whole_prefix:
            objects.download_prefix(uri, folder)
        else:
            objects.download_file(uri, folder / _file_name(uri))
    except ClientError as error:
        raise ModelDataError(f"Could not read {uri}: {error.response['Error']['Message']}") from None


def _file_name(uri: str) -> str:
    return uri.rsplit("/", 1)[-1]


def _refuse_paths(uri: str, paths: Iterable[str]) -> None:
    """Refuse the names of files and folders with which SageMaker deploys no model (S3ModelDataSource in its API)."""
    files = set(paths)
    for path in sorted(files):
        parts = path.split("/")
        for part in parts:
            if part in _NO_NAMES or "\0" in part or len(part.encode()) > _LONGEST_NAME:
                raise ModelDataError(f"{uri} has an object whose path {path!r} has {part!r}, which is no file's name")
        for folder in ("/".join(parts[:depth]) for depth in range(1, len(parts))):
            if folder in files:
                raise ModelDataError(f"{uri} has both a file {folder!r} and a folder of that name")
