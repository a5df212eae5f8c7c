"""Compares the endpoint's answers for the test photos with those of the evaluation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from binventory.core.aws import Aws
from binventory.core.contents import bucket_and_key
from binventory.core.errors import Problem
from binventory.core.objects import read_at
from binventory.serving import EndpointAnswer

TOLERANCE: Final = 5e-6
"""By how much a probability may differ. Both sides run one graph on the same bytes and write six decimals; a sum that
another number of threads adds up in another order moves the last of them."""


@dataclass(frozen=True)
class Judged:
    """The evaluation's answer for one test photo."""

    image_id: str
    recorded: int
    count: int
    probabilities: Mapping[int, float]


@dataclass(frozen=True)
class Agreement:
    """The result when the endpoint answered every test photo as the evaluation did."""

    photos: int
    largest_difference: float
    """Of any count's probability."""

    def __str__(self) -> str:
        return f"{self.photos} of {self.photos} answers are those of the evaluation, {self._apart()}"

    def _apart(self) -> str:
        if self.largest_difference == 0:
            return "to the last digit"
        return f"probabilities within {self.largest_difference:.0e}"


def test_photos(aws: Aws, manifest: str) -> list[tuple[str, int]]:
    """The ids of the test split with their recorded quantity, sorted.

    manifest: the s3:// folder of the manifests that Ingest wrote. Raises Problem when the test split is empty.
    """
    bucket, prefix = bucket_and_key(manifest)
    s3 = aws.client("s3")
    rows: list[tuple[str, int]] = []
    for item in s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/manifest").get("Contents", []):
        text = read_at(s3, f"s3://{bucket}/{item['Key']}").decode()
        records = (json.loads(line) for line in text.splitlines())
        rows.extend((str(row["id"]), int(row["count"])) for row in records if row.get("split") == "test")
    if not rows:
        raise Problem(
            "There are no test photos",
            f"no manifest under {manifest} has a row of the split test",
            "give the rehearsal more photos: --photos-count 1000",
        )
    return sorted(rows)


def read_judged(aws: Aws, folder: str, evaluation: Mapping[str, Any]) -> dict[str, Judged]:
    """The answers beside an evaluation in the s3:// `folder`, by id.

    Raises Problem when the file is not the one that the evaluation names.
    """
    named = evaluation["binventory"]["answers"]
    data = read_at(aws.client("s3"), f"{folder}/{named['file']}")
    judged = {judged.image_id: judged for judged in map(_judged, data.splitlines())}
    if hashlib.sha256(data).hexdigest() != named["sha256"] or len(judged) != named["photos"]:
        raise Problem(
            "The evaluation's answers are not those that it names",
            f"{folder}/{named['file']} has {len(judged)} photos and another digest than evaluation.json says",
            "something has written to the evaluation's folder after the job: run the pipeline again",
        )
    return judged


def _judged(line: bytes) -> Judged:
    row = json.loads(line)
    probabilities = {int(count): share for count, share in row["probabilities"].items()}
    return Judged(row["id"], row["recorded"], row["count"], probabilities)


def hold(
    photos: Iterable[tuple[str, int]], judged: Mapping[str, Judged], ask: Callable[[str], EndpointAnswer]
) -> Agreement:
    """Ask the endpoint about each photo, given as id and recorded quantity, and compare.

    Raises Problem naming a photo and both answers where they differ, or where the evaluation is of other photos.
    """
    test = dict(photos)
    if strangers := sorted(test.keys() ^ judged.keys()):
        raise Problem(
            "The evaluation is not of the test split",
            f"{len(strangers)} photos are in one of them only, such as {strangers[0]}",
            "look at the shards that Evaluate was given",
        )
    differing: list[tuple[Judged, EndpointAnswer]] = []
    largest = 0.0
    for image_id, recorded in test.items():
        ours, theirs = judged[image_id], ask(image_id)
        apart = _apart(ours.probabilities, theirs.probabilities)
        largest = max(largest, apart)
        if (ours.count, ours.recorded) != (theirs.count, recorded) or apart > TOLERANCE:
            differing.append((ours, theirs))
    if differing:
        ours, theirs = differing[0]
        raise Problem(
            "The endpoint answers differently from the evaluation",
            f"{len(differing)} of {len(test)} test photos differ. Photo {ours.image_id}: the evaluation counts "
            f"{_said(ours.count, ours.probabilities)}, the endpoint {_said(theirs.count, theirs.probabilities)}",
            "both must prepare the same bytes with the same code: compare what Evaluate and the endpoint run",
        )
    return Agreement(len(test), largest)


def _apart(ours: Mapping[int, float], theirs: Mapping[int, float]) -> float:
    """The largest difference of a probability; 1.0 where only one of them knows a count."""
    if ours.keys() != theirs.keys():
        return 1.0
    return max((abs(ours[count] - theirs[count]) for count in ours), default=0.0)


def _said(count: int, probabilities: Mapping[int, float]) -> str:
    shares = ", ".join(f"{number}: {share:.6f}" for number, share in sorted(probabilities.items()))
    return f"{count} ({shares})"
