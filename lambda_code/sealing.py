"""Step Seal of the pipeline: records which shards Ingest has left, so that nobody exchanges them afterwards.

The role of Ingest may write below the address of every execution. The list of a split's shards, `digests.json`, has
their digests, but who can exchange a shard can exchange the list too. So the digest of each list becomes an output of
this step: SageMaker keeps it with the execution, and the later steps take it as an argument and hold the shards to it.

A later execution may take the shards from the step cache. So the first execution also writes the digest to a place
where only this function writes, under a key that is never written again; every later one is held to it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from botocore.exceptions import ClientError

from binventory.core.contents import DamagedError, bucket_and_key
from functions.aws import client, read_object
from functions.interface import read_environment
from stacks.environments import FingerprintEnvironment
from stacks.names import SHARD_LIST, SHARDS

_TAKEN: Final = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}


class SealError(Exception):
    """The shards of a split cannot be used; the message becomes the failure reason of the step."""


def seal(addresses: Mapping[str, str]) -> dict[str, str]:
    """The output parameters of the step.

    Args:
        addresses: prefix of the shards by split.

    Raises:
        SealError: a split has no list, or not the one that was recorded for its address.
    """
    folder = read_environment(FingerprintEnvironment).seals
    found = {split: _sealed(split, address.rstrip("/"), folder) for split, address in sorted(addresses.items())}
    outputs = {SHARDS: ",".join(f"{split}={digest}" for split, digest in found.items())}
    print(json.dumps(outputs))
    return outputs


def _sealed(split: str, address: str, folder: str) -> str:
    """The digest of the split's list, which is that of the first call for this address."""
    try:
        content = read_object(f"{address}/{SHARD_LIST}")
    except ClientError as error:
        why = error.response.get("Error", {}).get("Code", "")
        raise SealError(f"the list {address}/{SHARD_LIST} cannot be read ({why}): Ingest has not finished") from error
    except DamagedError as error:
        raise SealError(str(error)) from error
    digest = hashlib.sha256(content).hexdigest()
    record = f"{folder}/{hashlib.sha256(address.encode()).hexdigest()}"
    bucket, key = bucket_and_key(record)
    try:
        client("s3").put_object(Bucket=bucket, Key=key, Body=digest.encode(), IfNoneMatch="*")
    except ClientError as error:
        if error.response.get("Error", {}).get("Code", "") not in _TAKEN:
            raise
        recorded = read_object(record).decode()
        if recorded != digest:
            raise SealError(
                f"the shards of split {split} at {address} are not those that Ingest left there: their list has the "
                f"digest {digest[:12]}, recorded was {recorded[:12]}. Find out who wrote there, then train with --fresh"
            ) from error
    return digest
