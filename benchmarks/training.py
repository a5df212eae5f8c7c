"""How much faster a search is on features, what the loader and a second process bring, and which loss counts best.

    python benchmarks/training.py                       # ../shared/abid when present, else rendered photos
    python benchmarks/training.py --photos 300          # a quicker look
    python benchmarks/training.py --only loader ddp losses

Everything is measured in this run on this machine, ours beside the recipe of the published notebooks: ImageFolder, PIL
transforms, a frozen ResNet50 in the loop in train mode, Adam, num_workers 0. Both start from the same backbone and see
the same split by blocks of ids. Each measurement ends with `claim: NAME VALUE goal GOAL held|missed`.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), *(str(REPOSITORY / part) for part in ("training_code", "inference_code"))]

import torch  # noqa: E402
from torch import nn  # noqa: E402

import embed  # noqa: E402
import train  # noqa: E402
from fitting.ranks import Ranks  # noqa: E402
from modelling.backbones import torchvision_ready  # noqa: E402
from modelling.bin_model import CLASSES, load_model  # noqa: E402
from photo import Preprocessing, open_photo, resize_shorter_side  # noqa: E402
from photos.augmentation import Augmentation  # noqa: E402
from photos.source import PhotoSource  # noqa: E402
from shards import ShardWriter  # noqa: E402

TRIALS = ((0.001, 32), (0.003, 64), (0.01, 128), (0.03, 256), (0.1, 512))
EPOCHS = 3
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class World:
    """The same photos twice: class folders of originals for the recipe, shards for ours."""

    folder: Path
    photos: int
    source: str

    def originals(self, split: str) -> Path:
        """Class folders of a split."""
        return self.folder / "originals" / split

    def shards(self, split: str) -> Path:
        """Shards of a split."""
        return self.folder / "shards" / split


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=0, help="at most this many photos; 0: all")
    parser.add_argument("--only", nargs="*", choices=sorted(PARTS), default=list(PARTS), help="parts to run")
    asked = parser.parse_args()
    # The parts take minutes: show each line when it is known, in a file too.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as scratch:
        world = prepare_world(Path(scratch), asked.photos)
        print(f"{world.photos} photos ({world.source}), {torch.get_num_threads()} threads, {processor()}")
        for name in asked.only:
            print(f"\n== {name}")
            PARTS[name](world)


def search(world: World) -> None:
    """The whole search: 5 trials of 3 epochs, embedding included, one view and three."""
    ours: dict[int, tuple[float, list[float]]] = {}
    for views in (1, 3):
        # Views beside the photo itself: "one view" is the photo alone.
        ours[views] = search_on_features(world, views - 1)
        print(f"ours, {views} view(s): {ours[views][0]:.1f} s, validation loss by trial {rounded(ours[views][1])}")
    seconds, losses = search_in_the_loop(world)
    print(f"recipe: {seconds:.1f} s, validation loss by trial {rounded(losses)}")
    engine = json.loads((world.folder / "embedding0" / "embedding.json").read_text())["engine"]
    print(f"numbers computed in: {engine}")
    for views, goal in ((1, 80.0), (3, 25.0)):
        claim(f"search-speedup-{views}-view", seconds / ours[views][0], goal)
    claim("validation-loss-against-recipe", min(ours[1][1]) / min(losses), 1.02, at_most=True)


def search_on_features(world: World, views: int) -> tuple[float, list[float]]:
    """Seconds and the validation loss of every trial, by our scripts."""
    embedding = world.folder / f"embedding{views}"
    started = time.perf_counter()
    with quiet():
        shards = [part for split in SPLITS for part in (f"--{split}", str(world.shards(split)))]
        embed.main(["--weights", "none", "--views", str(views), *shards, "--output", str(embedding)])
        losses = [trial(embedding, lr, size)["best"]["validation_loss"] for lr, size in TRIALS]
    return time.perf_counter() - started, losses


def trial(embedding: Path, lr: float, size: int, *flags: str, epochs: int = EPOCHS) -> dict[str, Any]:
    """One training on features; its metrics."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        train.main(
            ["--embedding", str(embedding), "--output", str(output / "model"), "--checkpoints", str(output / "saved"),
             "--artefact", "head", "--epochs", str(epochs), "--lr", str(lr), "--batch-size", str(size), *flags]
        )  # fmt: skip
        metrics: dict[str, Any] = json.loads((output / "model" / "metrics.json").read_text())
        return metrics


def search_in_the_loop(world: World) -> tuple[float, list[float]]:
    """Seconds and the best validation loss of every trial, by the notebooks' recipe."""
    started = time.perf_counter()
    losses = [trial_in_the_loop(world, lr, size) for lr, size in TRIALS]
    return time.perf_counter() - started, losses


