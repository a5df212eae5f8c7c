"""Batch transform: counts or audits all photos under a prefix, without an endpoint."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from stacks.settings.instances import BatchInstance
from stacks.settings.section import Section, problem_in_policies, wrong_setting

_PREFIX = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/(([\w.=-]+/)*)")
_MOST_URI = 512


def _prefix(value: str) -> str:
    """Requires a slash at the end: `s3://bucket/bins` would also allow `s3://bucket/bins-of-others/`."""
    if _PREFIX.fullmatch(value) and len(value) <= _MOST_URI:
        if problem := problem_in_policies(value):
            raise wrong_setting("{problem}", problem=problem)
        return value
    raise wrong_setting("must be a prefix like s3://bucket/ or s3://bucket/bins/, with the slash at its end")


Prefix = Annotated[str, AfterValidator(_prefix)]


class BatchSettings(Section):
    """The machines of transform jobs, and the photos that they may read."""

    instance_type: BatchInstance = "ml.m5.xlarge"
    """Instance type."""
    instance_count: int = Field(default=1, ge=1, le=20)
    """Number of machines that share the photos of a job."""
    photos_uris: tuple[Prefix, ...] = Field(default=(), max_length=10)
    """More prefixes whose photos may be counted, besides `data.photos_uri`."""

    def readable(self, photos_uri: str) -> tuple[str, ...]:
        """All readable prefixes, each with a slash at its end. `photos_uri` is that of `data`."""
        found = photos_uri if photos_uri.endswith("/") else f"{photos_uri}/"
        return tuple(dict.fromkeys((found, *self.photos_uris)))
