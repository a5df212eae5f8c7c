"""Looks at the addresses of a start before anything bills: is something there, and may the jobs read it?

The roles of the jobs read what the settings name. An address elsewhere is readable only where the role's policies or
the bucket's policy say so, and a job that may not read it would bill for minutes before it ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from binventory.assembly.definitions import Definition, defaults_of, job_arguments, step_named
from binventory.core.aws import DENIED, Aws, error_code
from binventory.core.contents import bucket_and_key
from binventory.core.errors import Exit, Problem
from binventory.core.known_photos import UNKNOWN_PHOTOS, KnownPhotos
from stacks.names import EMBED, FINGERPRINT, INGEST, LABELS_URI, PHOTOS_URI, TRAIN, WEIGHTS

_PHOTOS: Final = "bin-images/"
_PAGES: Final = 10
_GONE: Final = frozenset({"NoSuchBucket", "NoSuchKey", "404", "NotFound"})


@dataclass(frozen=True)
class _Address:
    """One address of a start."""

    parameter: str
    uri: str
    step: str
    """The step whose job reads it."""

    @property
    def bucket(self) -> str:
        return bucket_and_key(self.uri)[0]

    @property
    def key(self) -> str:
        return bucket_and_key(self.uri)[1]

    @property
    def wanted(self) -> str:
        """The beginning of the keys that must be there."""
        if self.parameter != PHOTOS_URI:
            return self.key
        prefix = self.key.strip("/")
        return f"{prefix}/{_PHOTOS}" if prefix else _PHOTOS


def look_at(aws: Aws, definition: Definition, given: Mapping[str, Any]) -> tuple[str, ...]:
    """Sentences about what could not be looked at; empty where everything could.

    Raises:
        Problem: there is no bucket, nothing at an address, or the role of a job may not read it.
    """
    defaults = defaults_of(definition)
    said: list[str] = []
    for address in _addresses(definition, {**defaults, **given}):
        first = _first_key(aws, address)
        if first is None:
            said.append(
                f"{address.parameter} was not looked at: you may not list {address.uri}. "
                f"Step {FINGERPRINT} does, before a job bills."
            )
        elif not _below(address.uri, defaults.get(address.parameter)):
            said += _check_right(aws, definition, address, first)
    return tuple(said)


def listed_photos(aws: Aws, definition: Definition, given: Mapping[str, Any]) -> KnownPhotos:
    """The number of photos at the address of a start, which has passed `look_at`; more than 10,000 are not counted.

    That takes about two seconds; step Fingerprint lists all of them.
    """
    address = next(
        (one for one in _addresses(definition, {**defaults_of(definition), **given}) if one.parameter == PHOTOS_URI),
        None,
    )
    if address is None:
        return UNKNOWN_PHOTOS
    pages = aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=address.bucket, Prefix=address.wanted)
    found = 0
    try:
        for number, page in enumerate(pages, start=1):
            found += sum(item["Key"] != address.wanted for item in page.get("Contents", ()))
            if number == _PAGES and page.get("IsTruncated"):
                return KnownPhotos(least=found)
    except ClientError as error:
        if error_code(error) not in DENIED:
            raise
        return UNKNOWN_PHOTOS
    return KnownPhotos(found)


def _addresses(definition: Definition, values: Mapping[str, Any]) -> Iterator[_Address]:
    readers = {PHOTOS_URI: (INGEST,), LABELS_URI: (INGEST,), WEIGHTS: (EMBED, TRAIN)}
    for parameter, steps in readers.items():
        uri = str(values.get(parameter) or "")
        step = next((name for name in steps if step_named(definition, name)), "")
        if uri.startswith("s3://") and step:
            yield _Address(parameter, uri, step)


def _below(uri: str, configured: Any) -> bool:
    """Whether an address is the configured one, or below it; the role reads that."""
    if not isinstance(configured, str) or not configured.startswith("s3://"):
        return False
    return uri == configured or uri.startswith(configured.rstrip("/") + "/")


def _first_key(aws: Aws, address: _Address) -> str | None:
    """The first key at an address; None where the caller may not list it."""
    # Page after page, because S3 passes over deleted objects: a page may be empty although more follow.
    pages = aws.client("s3").get_paginator("list_objects_v2")
    listed = pages.paginate(Bucket=address.bucket, Prefix=address.wanted, PaginationConfig={"PageSize": 2})
    keys = (str(item["Key"]) for page in listed for item in page.get("Contents", ()))
    try:
        # The key of the folder of photos itself, which a console makes, is no photo.
        first = next((key for key in keys if address.parameter != PHOTOS_URI or key != address.wanted), None)
    except ClientError as error:
        if error_code(error) in _GONE:
            raise _refused(address, f"there is no bucket {address.bucket}") from None
        if error_code(error) in {"AccessDenied", "AllAccessDisabled", "403"}:
            return None
        raise
    if first is None or (address.parameter != PHOTOS_URI and first != address.key):
        kind = {PHOTOS_URI: f"it lists no photo; it must hold {_PHOTOS}<id>.jpg", LABELS_URI: "there is no such file"}
        raise _refused(address, kind.get(address.parameter, "there is no such file"))
    return first


def _check_right(aws: Aws, definition: Definition, address: _Address, key: str) -> tuple[str, ...]:
    """Asks IAM whether the job's role may read the key; a sentence where that stays unknown."""
    role = str(job_arguments(step_named(definition, address.step) or {}).get("RoleArn", ""))
    resource = f"arn:{role.split(':')[1] if role.count(':') > 4 else 'aws'}:s3:::{address.bucket}/{key}"
    unknown = f"Whether the role of {address.step} may read {address.uri} is not known: "
    try:
        reply = aws.client("iam").simulate_principal_policy(
            PolicySourceArn=role, ActionNames=["s3:GetObject"], ResourceArns=[resource]
        )
    except ClientError as error:
        return (f"{unknown}you may not ask IAM ({error_code(error)}).",)
    if reply["EvaluationResults"][0]["EvalDecision"] == "allowed":
        return ()
    granted = _bucket_grants(aws, address.bucket, role)
    if granted is None:
        return (f"{unknown}its policies do not allow it, and the bucket's policy may not be read.",)
    if granted:
        return ()
    raise Problem(
        f"The jobs may not read {address.parameter} {address.uri}",
        f"the role of step {address.step} reads what the settings name, and no policy of the bucket names it: {role}",
        "name the address in settings/ and deploy, or let the bucket's policy grant the role s3:GetObject and "
        "s3:ListBucket; nothing was started",
        code=Exit.NOT_READY,
    )


def _bucket_grants(aws: Aws, bucket: str, role: str) -> bool | None:
    """Whether the policy of a bucket names the role; None where it cannot be known.

    In another account a bucket's policy is not enough: the role's own policies must allow it too.
    """
    s3 = aws.client("s3")
    try:
        statements = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    except ClientError as error:
        if error_code(error) == "NoSuchBucketPolicy":
            return False
        return None if _is_ours(aws, bucket, role.split(":")[4]) else False
    listed = statements if isinstance(statements, list) else [statements]
    return any(item["Effect"] == "Allow" and _names(item.get("Principal"), role) for item in listed)


def _names(principal: Any, role: str) -> bool:
    if isinstance(principal, dict):
        principal = principal.get("AWS", ())
    named = [principal] if isinstance(principal, str) else list(principal or ())
    return "*" in named or role in named


def _is_ours(aws: Aws, bucket: str, account: str) -> bool:
    try:
        aws.client("s3").head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
    except ClientError:
        return False
    return True


def _refused(address: _Address, why: str) -> Problem:
    return Problem(
        f"{address.parameter} {address.uri} cannot be read",
        why,
        f"correct the address: --set {address.parameter}=s3://bucket/prefix/; nothing was started",
        code=Exit.USAGE,
    )
