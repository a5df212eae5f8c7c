"""How much faster a search is on features, how near the embedding comes to what this machine can multiply, and what
the loader and a second process bring.

    python -m benchmarks.training                       # ../shared/abid when present, else rendered photos
    python -m benchmarks.training --photos 240          # a quicker look: minutes instead of half an hour
    python -m benchmarks.training --only engine loader ddp
    python -m benchmarks.training --weights torchvision # ImageNet weights, where they can be had

Everything is measured in this run on this machine, ours beside the recipe of the published notebooks: ImageFolder, PIL
transforms, a frozen ResNet50 in the loop in train mode, Adam, num_workers 0. Both start from the same weights and see
the same split by blocks of ids. Each measurement ends with `claim: NAME VALUE goal GOAL held|missed`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import embed
from benchmarks.accelerating.jobs import finish, start
from benchmarks.claims import claim, exit_status
from benchmarks.learning.arithmetic import engine, engine_near_the_limit
from benchmarks.learning.recipe import loader, trial_in_the_loop
from benchmarks.learning.world import (
    READ_BY_TRAIN,
    Spent,
    World,
    prepare_world,
    quiet,
    rounded,
    trial,
)
from benchmarks.processor import this_processor
from benchmarks.scripts import script
from binventory.core.processors import usable_cpus
from fitting.ranks import Ranks
from local_aws.core.host import free_port
from photo import Preprocessing
from photos.augmentation import Augmentation
from photos.source import PhotoSource

TRIALS = ((0.001, 32), (0.003, 64), (0.01, 128), (0.03, 256), (0.1, 512))
EPOCHS = 3


def main() -> int:
    """Run the parts that were asked for; the exit status is 1 when a claim was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=0, help="at most this many photos; 0: all")
    parser.add_argument("--weights", default="none", help="of the backbone, as embed.py takes them")
    parser.add_argument("--only", nargs="*", choices=sorted(PARTS), default=list(PARTS), help="parts to run")
    asked = parser.parse_args()
    # The parts take minutes: show each line when it is known, in a file too.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as scratch:
        world = prepare_world(Path(scratch), asked.photos, asked.weights)
        print(f"{world.photos} photos ({world.source}), {torch.get_num_threads()} threads, {this_processor()}")
        for name in asked.only:
            print(f"\n== {name}")
            PARTS[name](world)
    return exit_status()


def search(world: World) -> None:
    """The whole search: 5 trials of 3 epochs, embedding included, one view and three."""
    # Views beside the photo itself: "one view" is the photo alone.
    ours = {views: timed(lambda views: search_on_features(world, views - 1), views) for views in (1, 3)}
    for views, (spent, losses) in ours.items():
        print(f"ours, {views} view(s): {spent}, validation loss by trial {rounded(losses)}")
    recipe, theirs = timed(
        lambda epochs: [trial_in_the_loop(world, lr, size, epochs=epochs) for lr, size in TRIALS], EPOCHS
    )
    print(f"recipe: {recipe}, validation loss by trial {rounded(theirs)}")
    found = engine(world)
    print(f"numbers computed in: {found.name}, at {found.share:.0%} of what this machine can multiply")
    for views, goal in ((1, 80.0), (3, 25.0)):
        passes = world.photos + (views - 1) * photos_of(world, "train")
        bound = recipe.processor / usable_cpus() * found.limit_photos_a_second / passes
        print(f"{views} view(s): by processor time {recipe.processor / ours[views][0].processor:.1f} times; were the "
              f"embedding at that limit and all else free, {bound:.1f} times")  # fmt: skip
        claim(f"search_speedup_{views}_view", recipe.wall / ours[views][0].wall, at_least=goal)
    claim("validation_loss_against_recipe", min(ours[1][1]) / min(theirs), at_most=1.02)


def timed(search: Callable[[int], list[float]], of: int) -> tuple[Spent, list[float]]:
    """What a search took, and its losses."""
    losses: list[float] = []
    return Spent.of(lambda: losses.extend(search(of))), losses


def photos_of(world: World, split: str) -> int:
    """Photos of a split."""
    return sum(1 for _ in world.originals(split).glob("*/*"))


def search_on_features(world: World, views: int) -> list[float]:
    """The best validation loss of every trial, by our scripts."""
    embedding = world.folder / f"embedding{views}"
    with quiet():
        shards = [part for split in READ_BY_TRAIN for part in (f"--{split}", str(world.shards(split)))]
        embed.main(["--weights", world.weights, "--views", str(views), *shards, "--output", str(embedding)])
        return [
            trial(embedding, lr, size, epochs=EPOCHS, output=embedding / f"trial-{lr}")["best"]["validation_loss"]
            for lr, size in TRIALS
        ]


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
        for name, threads in (("ours, 1 thread", 1), ("ours, all threads", usable_cpus())):
            source = PhotoSource(
                world.shards("train"), pixels, Augmentation(), seed=0, threads=threads, max_corrupt_share=0
            )
            plans = Ranks().sampling(len(source), 64, 0).epoch(0)
            started = time.perf_counter()
            seen = sum(len(counts) for _, counts in source.batches(plans, 0))
            rates[name].append(seen / (time.perf_counter() - started))
    for name, values in rates.items():
        print(f"{name}: {max(values):.0f} photos a second (best of {len(values)})")
    torch.set_num_threads(usable_cpus())
    claim("loader_one_thread", max(rates["ours, 1 thread"]) / max(rates["recipe"]), at_least=1.5)
    claim("loader_all_threads", max(rates["ours, all threads"]) / max(rates["recipe"]), at_least=2.5)


def scaling(world: World) -> None:
    """Fine-tuning resnet18 for one epoch on one process and on two, a thread each."""
    seconds = {size: min(fine_tune(world, size) for _ in range(2)) for size in (1, 2)}
    for size, value in seconds.items():
        print(f"{size} process(es), one thread each: {value:.1f} s of training and validation")
    claim("ddp_2_processes", seconds[1] / seconds[2], at_least=1.6)


def fine_tune(world: World, size: int) -> float:
    """Seconds of training on `size` local processes, without their start."""
    hosts = [f"algo-{number + 1}" for number in range(size)]
    shards = [part for split in READ_BY_TRAIN for part in (f"--{split}", str(world.shards(split)))]
    command = [
        script("train.py"), "--strategy", "full", "--backbone", "resnet18", "--weights", "none", "--epochs", "1",
        "--batch-size", "32", "--threads", "1", *shards,
    ]  # fmt: skip
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / f"{host}.log" for host in hosts]
        processes = [
            start(command, log, {
                "OMP_NUM_THREADS": "1", "SM_HOSTS": json.dumps(hosts), "SM_CURRENT_HOST": host,
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "SAGEMAKER_BASE_DIR": f"{folder}/{host}",
            })
            for host, log in zip(hosts, logs, strict=True)
        ]  # fmt: skip
        finish(*processes, logs=logs)
        seconds: float = json.loads((Path(folder) / hosts[0] / "model" / "metrics.json").read_text())["seconds"]
        return seconds


PARTS: dict[str, Callable[[World], None]] = {
    "engine": engine_near_the_limit,
    "search": search,
    "loader": loading,
    "ddp": scaling,
}

if __name__ == "__main__":
    sys.exit(main())
