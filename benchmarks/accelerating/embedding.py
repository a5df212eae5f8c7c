"""Embed: photos a second, and how far features are from those of the CPU in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.accelerating.jobs import AS_ON_A_T4, CPU, GPU, Row, finish, job, last, start
from benchmarks.claims import claim
from benchmarks.counting.photos import Photos
from features.engine_check import BF16_SHARE, FP32_SHARE
from features.files import FeatureSet, read_split
from stacks.vocabulary import TRAIN, VALIDATION


def embedding(photos: Photos, folder: Path, flags: Sequence[str]) -> None:
    """One row for each place and precision: photos a second after the engine is ready, engine, error of the features.

    The error is a share of what tells photos apart, as in features/engine_check.py.
    """
    exact: FeatureSet | None = None
    rates: dict[str, float] = {}
    errors: dict[str, float] = {}
    for row in (CPU, *GPU):
        place = folder / row.folder
        log = place / "embed.log"
        _embed(photos, row, place, log, flags)
        found = read_split(place / "features", TRAIN)
        exact = exact or found
        spread = float((exact.features - exact.features.mean(dim=0)).norm())
        errors[row.name] = float((found.features - exact.features).norm()) / spread
        rates[row.name] = last(r"rate=([0-9.e+]+)", log)
        print(
            f"  embed {row.name}: {rates[row.name]:.0f} photos a second, features {errors[row.name]:.2g} from the "
            f"CPU's, computed in {found.precision}",
            flush=True,
        )
    for kind, most in (("fp32", FP32_SHARE), ("bf16", BF16_SHARE), ("fp16", BF16_SHARE)):
        claim(f"gpu_{kind}_features_share_from_cpu", errors[f"GPU {kind}"], at_most=most)
    claim("gpu_bf16_embedding_times_cpu", rates["GPU bf16"] / rates[CPU.name], at_least=1)


def _embed(photos: Photos, row: Row, place: Path, log: Path, flags: Sequence[str]) -> None:
    data = place.parent / "shards"
    rows = photos.counts > 0
    train = photos.write(rows, data / TRAIN)
    validation = photos.write(rows & (rows.cumsum() <= 32), data / VALIDATION)
    asked = ["--train", str(train), "--validation", str(validation), "--output", str(place), *flags]
    if row.precision == "fp16":
        finish(start(["-c", AS_ON_A_T4, *asked], log, row.environment), logs=[log])
    else:
        job("embed.py", *asked, "--precision", row.precision, log=log, environment=row.environment)
