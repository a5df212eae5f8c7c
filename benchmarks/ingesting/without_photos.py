"""Ingest as it is, but for the photos and their metadata: neither is requested, decoded or encoded.

    python -m benchmarks.ingesting.without_photos --photos-uri s3://bucket/ --labels-uri labels.csv --output out

Every kept row names a photo of a few hundred bytes, the same in all rows, and as many SKUs as the label counts. So
listing, plan, processes, rows, shards, books, exploration and page are those of a whole run.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path
from typing import Final

from PIL import Image

from binventory.records.metadata import Line, Record
from ingestion.intake import JPEG_QUALITY, JPEG_SUBSAMPLING, ShardPhoto, SourcePhoto, encode_jpeg, four_channels
from ingestion.job import ingest
from ingestion.labels import Labelled, settle
from ingestion.plan import Candidate
from ingestion.run import IngestSettings, JobMachine
from ingestion.work import Intake, WorkLimits

SKUS: Final = 459_476
"""Of the whole dataset, as published."""
_SIZE: Final = (341, 256)
_SOURCE_SIZE: Final = (640, 480)


class WithoutPhotos(Intake):
    """Takes each candidate's count from its label, and gives it a photo that was never read."""

    _data: bytes = b""

    async def _labelled(self, candidate: Candidate) -> Labelled:
        count = candidate.labelled_count or 0
        first = int(candidate.id)
        lines = [Line(f"B{(first * 7919 + number * 104_729) % SKUS:09}", "", 1) for number in range(count)]
        return settle(candidate.label, Record(candidate.id, count, tuple(lines)))

    async def _photo(self, candidate: Candidate, *, as_sent: bool) -> ShardPhoto:
        source = SourcePhoto(candidate.photo.size, "JPEG", "RGB", *_SOURCE_SIZE, candidate.md5)
        return ShardPhoto(self._tiny(), ".jpg", *(_SOURCE_SIZE if as_sent else _SIZE), source)

    def _tiny(self) -> bytes:
        if not self._data:
            image = four_channels(Image.new("RGB", (32, 32), (90, 120, 30)))
            self._data = encode_jpeg(image, JPEG_QUALITY, JPEG_SUBSAMPLING)
        return self._data


def main() -> None:
    """Ingest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos-uri", required=True)
    parser.add_argument("--labels-uri", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--cores", type=int, default=2)
    asked = parser.parse_args()
    settings = IngestSettings(photos_uri=asked.photos_uri, labels_uri=asked.labels_uri)
    limits = WorkLimits.of(asked.cores)
    asyncio.run(ingest(settings, JobMachine(), asked.output, limits=limits, intake=WithoutPhotos))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    main()
