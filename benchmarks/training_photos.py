"""In which form ingest should keep the photos to learn from: bytes, time, grey levels, and what it costs the model.

    python -m benchmarks.training_photos                       # ../shared/abid
    python -m benchmarks.training_photos --photos FOLDER       # any folder laid out like the public bucket

Training photos are resized to 256 pixels and encoded a second time. Here they are encoded in every form that may be
worth it, decoded and prepared as Embed does, and held against the originals as the endpoint prepares them. Then heads
are trained on each form and judged on the originals: five heads a seed, each without one fifth of the blocks of ids,
for which it answers; a further fifth chooses the epoch. The backbone is EfficientNet-Lite0 with the packaged ImageNet
weights; `--random NAME` takes a random one instead.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from benchmarks.claims import claim, exit_status
from benchmarks.counting import photos as counting
from benchmarks.held_out import blocks_of, head_logits, parts_of, write_embedding
from benchmarks.learning.world import quiet, real_folder, trial
from benchmarks.processor import this_processor
from digests import seal
from evaluation.bootstrap import interval, replicate_metrics
from evaluation.calibration import softmax
from evaluation.count_metrics import Predictions, measure
from features.files import FeatureSet
from features.frozen_backbone import FrozenBackbone, calibrate_random_backbone, freeze
from ingestion.intake import JPEG_QUALITY, JPEG_SUBSAMPLING, SHORTER_SIDE, Workbench, four_channels
from jobs.container import JobContainer
from modelling.backbones import build_backbone, load_backbone, preprocessing_of
from modelling.bin_model import BinModel, ModelCard
from modelling.openvino_graph import BATCH
from photo import Preprocessing, open_photo, prepare, prepare_image
from photo_upright import Upright
from photos.batches import read_ahead, stacked
from stacks.vocabulary import CLASSES, TRAIN, VALIDATION

EPOCHS: Final = 20
FOLDS: Final = 5
LEARNING_RATE: Final = 0.003
ORIGINAL: Final = "the bytes as sent"
LOSSLESS: Final = "PNG"
CARD: Final = ModelCard("resnet50", "none", "head")

Pixels = NDArray[np.uint8]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Form:
    """A way to keep a photo: from its bytes and its resized pixels [height, width, 4] to what a shard would hold."""

    name: str
    keep: Callable[[bytes, Pixels], bytes]
    learned: bool = True
    """Whether heads are trained on it; two lossless forms would be the same."""


@dataclass(frozen=True, eq=False)
class Photos:
    """Photos with a count of 1 to 5, in the order of their ids."""

    ids: tuple[str, ...]
    data: tuple[bytes, ...]
    counts: Rows
    blocks: Rows


@dataclass(frozen=True, eq=False)
class Learned:
    """Answers for every original by heads that were trained on one form and never saw its block; one for each seed."""

    losses: tuple[float, ...]
    """Least validation loss of each seed, mean over the folds."""
    answers: tuple[Predictions, ...]


def jpeg(quality: int, subsampling: str) -> Form:
    """A JPEG as ingest writes it."""
    return Form(
        f"JPEG {quality} {subsampling}",
        lambda _, pixels: bytes(simplejpeg.encode_jpeg(pixels, quality, "RGBX", subsampling)),
    )


def pillow(name: str, learned: bool, **options: object) -> Form:
    """What Pillow writes."""

    def keep(_: bytes, pixels: Pixels) -> bytes:
        out = io.BytesIO()
        Image.fromarray(pixels[:, :, :3]).save(out, name.split()[0], **options)
        return out.getvalue()

    return Form(name, keep, learned)


CHOSEN: Final = jpeg(JPEG_QUALITY, JPEG_SUBSAMPLING)
FORMS: Final = (
    *(jpeg(quality, subsampling) for quality in (90, 95) for subsampling in ("420", "444")),
    pillow("WebP lossless", learned=False, lossless=True, method=0, quality=0),
    pillow(LOSSLESS, learned=True, compress_level=1),
    Form(ORIGINAL, lambda data, _: data),
)


def read_photos(folder: Path, most: int) -> Photos:
    """The photos of a folder with 1 to 5 items; at most `most` of them, 0: all. Raises SystemExit where it has none."""
    found = counting.read(folder)
    ids, counts = found.ids[: most or None], found.counts[: most or None]
    data = tuple((folder / "bin-images" / f"{image_id}.jpg").read_bytes() for image_id in ids)
    return Photos(ids, data, counts, blocks_of(ids))


def resized(photos: Photos) -> list[Pixels]:
    """Pixels [height, width, 4] of every photo with the shorter side at 256, as ingest makes them."""
    bench = Workbench()
    return [bench.resize_shorter_side(four_channels(open_photo(data)), SHORTER_SIDE).copy() for data in photos.data]


def decoded(kept: bytes, preprocessing: Preprocessing) -> Pixels:
    """What the network would see of a photo that was kept so."""
    if kept.startswith(b"RIFF"):
        return prepare_image(Upright(Image.open(io.BytesIO(kept))), preprocessing)
    return prepare(kept, preprocessing)


def costs(form: Form, photos: Photos, pixels: Sequence[Pixels], seen: Sequence[Pixels]) -> list[bytes]:
    """Print bytes, times and grey levels of one form; returns the photos kept in it."""
    preprocessing = Preprocessing()
    began = time.process_time()
    kept = [form.keep(data, image) for data, image in zip(photos.data, pixels, strict=True)]
    encoded = time.process_time()
    differences = []
    spent = 0.0
    for data, reference in zip(kept, seen, strict=True):
        started = time.process_time()
        shown = decoded(data, preprocessing)
        spent += time.process_time() - started
        differences.append(np.abs(shown.astype(np.int16) - reference))
    mean = statistics.fmean(float(levels.mean()) for levels in differences)
    most = max(int(levels.max()) for levels in differences)
    size = statistics.fmean(len(data) for data in kept)
    each = 1000 / len(kept)
    print(
        f"{form.name:18} {size / 1000:6.1f} kB  encoding {each * (encoded - began):5.2f} ms, preparing "
        f"{each * spent:5.2f} ms of CPU  {mean:.2f} grey levels on average, {most} at most"
    )
    if form.name == CHOSEN.name:
        claim("training_photo_kilobytes", size / 1000, at_most=30)
        claim("training_photo_grey_levels_on_average", mean, at_most=1.5)
    return kept


def pretrained() -> BinModel:
    """EfficientNet-Lite0 with the packaged ImageNet weights."""
    backbone = load_backbone("efficientnet_lite0", "packaged", 0, JobContainer())
    return BinModel(backbone, nn.Identity(), preprocessing_of(backbone.name)).eval()


def random_model(name: str, photos: Photos) -> BinModel:
    """A random backbone, its batch norms set from some photos."""
    model = BinModel(build_backbone(name, 0), nn.Identity(), Preprocessing()).eval()
    calibrate_random_backbone(model, stacked((prepare(data, model.preprocessing) for data in photos.data[:32]), 32))
    return model


def embedded(frozen: FrozenBackbone, kept: Sequence[bytes], preprocessing: Preprocessing) -> torch.Tensor:
    """Features [n, width] of photos that were kept so."""
    pixels = read_ahead(lambda data: decoded(data, preprocessing), kept, threads=2, ahead=4 * BATCH)
    return torch.cat(list(frozen.run(stacked(pixels, BATCH))))


def learned(kept: torch.Tensor, originals: torch.Tensor, photos: Photos, work: Path, seeds: int) -> Learned:
    """Heads trained on the features `kept`, and their answers for `originals`; both [n, width]."""
    fold = parts_of(photos.blocks, FOLDS)
    probabilities = np.zeros((seeds, len(photos.ids), len(CLASSES)))
    losses = np.zeros((seeds, FOLDS))
    for number in range(FOLDS):
        held_out, validation = fold == number, fold == (number + 1) % FOLDS
        folder = work / f"fold-{number}"
        splits = {
            TRAIN: _rows(kept, np.flatnonzero(~held_out & ~validation), photos),
            VALIDATION: _rows(originals, np.flatnonzero(validation), photos),
        }
        # train.py accepts the card of a known backbone; it reads no other weights than these features.
        write_embedding(folder, splits, seal(asdict(CARD)))
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as scratch, quiet():
                place = Path(scratch)
                metrics = trial(folder, LEARNING_RATE, 64, "--seed", str(seed), epochs=EPOCHS, output=place)
                logits = head_logits(place / "model", originals[np.flatnonzero(held_out)])
            losses[seed, number] = metrics["best"]["validation_loss"]
            probabilities[seed, held_out] = softmax(logits)
    answers = tuple(Predictions.of(photos.counts, table, photos.blocks, classes=CLASSES) for table in probabilities)
    return Learned(tuple(losses.mean(axis=1).tolist()), answers)


def _rows(features: torch.Tensor, rows: Rows, photos: Photos) -> FeatureSet:
    counts, ids = torch.from_numpy(photos.counts[rows]), tuple(photos.ids[row] for row in rows)
    return FeatureSet(features[rows], counts, torch.zeros_like(counts), ids)


def print_learned(name: str, found: Learned, reference: Learned) -> None:
    """Mean over the seeds, and the difference to the reference with its interval, blocks resampled."""

    def replicates(of: Learned, metric: str) -> NDArray[np.float64]:
        return np.asarray(np.mean([getattr(replicate_metrics(found), metric) for found in of.answers], axis=0))

    accuracy = statistics.fmean(float(measure(answers).accuracy) for answers in found.answers)
    loss = statistics.fmean(float(measure(answers).log_loss) for answers in found.answers)
    shown = (
        f"{name:18} accuracy {accuracy:.4f}, log loss {loss:.4f}, validation loss {statistics.fmean(found.losses):.4f}"
    )
    differences = {}
    for metric in ("accuracy", "log_loss"):
        differences[metric] = replicates(found, metric) - replicates(reference, metric)
        span = interval(differences[metric])
        shown += f"; {metric} {differences[metric].mean():+.4f} ({span.low:+.4f} to {span.high:+.4f})"
    print(shown)
    if name == CHOSEN.name:
        claim("training_photo_log_loss_over_lossless", float(differences["log_loss"].mean()), at_most=0.005)


def main() -> int:
    """Measure every form, then train on each; the exit status is 1 when a claim was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=real_folder(), help="folder laid out like the public bucket")
    parser.add_argument("--most", type=int, default=0, help="at most this many photos; 0: all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--random", metavar="NAME", help="a random backbone of this name in place of a pretrained one")
    asked = parser.parse_args()
    if asked.photos is None:
        raise SystemExit("give --photos with a folder of real photos")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    photos = read_photos(asked.photos, asked.most)
    print(f"{len(photos.ids)} photos of {asked.photos.name}, {this_processor()}")
    seen = [prepare(data, Preprocessing()) for data in photos.data]
    pixels = resized(photos)
    kept = {form.name: costs(form, photos, pixels, seen) for form in FORMS}
    model = pretrained() if asked.random is None else random_model(asked.random, photos)
    frozen = freeze(model, "fp32")
    print(f"\nheads on a frozen {model.backbone.name} ({frozen.engine}), judged on the originals; against {LOSSLESS}:")
    features = {form.name: embedded(frozen, kept[form.name], model.preprocessing) for form in FORMS if form.learned}
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        found = {}
        for name, table in features.items():
            folder = work / name.replace(" ", "-")
            found[name] = learned(table, features[ORIGINAL], photos, folder, asked.seeds)
    for name, result in found.items():
        print_learned(name, result, found[LOSSLESS])
    return exit_status()


if __name__ == "__main__":
    sys.exit(main())
