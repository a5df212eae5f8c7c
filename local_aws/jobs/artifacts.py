"""What a training job uploads at its end: its model and its other output, packed or file by file."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterable
from pathlib import Path

from local_aws.core.objects import ObjectStore
from local_aws.core.protocol import Document

# Not compressed: weights shrink by 7% at best, and that takes seconds in every training job.
_GZIP_LEVEL = 0


def files_of(folders: Iterable[Path]) -> dict[str, Path]:
    """Every file in the machines' folders by relative path; the first machine's, where two have the same path."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
            if path.is_file() or path.is_symlink():
                found.setdefault(path.relative_to(folder).as_posix(), path)
    return found


def pack(files: dict[str, Path], archive: Path) -> None:
    """Write a gzipped tar of the files; the same content gives the same bytes."""
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=_GZIP_LEVEL, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name in sorted(files):
            info = tar.gettarinfo(files[name], arcname=name)
            info.mtime = 0
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            if info.isreg():
                with files[name].open("rb") as content:
                    tar.addfile(info, content)
            else:
                tar.addfile(info)


def output_prefix(job: Document) -> str:
    """The prefix of everything that a training job uploads: `S3OutputPath/JOB/output/`."""
    return f"{job['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{job['TrainingJobName']}/output/"


def is_packed(job: Document) -> bool:
    """Whether the output is packed (the default) or uploaded file by file."""
    return bool(job["OutputDataConfig"].get("CompressionType", "GZIP") == "GZIP")


def model_location(job: Document) -> str:
    """The S3 URI of the job's model, which DescribeTrainingJob shows before it exists."""
    return output_prefix(job) + ("model.tar.gz" if is_packed(job) else "model/")


def upload_output(objects: ObjectStore, job: Document, machines: list[Path], scratch: Path) -> None:
    """Upload the model of a job's machines (an empty archive when there is none) and its output/data, if any.

    Args:
        objects: S3.
        job: the training job.
        machines: each machine's `/opt/ml`.
        scratch: a folder for the archives.
    """
    key = job["OutputDataConfig"].get("KmsKeyId")
    data = files_of(machine / "output" / "data" for machine in machines)
    if data:
        _store(objects, data, output_prefix(job) + ("output.tar.gz" if is_packed(job) else "data/"), scratch, key)
    _store(objects, files_of(machine / "model" for machine in machines), model_location(job), scratch, key)


def _store(objects: ObjectStore, files: dict[str, Path], where: str, scratch: Path, key: str | None) -> None:
    if where.endswith("/"):
        for name, path in files.items():
            objects.upload_file(path, where + name, key)
        return
    scratch.mkdir(parents=True, exist_ok=True)
    archive = scratch / where.rsplit("/", 1)[-1]
    pack(files, archive)
    objects.upload_file(archive, where, key)
    archive.unlink()
