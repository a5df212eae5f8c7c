"""Removes what a transform job leaves: its model, manifest and answers. It names what stays, and raises nothing.

A job has been paid for when it is cleaned up, or another failure is on its way: neither may be lost because something
could not be deleted.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from binventory.core.aws import error_code, error_message
from binventory.core.remains import Remains
from binventory.core.words import counted

_DELETED_AT_ONCE: Final = 1000


def delete_model(sagemaker: Any, name: str) -> Iterator[Remains]:
    """Deletes a model; yields what stays. It may have been deleted already, or never made."""
    try:
        sagemaker.delete_model(ModelName=name)
    except (ClientError, BotoCoreError) as error:
        if not (isinstance(error, ClientError) and "Could not find" in error_message(error)):
            yield Remains(f"the model {name}", _reason(error), f"aws sagemaker delete-model --model-name {name}")


def delete_below(s3: Any, bucket: str, prefix: str, first: str) -> Iterator[Remains]:
    """Deletes every object below a prefix; yields what stays.

    Args:
        s3: client of S3.
        bucket: its name.
        prefix: of the keys, with the slash at its end.
        first: key below the prefix that is deleted before all others.
    """
    stay, why = 0, ""
    try:
        for batch in _batches(s3, bucket, prefix, first):
            reply = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True})
            errors = reply.get("Errors", ())
            stay += len(errors)
            if errors and not why:
                one = errors[0]
                why = f"{one.get('Key', 'a key')}: {one.get('Code', 'refused')} {one.get('Message', '')}".strip()
        if not stay:
            return
        number = counted(stay, "object")
    except (ClientError, BotoCoreError) as error:
        number, why = "what is", _reason(error)
    uri = f"s3://{bucket}/{prefix}"
    yield Remains(f"{number} below {uri}", why, f"aws s3 rm --recursive {uri}")


def _batches(s3: Any, bucket: str, prefix: str, first: str) -> Iterator[list[str]]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = (entry["Key"] for page in pages for entry in page.get("Contents", []))
    every: Iterable[str] = itertools.chain([first], (key for key in keys if key != first))
    found = iter(every)
    while batch := list(itertools.islice(found, _DELETED_AT_ONCE)):
        yield batch


def _reason(error: ClientError | BotoCoreError) -> str:
    return f"{error_code(error)}: {error_message(error)}" if isinstance(error, ClientError) else str(error)
