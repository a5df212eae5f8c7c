"""Embed checks digests of what it reads and keeps: damage is refused or named, on every attempt, and never reused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import embed
import train
from features.files import feature_file, read_split
from jobs.container import JobError
from modelling.backbones import build_backbone
from modelling.bin_model import BinModel, ModelCard, save_model
from photo import Preprocessing
from shards import ShardIndex
from tests.engines import share_engines_of_embed
from tests.listed import write_shard
from tests.training_data import SMALL_INPUT, add_features, write_embedding, write_split

BASE = ("--backbone", "small", "--weights", "none", *SMALL_INPUT)


@pytest.fixture(autouse=True)
def one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same few backbones are embedded with again and again."""
    share_engines_of_embed(monkeypatch)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job's folder with shards beside it; finished files are kept in its checkpoints."""
    write_split(tmp_path, "train", 23, shards=2)
    write_split(tmp_path, "validation", 9, first=500)
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path / "job"))
    return tmp_path


def attempt(job: Path, *flags: str) -> dict[str, object]:
    """One attempt of the job; returns its notes."""
    embed.main([*BASE, "--train", str(job / "train"), "--validation", str(job / "validation"), *flags])
    noted: dict[str, object] = json.loads((job / "job" / "model" / "embedding.json").read_text())
    return noted


def flip(path: Path, place: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3000])


def zero_a_block(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:10240] + bytes(512) + content[10752:])


def damage_a_photo(path: Path) -> None:
    flip(path, path.read_bytes().index(b"\xff\xd8\xff") + 3000)


def damage_a_label(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"count":3', b'"count":4', 1))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, r"1 of 3 shards cannot be read.*train-00001\.tar.*it was cut"),
        (zero_a_block, r"(1 of 3 shards cannot be read|1 of 32 photos cannot be read).*train-00001\.tar"),
        (damage_a_photo, r"1 of 32 photos cannot be read.*photo \d+ is damaged"),
        (damage_a_label, r"1 of 3 shards cannot be read.*its records are not those"),
        (Path.unlink, r"1 of 3 shards cannot be read.*train-00001\.tar"),
    ],
)
def test_every_attempt_comes_to_the_same_end(job: Path, damage: Callable[[Path], None], words: str) -> None:
    shard = job / "train" / "train-00001.tar"
    whole = shard.read_bytes()
    damage(shard)
    for _ in range(3):
        with pytest.raises(JobError, match=words):
            attempt(job)
    assert not (job / "job" / "model").exists()
    # What is allowed is left out by its name, and read again once it is mended.
    noted = attempt(job, "--max-corrupt-share", "0.5")
    assert noted["unreadable_photos"] or list(noted["unreadable_shards"]) == ["train-00001.tar"]  # type: ignore[call-overload]
    shard.write_bytes(whole)
    assert attempt(job)["unreadable_photos"] == attempt(job)["unreadable_shards"] == {}
    ids = read_split(job / "job" / "model" / "features", "train").ids
    assert set(ids) == set(ShardIndex(job / "train").ids)


