"""What a GPU computes, against the CPU: features, fine-tuning in each precision, two ranks with nccl, and resume.

    python -m benchmarks.gpu                             # ../shared/abid-10k
    python -m benchmarks.gpu --photos FOLDER             # laid out like the public bucket
    python -m benchmarks.gpu --parts embed,ranks         # some of the parts
    python -m benchmarks.gpu --no-cpu                    # the whole fine-tuning on the GPU only: a CPU takes long
    python -m benchmarks.gpu --quick                     # a few photos: does it run?

Every part runs the project's jobs, embed.py and train.py, with the packaged ImageNet weights of EfficientNet-Lite0. The
whole fine-tuning is that of benchmarks/accuracy.py: three quarters of the blocks of ids train, and the last quarter is
answered. A machine with one GPU runs two ranks on it, as two machines that share it. Work that is done stays in
--cache.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from benchmarks import REPOSITORY, some_of
from benchmarks.accelerating.embedding import embedding
from benchmarks.accelerating.jobs import CPU, GPU, Row
from benchmarks.accelerating.ranks import two_ranks
from benchmarks.accelerating.resuming import resumed
from benchmarks.accelerating.tuning import compared, first_steps
from benchmarks.claims import exit_status
from benchmarks.counting.photos import Photos, read
from benchmarks.processor import this_processor
from jobs.container import JobContainer
from modelling.backbones import load_backbone
from stacks.vocabulary import TRAIN, VALIDATION

PARTS: Final = ("embed", "steps", "ranks", "resume", "whole")
NETWORK: Final = ("--backbone", "efficientnet_lite0", "--weights", "packaged")
_EPOCHS_TO_RESUME: Final = 2
FULL: Final = ("--strategy", "full", *NETWORK)


def main() -> int:
    """Measure, print a line a row, and end each part with its claims; the exit status is 1 when one was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=REPOSITORY.parent / "shared" / "abid-10k")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "binventory" / "gpu")
    parser.add_argument("--parts", type=some_of(PARTS), default=PARTS, help=f"{','.join(PARTS)} (default all)")
    parser.add_argument("--no-cpu", action="store_true", help="the whole fine-tuning on the GPU only")
    parser.add_argument("--quick", action="store_true", help="a few photos and steps of every part")
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no GPU here: run it on a machine with one, and a CUDA build of PyTorch")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    photos = read(asked.photos)
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}; {this_processor()}; {len(photos.ids)} photos")
    cache = asked.cache / ("quick" if asked.quick else "whole")
    if asked.quick:
        shutil.rmtree(cache, ignore_errors=True)
    few = photos.first_blocks(150 if asked.quick else 1200)
    if "embed" in asked.parts:
        embedding(few, cache / "embed", (*NETWORK, "--views", "1"))
    steps = photos.first_blocks(120 if asked.quick else 600)
    if "steps" in asked.parts:
        first_steps(cache / "steps", (CPU, *GPU), _short(steps, cache, epochs=1))
    if "ranks" in asked.parts:
        two_ranks(cache / "ranks", _start_values(), (*_short(steps, cache, epochs=1), "--precision", "fp32"))
    if "resume" in asked.parts:
        flags = _short(steps, cache, epochs=_EPOCHS_TO_RESUME)
        at_once = int((steps.blocks != steps.blocks[-1]).sum()) // 32
        for row in GPU:
            place = cache / "resume" / row.folder
            resumed(place, row, _start_values(), flags, steps=_EPOCHS_TO_RESUME * at_once)
    if "whole" in asked.parts:
        rows: Sequence[Row] = GPU if asked.no_cpu else (CPU, *GPU)
        flags = (*FULL, *(("--epochs", "1", "--head-epochs", "2") if asked.quick else ()))
        compared(photos.first_blocks(400) if asked.quick else photos, cache / "whole", rows, flags)
    return exit_status()


def _short(photos: Photos, cache: Path, *, epochs: int) -> tuple[str, ...]:
    """The flags of a fine-tuning without anything random but the order of the photos."""
    folder = cache / "short" / str(len(photos.ids))
    learnt = photos.blocks != photos.blocks[-1]
    train, validation = photos.write(learnt, folder / TRAIN), photos.write(~learnt, folder / VALIDATION)
    return (
        *FULL, "--train", str(train), "--validation", str(validation), "--epochs", str(epochs), "--batch-size", "32",
        "--head-epochs", "0", "--dropout", "0", "--optimiser", "sgd", "--lr", "0.01", "--patience", "0",
    )  # fmt: skip


def _start_values() -> dict[str, torch.Tensor]:
    """The backbone that every short fine-tuning begins with, under the names of a saved model."""
    network = load_backbone("efficientnet_lite0", "packaged", 0, JobContainer(), "stages").network
    return {f"backbone.network.{name}": value for name, value in network.state_dict().items()}


if __name__ == "__main__":
    sys.exit(main())
