"""Settings of Batch Transform: whole prefixes counted and audited without an endpoint."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from stacks.settings.instances import BatchInstance
from stacks.settings.section import Section, wrong_setting

_PREFIX = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/(([\w.=-]+/)*)")
_MOST_URI = 512


def _prefix(value: str) -> str:
    """Ends in a slash: `s3://bucket/bins` would open `s3://bucket/bins-of-others/` too."""
    if _PREFIX.fullmatch(value) and len(value) <= _MOST_URI:
        return value
    raise wrong_setting("must be a prefix like s3://bucket/ or s3://bucket/bins/, with the slash at its end")


Prefix = Annotated[str, AfterValidator(_prefix)]


class BatchSettings(Section):
    """The machines of a transform job, and which photos it may read."""

    instance_type: BatchInstance = "ml.m5.xlarge"
    """The machine."""
    instance_count: int = Field(default=1, ge=1, le=20)
    """Machines a job; they share the photos between them."""
    photos_uris: tuple[Prefix, ...] = Field(default=(), max_length=10)
    """Prefixes whose photos may be counted, besides `data.photos_uri`."""

    def readable(self, photos_uri: str) -> tuple[str, ...]:
        """Every prefix that may be read, each with a slash at its end, given `data.photos_uri`."""
        found = photos_uri if photos_uri.endswith("/") else f"{photos_uri}/"
        return tuple(dict.fromkeys((found, *self.photos_uris)))
