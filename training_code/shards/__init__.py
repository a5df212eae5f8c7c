"""Shards: tar files in WebDataset's layout, a split of photos with their records.

A sample is two neighbouring members, the photo `<id>.jpg` or `<id>.png` and `<id>.json`
(`{"count": 3, "id": "00231", "items": ["B000A59POM"], "sha256": ..., ...}`), so any tar tool or WebDataset reads them
too. `digests.json` beside the shards of a folder lists them.
"""

from shards.lists import LIST as LIST
from shards.lists import NOT_SEALED as NOT_SEALED
from shards.lists import ShardError as ShardError
from shards.lists import ShardSummary as ShardSummary
from shards.lists import check_sealed as check_sealed
from shards.lists import list_shards as list_shards
from shards.reading import PHOTO_SUFFIXES as PHOTO_SUFFIXES
from shards.reading import ReportDamage as ReportDamage
from shards.reading import Sample as Sample
from shards.reading import ShardIndex as ShardIndex
from shards.reading import read_at as read_at
from shards.reading import read_shards as read_shards
from shards.writing import Placed as Placed
from shards.writing import ShardWriter as ShardWriter
