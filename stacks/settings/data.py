"""The bin photos: where they are, and which are used."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stacks.settings.section import Section, s3_uri_or


class DataSettings(Section):
    """The bin photos: where they are, and which are used."""

    photos_uri: Annotated[str, s3_uri_or(registered=True)]
    """Prefix that holds `bin-images/` and `metadata/`, in a bucket of the settings' region or of the public dataset."""
    labels_uri: Annotated[str, s3_uri_or("none")]
    """A CSV file with image_id and count that replaces the metadata, or `none`."""
    limit_per_class: int = Field(ge=0)
    """Photos of each count at most; 0: all."""
    block_size: int = Field(ge=1, le=100_000)
    """Ids are assigned to the splits in blocks of this size, because neighbouring ids often show the same bin."""
