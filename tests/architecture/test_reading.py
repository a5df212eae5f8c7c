"""A body that comes from S3 is held to what S3 says of it: by one reader, or the file says here why not."""

from __future__ import annotations

import re

from tests.architecture.imports import REPOSITORY, files

FOLDERS = ("binventory/", "inference_code/", "lambda_code/", "training_code/")
BODY = re.compile(r"\.download_file\(|\.download_fileobj\(|reply\[\"Body\"\]|\[\"Body\"\]\.read|obstore\.get")
READERS = {
    "binventory/core/contents.py": "of jobs and functions",
    "binventory/core/objects.py": "of commands",
    "binventory/core/quick_objects.py": "compares the MD5 itself, and leaves all else to the reader of commands",
    "training_code/ingestion/source.py": "of ingest: photos, metadata, labels",
    "training_code/ingestion/destination.py": "marks and books are sealed, photos have the digests of their rows",
    "binventory/client/queueing.py": "compares the MD5 itself, to ask again until the answer is whole",
    "binventory/client/counting.py": "of InvokeEndpoint, which names no digest",
    "training_code/modelling/weights.py": "compares the file with the MD5 that S3 names",
    "training_code/evaluation/champion.py": "an archive that seals what is in it",
    "training_code/machine/aws.py": "shards and checkpoints, which have digests of their own",
}


def test_every_body_is_read_by_one_that_compares_it() -> None:
    """A new reader takes `contents.whole` or `objects.read_at`."""
    found = {name for name in files() if name.startswith(FOLDERS) and BODY.search((REPOSITORY / name).read_text())}
    assert found == set(READERS)