def trial_in_the_loop(world: World, lr: float, size: int) -> float:
    """One trial of the recipe: everything frozen but a new head, the whole network in train mode, Adam."""
    backbone = load_model(world.folder / "embedding0" / "backbone")[0].backbone.network
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(2048, 128), nn.ReLU(), nn.Linear(128, len(CLASSES)))
    network = nn.Sequential(backbone, head)
    for parameter in backbone.parameters():
        parameter.requires_grad = False
    optimiser = torch.optim.Adam(head.parameters(), lr=lr)
    criterion = nn.CrossEntropyLoss()
    best = float("inf")
    for _ in range(EPOCHS):
        network.train()
        for photos, labels in loader(world, "train", size):
            optimiser.zero_grad()
            criterion(network(photos), labels).backward()
            optimiser.step()
        network.eval()
        total, seen = 0.0, 0
        for photos, labels in loader(world, "validation", size):
            total += float(criterion(network(photos), labels).detach()) * len(labels)
            seen += len(labels)
        best = min(best, total / seen)
    return best


def loader(world: World, split: str, size: int) -> Any:
    """The recipe's loader: class folders, PIL, no workers."""
    torchvision_ready()
    from torchvision import datasets, transforms

    pixels = Preprocessing()
    normalise = [transforms.ToTensor(), transforms.Normalize(pixels.mean, pixels.std)]
    augmented = [
        transforms.RandomResizedCrop(pixels.crop), transforms.RandomHorizontalFlip(), transforms.RandomRotation(10),
        transforms.ColorJitter(0.2, 0.2, 0.2),
    ]  # fmt: skip
    plain = [transforms.Resize(pixels.shorter_side), transforms.CenterCrop(pixels.crop)]
    chosen = transforms.Compose([*(augmented if split == "train" else plain), *normalise])
    dataset = datasets.ImageFolder(str(world.originals(split)), chosen, allow_empty=True)
    return torch.utils.data.DataLoader(dataset, batch_size=size, shuffle=split == "train", num_workers=0)


def loading(world: World) -> None:
    """The loader alone, interleaved: photos a second, augmented, ours on one thread and on all."""
    # The recipe's tensor transforms would otherwise spread over the cores: one thread against one.
    torch.set_num_threads(1)
    rates: dict[str, list[float]] = {"recipe": [], "ours, 1 thread": [], "ours, all threads": []}
    pixels = Preprocessing()
    for _ in range(3):
        started = time.perf_counter()
        seen = sum(len(labels) for _, labels in loader(world, "train", 64))
        rates["recipe"].append(seen / (time.perf_counter() - started))
        for name, threads in (("ours, 1 thread", 1), ("ours, all threads", len(os.sched_getaffinity(0)))):
            source = PhotoSource(
                world.shards("train"), pixels, Augmentation(), seed=0, threads=threads, max_corrupt_share=0
            )
            plans = Ranks().sampling(len(source), 64, 0).epoch(0)
            started = time.perf_counter()
            seen = sum(len(counts) for _, counts in source.batches(plans, 0))
            rates[name].append(seen / (time.perf_counter() - started))
    for name, values in rates.items():
        print(f"{name}: {max(values):.0f} photos a second (best of {len(values)})")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    claim("loader-one-thread", max(rates["ours, 1 thread"]) / max(rates["recipe"]), 1.5)
    claim("loader-all-threads", max(rates["ours, all threads"]) / max(rates["recipe"]), 2.5)


def scaling(world: World) -> None:
    """Fine-tuning resnet18 for one epoch on one process and on two, a thread each."""
    seconds = {size: min(fine_tune(world, size) for _ in range(2)) for size in (1, 2)}
    for size, value in seconds.items():
        print(f"{size} process(es), one thread each: {value:.1f} s of training and validation")
    claim("ddp-2-processes", seconds[1] / seconds[2], 1.6)


