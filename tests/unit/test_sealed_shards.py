"""Every job that reads shards holds them to what the step Seal has recorded, before it works."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import embed
import evaluate
import train
from jobs.container import JobError
from shards import LIST
from tests.training_data import SMALL_INPUT, write_split

SPLITS = {"train": 20, "validation": 10, "test": 10}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three splits as Ingest leaves them; copy it to change it."""
    folder = tmp_path_factory.mktemp("shards")
    for number, (split, photos) in enumerate(SPLITS.items()):
        write_split(folder, split, photos, first=1000 * number)
    return folder


@pytest.fixture
def shards(made: Path, tmp_path: Path) -> Path:
    """A copy of the three splits."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def sealed(folder: Path) -> str:
    """What the step Seal returns for these splits."""
    found = {split: hashlib.sha256((folder / split / LIST).read_bytes()).hexdigest() for split in sorted(SPLITS)}
    return ",".join(f"{split}={digest}" for split, digest in found.items())


def embedded(folder: Path, record: str) -> None:
    """Embeds."""
    flags = ["--backbone", "small", "--weights", "none", *SMALL_INPUT, "--calibration-photos", "4", "--sealed", record]
    embed.main([*flags, *places(folder, "train", "validation"), "--output", str(folder / "embedding")])


def trained(folder: Path, record: str) -> None:
    """Fine-tunes."""
    flags = ["--strategy", "full", "--backbone", "small", "--weights", "none", *SMALL_INPUT, "--epochs", "1"]
    outputs = ["--output", str(folder / "model"), "--checkpoints", str(folder / "checkpoints")]
    train.main([*flags, "--sealed", record, "--head-epochs", "0", *places(folder, "train", "validation"), *outputs])


def evaluated(folder: Path, record: str) -> None:
    """Evaluates a model that is none: without a difference in the shards, that is what stops it."""
    flags = ["--model", str(folder / "none"), "--output", str(folder / "evaluated"), "--sealed", record]
    evaluate.main([*flags, *places(folder, *SPLITS)])


def places(folder: Path, *splits: str) -> list[str]:
    """The flags of the splits."""
    return [word for split in splits for word in (f"--{split}", str(folder / split))]


JOBS: dict[str, Callable[[Path, str], None]] = {"embed": embedded, "train": trained, "evaluate": evaluated}


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_shards_that_somebody_exchanged_with_their_list_are_refused(shards: Path, job: str, split: str) -> None:
    record = sealed(shards)
    shutil.rmtree(shards / split)
    write_split(shards, split, SPLITS[split], first=5000)  # whole, and listed by its own list
    with pytest.raises(JobError, match=f"the shards of split '{split}' .* are not those that Ingest left"):
        JOBS[job](shards, record)
    assert not (shards / "embedding").exists() and not (shards / "model").exists(), "before any work"


def test_a_further_folder_of_shards_is_refused(shards: Path) -> None:
    record = sealed(shards)
    write_split(shards / "validation", "more", 5, first=7000)
    with pytest.raises(JobError, match=f"found were {LIST} .*, more/{LIST}"):
        embedded(shards, record)


def test_shards_as_they_were_recorded_are_read(shards: Path) -> None:
    embedded(shards, sealed(shards))
    trained(shards, sealed(shards))
    with pytest.raises(JobError, match="--model"):
        evaluated(shards, sealed(shards))


def test_features_do_not_depend_on_the_record(shards: Path) -> None:
    """Shards from the cache have the same features, whatever recorded them first."""
    embedded(shards, "none")
    before = {path.name: path.read_bytes() for path in (shards / "embedding" / "features").rglob("*.safetensors")}
    shutil.rmtree(shards / "embedding")
    embedded(shards, sealed(shards))
    after = {path.name: path.read_bytes() for path in (shards / "embedding" / "features").rglob("*.safetensors")}
    assert before and before == after
