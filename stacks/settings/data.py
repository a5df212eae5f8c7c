"""Where the bin photos are and which of them are taken."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stacks.settings.section import Section, s3_uri_or


class DataSettings(Section):
    """Where the bin photos are and which of them are taken."""

    photos_uri: Annotated[str, s3_uri_or()]
    """Prefix that holds `bin-images/` and `metadata/`."""
    labels_uri: Annotated[str, s3_uri_or("none")]
    """A CSV with image_id and count instead of the metadata, or `none`."""
    limit_per_class: int = Field(ge=0)
    """At most this many photos of each count; 0 takes all."""
    block_size: int = Field(ge=1, le=100_000)
    """Neighbouring ids show the same bin, so ids are split in blocks of this size."""
