"""Fills the local copy of the public bucket with photos, real or rendered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from binventory.core.aws import Aws, error_code
from binventory.core.errors import Exit, Problem
from binventory.core.quick_objects import QuickObjects
from binventory.records import ids
from binventory.render import render_bucket
from binventory.render.claim import is_rendered

PUBLIC_BUCKET = "aft-vbi-pds"
PHOTOS = "bin-images"
"""Folder of the photos, in a directory and in the bucket."""
_UPLOADS = 16


@dataclass(frozen=True)
class Source:
    """The photos and labels for the pipeline."""

    photos_uri: str
    labels_uri: str  # "none" where the metadata is the label
    photos: int
    """Bins with a photo: what else lies beside the photos is stored, and is none."""
    files: int


def check(folder: Path) -> None:
    """Refuses a folder that is not laid out like the public bucket, or has no photo."""
    lacks = f"no folder {PHOTOS} in it" if not (folder / PHOTOS).is_dir() else ""
    if not lacks and not photo_keys(folder):
        lacks = f"no JPEG or PNG file with the name of an id in {folder / PHOTOS}"
    if lacks:
        raise Problem(
            f"{folder} holds no bin photos",
            f"there is {lacks}",
            "name a folder with bin-images/NNNNN.jpg and metadata/NNNNN.json, or leave --photos out to render some",
            code=Exit.USAGE,
        )


def photo_keys(folder: Path) -> dict[str, str]:
    """The key of each bin's photo by its id, as Ingest takes it: of two photos of a bin the one that ends in `.jpg`."""
    keys: dict[str, str] = {}
    for name in sorted((path.name for path in (folder / PHOTOS).iterdir() if path.is_file()), key=ids.preference):
        if (image_id := ids.id_of_photo(name)) is not None:
            keys.setdefault(image_id, f"{PHOTOS}/{name}")
    return keys


def fill(aws: Aws, folder: Path, say: Callable[[int, int], None], *, bucket: str = PUBLIC_BUCKET) -> Source:
    """Uploads bin-images/, metadata/ and labels.csv of a folder; `say` is called with files done and files in all."""
    check(folder)
    s3 = aws.client("s3")
    # us-east-1 is S3's default and no valid constraint.
    where = {} if aws.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": aws.region}}
    try:
        s3.create_bucket(Bucket=bucket, **where)
    except ClientError as error:
        if error_code(error) not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
            raise
    files = list(_files(folder))
    quick = QuickObjects(aws, bucket)

    def upload(path: Path) -> None:
        key, data = path.relative_to(folder).as_posix(), path.read_bytes()
        if not quick.write(key, data):
            s3.put_object(Bucket=bucket, Key=key, Body=data)

    with ThreadPoolExecutor(_UPLOADS) as pool:
        for done, _ in enumerate(pool.map(upload, files), start=1):
            say(done, len(files))
    labels = f"s3://{bucket}/labels.csv" if (folder / "labels.csv").is_file() else "none"
    return Source(f"s3://{bucket}/", labels, len(photo_keys(folder)), len(files))


def render(folder: Path, photos: int, say: Callable[[int], None] = lambda done: None) -> Path:
    """Renders photos into a folder and returns it; `say` is called with the number of bins that are done."""
    render_bucket(folder, photos=photos, say=say)
    return folder


def kind_of(folder: Path | None) -> str:
    """What the photos of a folder are called: `rendered` where they were drawn, as without a folder; else `real`."""
    return "rendered" if folder is None or is_rendered(folder) else "real"


def _files(folder: Path) -> Iterator[Path]:
    for part in (PHOTOS, "metadata"):
        yield from sorted(path for path in (folder / part).glob("*") if path.is_file())
    if (folder / "labels.csv").is_file():
        yield folder / "labels.csv"
