"""Steps that read files of another step, another machine or an earlier attempt, run as in their jobs.

A stage is a folder of such files, the names of those that may be damaged, and a step that reads them.
"""

from __future__ import annotations

import contextlib
import io
import json
import operator
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import embed
import evaluate
import ingest
import server
import train
from digests import read_sealed
from features.files import read_features
from ingestion.report import WHOLE
from jobs.container import JobError
from serving.artefact import Artefact, ArtefactError, unpack
from stacks.vocabulary import SPLITS

Made = dict[str, bytes]
"""The files that a step made, by name."""
LEFT_OUT = "left out"
BASE = ("--backbone", "small")
HEAD = (*BASE, "--epochs", "2")
# Of small photos: damage to a file does not depend on their size.
RANDOM = (*BASE, "--weights", "none", "--input-size", "64")
FULL = (*RANDOM, "--strategy", "full", "--epochs", "1", "--threads", "1")


class Refused(Exception):
    """The step ended with an error that names the fault."""


@dataclass(frozen=True)
class Stage:
    """`run(place, out)` reads the files under `place`, writes to `out`, and gives what it made; it raises Refused."""

    name: str
    source: Path
    """The files as they were written."""
    readable: tuple[str, ...]
    """Patterns, under `source`, of the files that the step reads."""
    run: Callable[[Path, Path], Made]
    same: Callable[[Made, Made], bool] = operator.eq
    """Whether the output from damaged files is as good as that from undamaged ones."""

    def files(self, place: Path) -> list[Path]:
        """The files that may be damaged, in a copy of the source."""
        found = {path for pattern in self.readable for path in place.glob(pattern) if path.is_file()}
        return sorted(path for path in found if path.stat().st_size)


def stages(world: Path, photos: Path) -> list[Stage]:
    """Every stage, over the files that a whole run through all steps leaves under `world`."""
    shards, two = world / "ingest", world / "two"
    run_ingest(photos, shards)
    for index in range(2):
        config = world / f"machine-{index}.json"
        hosts = ["algo-1", "algo-2"]
        config.write_text(json.dumps({"current_host": hosts[index], "hosts": hosts}))
        run_ingest(photos, world / f"machine-{index}", "--resource-config", str(config))
        shutil.copytree(world / f"machine-{index}", two, dirs_exist_ok=True)
    job = world / "embed"
    run_embed(shards, job / "model")
    trained = world / "trained"
    (trained / "embedding").mkdir(parents=True)
    shutil.copytree(job / "model", trained / "embedding", dirs_exist_ok=True)
    run_train_head(trained, world / "model", checkpoints=trained / "checkpoints")
    evaluated = world / "evaluated"
    shutil.copytree(shards, evaluated / "ingest")
    # As SageMaker packs it.
    with tarfile.open(evaluated / "model.tar.gz", "w:gz") as archive:
        for path in sorted((world / "model").glob("model.*")):
            archive.add(path, path.name)
    run_evaluate(evaluated, world / "served")
    split = ("train/*", "validation/*")
    return [
        Stage("ingest, another attempt", shards, ("**/*",), lambda place, out: run_ingest_again(photos, place)),
        Stage("ingest, merge of two machines", two, ("**/*",), lambda place, out: _merge(place)),
        Stage("embed", shards, split, run_embed),
        Stage("embed, damage allowed", shards, split, _embed_what_can_be_read, same_but_for_what_is_named),
        Stage(
            "embed, another attempt", job, ("model.parts/**/*",), lambda place, out: run_embed(shards, place / "model")
        ),
        Stage("train a head", trained, ("embedding/**/*.safetensors", "embedding/*/*.json"), run_train_head),
        Stage(
            "train a head, another attempt", trained, ("checkpoints/*",),
            lambda place, out: run_train_head(place, out, checkpoints=place / "checkpoints"),
        ),
        Stage("train everything", shards, split, run_train_everything),
        Stage("evaluate", evaluated, ("model.tar.gz", *(f"ingest/{name}/*" for name in SPLITS)), run_evaluate),
        Stage("serve", world / "served" / "serving", ("model.tar.gz",), _serve),
    ]  # fmt: skip


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """A step's own errors as Refused, and nothing on the terminal."""
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            yield
        except (JobError, ArtefactError) as error:
            raise Refused(str(error)) from error
        except _Failed as error:
            raise Refused(said.getvalue()) from error


class _Failed(Exception):
    """A command ended with another status than 0."""