def fine_tune(world: World, size: int) -> float:
    """Seconds of training on `size` local processes, without their start."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        listener.close()
        processes = []
        for rank in range(size):
            hosts = [f"algo-{number + 1}" for number in range(size)]
            environment = {
                **os.environ, "OMP_NUM_THREADS": "1", "SM_HOSTS": json.dumps(hosts), "SM_CURRENT_HOST": hosts[rank],
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "SAGEMAKER_BASE_DIR": f"{folder}/{rank}",
                "PYTHONPATH": os.pathsep.join(str(REPOSITORY / part) for part in ("training_code", "inference_code")),
            }  # fmt: skip
            shards = [part for split in SPLITS for part in (f"--{split}", str(world.shards(split)))]
            command = [
                sys.executable, str(REPOSITORY / "training_code" / "train.py"), "--strategy", "full", "--backbone",
                "resnet18", "--weights", "none", "--epochs", "1", "--batch-size", "32", "--threads", "1", *shards,
            ]  # fmt: skip
            processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
        if any(process.wait() for process in processes):
            raise SystemExit("a process of the scaling benchmark failed")
        seconds: float = json.loads((Path(folder) / "0" / "model" / "metrics.json").read_text())["seconds"]
        return seconds


def losses_compared(world: World) -> None:
    """Which objective gives the better RMSE: the best of three learning rates each, 20 epochs, three seeds."""
    embedding = world.folder / "embedding0"
    if not (embedding / "embedding.json").exists():
        search_on_features(world, 0)
    majority_accuracy, majority_rmse = majority(world)
    print(f"always the majority: accuracy {majority_accuracy:.3f}, RMSE {majority_rmse:.3f}")
    for loss in ("cross-entropy", "ordinal", "expected-count"):
        runs = []
        for seed in range(3):
            with quiet():
                tried = [
                    trial(embedding, lr, 64, "--loss", loss, "--seed", str(seed), epochs=20)["best"]
                    for lr in (0.001, 0.003, 0.01)
                ]
            runs.append(min(tried, key=lambda best: best["validation_loss"]))
        accuracy = sum(run["validation_accuracy"] for run in runs) / len(runs)
        rmse = sum(run["validation_rmse"] for run in runs) / len(runs)
        print(f"{loss}: validation accuracy {accuracy:.3f}, RMSE {rmse:.3f} (mean of {len(runs)} seeds)")


def majority(world: World) -> tuple[float, float]:
    """Accuracy and RMSE on validation of always answering the commonest training count."""
    counts = {split: [count for count in CLASSES for _ in (world.originals(split) / str(count)).iterdir()]
              for split in SPLITS}  # fmt: skip
    answer = max(CLASSES, key=counts["train"].count)
    errors = [answer - count for count in counts["validation"]]
    return errors.count(0) / len(errors), (sum(error**2 for error in errors) / len(errors)) ** 0.5


def prepare_world(folder: Path, limit: int) -> World:
    """Both layouts of the photos, split by blocks of 100 ids."""
    photos, source = real_photos() or rendered_photos(folder)
    random.Random(0).shuffle(photos)
    photos = photos[: limit or None]
    blocks = sorted({int(path.stem) // 100 for path, _ in photos})
    held_out = set(random.Random(0).sample(blocks, max(1, len(blocks) // 10)))
    for split in SPLITS:
        world = World(folder, len(photos), source)
        chosen = [(path, count) for path, count in photos if (int(path.stem) // 100 in held_out) != (split == "train")]
        world.shards(split).mkdir(parents=True)
        for count in CLASSES:
            (world.originals(split) / str(count)).mkdir(parents=True)
        writer = ShardWriter(world.shards(split) / f"{split}-00000.tar")
        for path, count in chosen:
            (world.originals(split) / str(count) / path.name).symlink_to(path)
            buffer = io.BytesIO()
            resize_shorter_side(open_photo(path.read_bytes()), 256).save(buffer, "JPEG", quality=92)
            writer.add(path.stem, buffer.getvalue(), {"id": path.stem, "count": count, "items": []})
        writer.close()
        print(f"{split}: {len(chosen)} photos")
    return world


def real_photos() -> tuple[list[tuple[Path, int]], str] | None:
    """The photos of ../shared/abid with a count of 1 to 5."""
    folder = REPOSITORY.parent / "shared" / "abid"
    if not folder.is_dir():
        return None
    with (folder / "labels.csv").open() as file:
        rows = [(row["image_id"], row["count"]) for row in csv.DictReader(file)]
    named = {str(count) for count in CLASSES}
    return [(folder / "bin-images" / f"{name}.jpg", int(count)) for name, count in rows if count in named], "real"


def rendered_photos(folder: Path) -> tuple[list[tuple[Path, int]], str]:
    """Rendered bins, where no real photos are at hand."""
    from binventory.render import render_bucket

    bucket = render_bucket(folder / "bucket", photos=300, seed=0)
    usable = [(name, count) for name, count in bucket.counts.items() if count in CLASSES]
    return [(folder / "bucket" / "bin-images" / f"{name}.jpg", count) for name, count in usable], "rendered"


def claim(name: str, value: float, goal: float, *, at_most: bool = False) -> None:
    """Print one measured figure against its goal."""
    held = value <= goal if at_most else value >= goal
    print(f"claim: {name} {value:.3g} goal {goal:g} {'held' if held else 'missed'}", flush=True)


def rounded(values: list[float]) -> str:
    """Losses in short."""
    return " ".join(f"{value:.3f}" for value in values)


def processor() -> str:
    """The processor and the vector instructions that decide how fast it multiplies."""
    text = Path("/proc/cpuinfo").read_text()
    name = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), "unknown")
    flags = text.split()
    return f"{name}, " + ", ".join(flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16") if flag in flags)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Our scripts report to SageMaker; here only the figures matter."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


PARTS: dict[str, Callable[[World], None]] = {
    "search": search,
    "losses": losses_compared,
    "loader": loading,
    "ddp": scaling,
}

if __name__ == "__main__":
    main()