def test_a_corrected_label_of_the_same_length_is_read(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attempt(job)
    before = read_split(job / "job" / "model" / "features", "train")
    index = ShardIndex([job / "train" / "train-00001.tar"])
    samples = [(s.id, s.photo, {"id": s.id, "count": s.count % 5 + 1, "items": s.items}) for s in index]
    write_shard(job / "train" / "train-00001.tar", samples)
    capsys.readouterr()
    attempt(job)
    printed = capsys.readouterr().out
    assert "shard=train-00001.tar" in printed and "shard=train-00000.tar" not in printed
    after = read_split(job / "job" / "model" / "features", "train")
    assert after.ids == before.ids and torch.equal(after.features, before.features)
    assert after.counts.tolist() != before.counts.tolist()
    counts = dict(zip(after.ids, after.counts.tolist(), strict=True))
    assert all(counts[sample.id] == sample.count for sample in ShardIndex(job / "train"))


def test_other_weights_at_the_same_address_are_other_features(job: Path) -> None:
    weights, found = job / "weights.safetensors", []
    for seed in (1, 2, 1):
        save_file(build_backbone("small", seed).network.state_dict(), weights)
        attempt(job, "--weights", str(weights))
        found.append(read_split(job / "job" / "model" / "features", "train").features)
    assert not torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_a_damaged_file_of_an_earlier_attempt_is_made_again(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attempt(job, "--views", "1")
    whole = {path: path.read_bytes() for path in (job / "job" / "model").rglob("*.safetensors")}
    assert len(whole) == 6
    kept = sorted(path for path in (job / "job" / "checkpoints").rglob("*") if path.is_file())
    assert len(kept) == 7
    for path in kept:
        flip(path, path.stat().st_size // 2, 3)
        shutil.rmtree(job / "job" / "model")
        capsys.readouterr()
        attempt(job, "--views", "1")
        said = capsys.readouterr()
        assert "again: " in said.err and path.name in said.err
        assert {path: path.read_bytes() for path in whole} == whole


def test_of_other_views_only_those_that_are_missing_are_computed(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = {}
    for views, computed in ((1, ["view=0", "view=1"]), (2, ["view=2"]), (1, [])):
        capsys.readouterr()
        attempt(job, "--views", str(views))
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("embedded split=train")]
        assert sorted({line.split()[3] for line in lines}) == computed
        made[views] = read_split(job / "job" / "model" / "features", "train")
        assert made[views].view.unique().tolist() == list(range(views + 1))
    attempt(job, "--views", "2", "--output", str(job / "fresh"))
    fresh = read_split(job / "fresh" / "features", "train")
    assert torch.equal(fresh.features, made[2].features) and fresh.digest == made[2].digest


def test_two_shards_of_one_name_are_refused(job: Path) -> None:
    write_split(job / "other", "train", 4, first=900)
    shutil.move(job / "other" / "train", job / "train" / "more")
    with pytest.raises(JobError, match=r"two shards named train-00000\.tar"):
        attempt(job)


def test_a_random_backbone_is_not_set_from_a_damaged_shard(job: Path) -> None:
    cut(job / "train" / "train-00000.tar")
    with pytest.raises(JobError, match=r"weights none sets the batch norms from the first shard, and it is damaged"):
        attempt(job, "--max-corrupt-share", "1")


def head(folder: Path, *flags: str) -> bytes:
    """Train a head on `folder`/embedding; the model's bytes."""
    places = ["--embedding", str(folder / "embedding"), "--output", str(folder / "model")]
    checkpoints = ["--checkpoints", str(folder / "checkpoints")]
    train.main(["--backbone", "small", "--epochs", "1", *places, *checkpoints, *flags])
    return (folder / "model" / "model.safetensors").read_bytes()


def test_features_that_are_missing_foreign_or_swapped_are_refused(tmp_path: Path) -> None:
    folder = write_embedding(tmp_path / "embedding", views=1)
    features = folder / "features"
    first, second = (feature_file(features, "train", "train-0", view) for view in (0, 1))
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    with pytest.raises(JobError, match=r"train-0\.view0\.safetensors was made from other photos or settings"):
        head(tmp_path)
    first.unlink()
    with pytest.raises(JobError, match=r"train-0\.view0\.safetensors cannot be read"):
        head(tmp_path)
    first.write_bytes(contents[0])
    foreign = feature_file(features, "train", "foreign", 0)
    foreign.write_bytes(contents[0])
    with pytest.raises(JobError, match=r"train/foreign\.view0\.safetensors is not on the list"):
        head(tmp_path)
    foreign.unlink()
    assert head(tmp_path)
    (features / "parts.json").unlink()
    with pytest.raises(JobError, match=r"has no parts\.json, by which they are checked"):
        head(tmp_path)


def test_features_of_another_backbone_are_refused(tmp_path: Path) -> None:
    folder = write_embedding(tmp_path / "embedding")
    other = BinModel(build_backbone("small", 1), torch.nn.Identity(), Preprocessing())
    save_model(other, ModelCard("small", "none", "head"), folder / "backbone")
    with pytest.raises(JobError, match="computed with another backbone than the one beside them"):
        head(tmp_path)


def test_a_checkpoint_of_other_features_is_not_continued(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_embedding(tmp_path / "embedding", seed=1)
    head(tmp_path)
    shutil.rmtree(tmp_path / "embedding")
    write_embedding(tmp_path / "embedding", seed=2)
    capsys.readouterr()
    continued = head(tmp_path)
    assert (
        "is of a run with other settings or data, of other code, or in another precision, and skipped"
        in capsys.readouterr().err
    )
    shutil.rmtree(tmp_path / "checkpoints")
    assert head(tmp_path) == continued


def test_the_same_features_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_embedding(tmp_path / name)
        add_features(tmp_path / name, "train", "more", torch.ones(2, 6), [1, 2])
    files = [sorted((tmp_path / name / "features").rglob("*.*")) for name in ("a", "b")]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]] and len(files[0]) == 4