def _files(folder: Path) -> Made:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_ingest(photos: Path | str, output: Path, *flags: str) -> None:
    """Ingest a bucket with small blocks and shards."""
    arguments = ["--photos-uri", str(photos), "--output", str(output), "--cores", "1", "--block-size", "4"]
    with refusals():
        if ingest.launch([*arguments, "--shard-photos", "12", *flags]):
            raise _Failed


def run_ingest_again(photos: Path | str, place: Path) -> Made:
    """Ingest into a folder that may hold what an earlier attempt left."""
    run_ingest(photos, place)
    return _files(place)


def _merge(place: Path) -> Made:
    with refusals():
        if ingest.launch(["--merge", str(place)]):
            raise _Failed
    return {name: (place / name).read_bytes() for name in WHOLE}


def _shards(place: Path, *splits: str) -> list[str]:
    return [flag for split in splits for flag in (f"--{split}", str(place / split))]


def run_embed(place: Path, out: Path, *flags: str) -> Made:
    """Embed the shards in `place`."""
    with refusals():
        shards = _shards(place, "train", "validation")
        embed.main([*RANDOM, "--views", "1", *shards, "--output", str(out), *flags])
    return {name: content for name, content in _files(out).items() if name != "embedding.json"}


def _embed_what_can_be_read(place: Path, out: Path) -> Made:
    """Count and features of every photo and view, by shard, and what is named as left out."""
    run_embed(place, out, "--max-corrupt-share", "1", "--precision", "fp32")
    made = {}
    for name, origin in read_sealed(out / "features" / "parts.json")["parts"].items():
        part = read_features(out / "features" / name, origin)
        shard = Path(name).name.partition(".")[0]
        for photo, count, features in zip(part.ids, part.counts.tolist(), part.features.numpy(), strict=True):
            made[f"{shard}/{photo}/{part.view}"] = bytes([count]) + features.tobytes()
    noted = json.loads((out / "embedding.json").read_text())
    named = [*noted["unreadable_photos"], *(name.removesuffix(".tar") for name in noted["unreadable_shards"])]
    return made | {LEFT_OUT: " ".join(named).encode()}


def same_but_for_what_is_named(made: Made, whole: Made) -> bool:
    """Whether `_embed_what_can_be_read` has found everything but photos and shards that it names."""
    named = set(made[LEFT_OUT].decode().split())
    missing = whole.keys() - made.keys()
    return (
        made.keys() <= whole.keys()
        and all(named & set(key.split("/")[:2]) for key in missing)
        and all(_close(made[key], whole[key]) for key in made.keys() - {LEFT_OUT})
    )


def _close(ours: bytes, theirs: bytes) -> bool:
    """Whether counts are equal, and features up to rounding: what is left out changes the batches of its neighbours."""
    a, b = (np.frombuffer(value[1:], dtype=np.float32) for value in (ours, theirs))
    return ours[0] == theirs[0] and np.allclose(a, b, rtol=1e-4, atol=1e-5)


def run_train_head(place: Path, out: Path, checkpoints: Path | None = None) -> Made:
    """Train a head on the embedding in `place`."""
    with refusals():
        saved = checkpoints or out / "checkpoints"
        train.main([*HEAD, "--embedding", str(place / "embedding"), "--output", str(out), "--checkpoints", str(saved)])
    return {path.name: path.read_bytes() for path in out.glob("model.*") if path.is_file()}


def run_train_everything(place: Path, out: Path) -> Made:
    """Train everything on the shards in `place`, with the checkpoints in `out`."""
    with refusals():
        places = [*_shards(place, "train", "validation"), "--output", str(out), "--checkpoints", str(out / "saved")]
        train.main([*FULL, *places])
    return {path.name: path.read_bytes() for path in out.glob("model.*") if path.is_file()}


def run_evaluate(place: Path, out: Path) -> Made:
    """Evaluate the archive in `place` on the shards beside it."""
    with refusals():
        splits = _shards(place / "ingest", *SPLITS)
        evaluate.main(["--model", str(place / "model.tar.gz"), *splits, "--precision", "fp32", "--output", str(out)])
    return _files(out)


def _serve(place: Path, out: Path) -> Made:
    with refusals():
        server.load(place / "model.tar.gz")
        unpack(place / "model.tar.gz", out)
        artefact = Artefact.read(out)
    return {"description": repr(artefact.description).encode(), "graph": artefact.graph}
