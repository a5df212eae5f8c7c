"""Embed's features are those of the frozen backbone in the loop, computed only once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import digests
import embed
import train
from binventory.executions.watching import embedding_note
from features import files as feature_files
from features.files import FeatureSet, read_split
from features.origin import code_files, settings_digest
from features.source import FeatureSource
from jobs.container import JobError, run_job
from modelling.backbones import build_backbone
from modelling.bin_model import BinModel, load_model
from photos import threads
from photos.augmentation import Augmentation
from photos.batches import photo_view
from shards import ShardIndex
from tests.engines import share_engines_of_embed
from tests.listed import write_shard
from tests.training_data import SMALL_INPUT, write_split

BASE = ("--backbone", "small", "--weights", "none", *SMALL_INPUT)


@pytest.fixture(autouse=True)
def one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same few backbones are embedded with again and again."""
    share_engines_of_embed(monkeypatch)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_split(tmp_path, "train", 23, shards=2)
    write_split(tmp_path, "validation", 9, first=500)
    return tmp_path


def places(folder: Path) -> list[str]:
    return ["--train", str(folder / "train"), "--validation", str(folder / "validation")]


def in_the_loop(model: BinModel, photos: ShardIndex, views: list[int], seed: int) -> torch.Tensor:
    pixels = np.stack(
        [
            photo_view(photos[row], view, seed, model.preprocessing, Augmentation.of(model.preprocessing.fit))
            for view in views
            for row in range(len(photos))
        ]
    )
    with torch.inference_mode():
        features: torch.Tensor = model.backbone(model.normalise(torch.from_numpy(pixels)))
    return features


def test_it_says_how_far_it_is_how_fast_and_how_long_it_takes(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    embed.main([*BASE, *places(shards), "--output", str(shards / "out")])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("embedding ")]
    said = [dict(part.split("=") for part in line.split()[1:]) for line in lines]
    assert len(said) == 3, "a line after each shard"
    done = [int(line["photos"]) for line in said]
    assert done == sorted(done) and done[-1] == 32
    assert {line["of"] for line in said} == {"32"}
    assert all(float(line["rate"]) > 0 for line in said) and said[-1]["left"] == "0"
    assert embedding_note(lines[-1]).startswith("32 photos, ")


@pytest.mark.parametrize("backbone", ["small", "resnet18"])
def test_features_are_those_of_the_backbone_in_the_loop(backbone: str, precision: str, tmp_path: Path) -> None:
    shards = tmp_path
    write_split(shards, "train", 9, shards=2)
    write_split(shards, "validation", 3, first=500)
    flags = ["--backbone", backbone, "--weights", "none", *SMALL_INPUT, "--seed", "5", "--views", "1"]
    flags += ["--calibration-photos", "8"]
    embed.main([*flags, *places(shards), "--precision", precision, "--output", str(shards / "out")])
    assert json.loads((shards / "out" / "embedding.json").read_text())["computed_in"] == precision
    model, _ = load_model(shards / "out" / "backbone")
    found = read_split(shards / "out" / "features", "train")
    photos = ShardIndex(shards / "train")
    ordered = FeatureSource(found, seed=0)
    assert ordered.ids == tuple(photos.ids)
    assert ordered.counts.tolist() == photos.counts
    expected = in_the_loop(model, photos, [0, 1], seed=5)
    got = ordered.views.flatten(0, 1)
    allowed = 1e-4
    if precision == "bf16":
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = in_the_loop(model, photos, [0, 1], seed=5).float()
        # What bf16 can keep on this network is seen on PyTorch's own.
        allowed = 2 * float((half - expected).norm() / expected.norm())
        assert allowed < 0.05
    assert float((got - expected).norm() / expected.norm()) < allowed


def test_training_on_features_equals_training_with_the_backbone_in_the_loop(
    shards: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed.main([*BASE, *places(shards), "--precision", precision, "--output", str(shards / "out")])
    flags = ["--backbone", "small", "--embedding", str(shards / "out"), "--epochs", "3", "--batch-size", "8"]
    train.main([*flags, "--output", str(shards / "ours"), "--checkpoints", str(shards / "a")])
    model, _ = load_model(shards / "out" / "backbone")

    def computed_now(folder: Path, split: str) -> FeatureSet:
        photos = ShardIndex(shards / split)
        features = in_the_loop(model, photos, [0], seed=0)
        zeros = torch.zeros(len(photos), dtype=torch.int64)
        return FeatureSet(features, torch.tensor(photos.counts), zeros, tuple(photos.ids))

    monkeypatch.setattr(train, "read_split", computed_now)
    train.main([*flags, "--output", str(shards / "loop"), "--checkpoints", str(shards / "b")])
    ours, loop = (json.loads((shards / name / "metrics.json").read_text()) for name in ("ours", "loop"))
    for a, b in zip(ours["history"], loop["history"], strict=True):
        if precision == "fp32":
            assert a == pytest.approx(b, rel=1e-3)
        for loss in ("train_loss", "validation_loss"):
            assert a[loss] == pytest.approx(b[loss], rel={"fp32": 1e-3, "bf16": 0.02}[precision])


def test_a_reclaimed_job_redoes_only_what_is_missing(
    shards: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(shards / "job"))
    flags = [*BASE, *places(shards)]
    real = feature_files.write_features

    def reclaimed(path: Path, *arguments: object, **options: object) -> None:
        if "train-00001" in path.name:
            raise KeyboardInterrupt
        real(path, *arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(embed, "write_features", reclaimed)
        with pytest.raises(KeyboardInterrupt):
            embed.main(flags)
    capsys.readouterr()
    embed.main(flags)
    printed = capsys.readouterr().out
    assert "shard=train-00001.tar" in printed
    assert "shard=train-00000.tar" not in printed
    embed.main([*flags, "--output", str(shards / "whole")])
    resumed, whole = (read_split(place / "features", "train") for place in (shards / "job" / "model", shards / "whole"))
    assert torch.equal(resumed.features, whole.features)
    assert resumed.ids == whole.ids


def test_other_settings_do_not_take_over_finished_parts(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(shards / "job"))
    for seed in ("1", "2"):
        embed.main([*BASE, *places(shards), "--seed", seed])
    embed.main([*BASE, *places(shards), "--seed", "2", "--output", str(shards / "fresh")])
    taken, fresh = (read_split(place / "features", "train") for place in (shards / "job" / "model", shards / "fresh"))
    assert torch.equal(taken.features, fresh.features)


def test_a_part_is_made_again_where_any_code_has_changed_that_a_photo_passes(repository: Path) -> None:
    """What the code imports that makes features of a photo decides about them, too."""
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys; before = set(sys.modules)\n"
         "import features.frozen_backbone, photos.batches, shards\n"
         "print(*(m.__file__ for n, m in sys.modules.items() if n not in before and getattr(m, '__file__', None)))"],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout.split()  # fmt: skip
    ours = {Path(name) for name in loaded if Path(name).is_relative_to(repository) and "site-packages" not in name}
    # What ends a job, what a download is held to, names, and what a head answers: no pixel and no feature passes them.
    beside = ("__init__.py", "jobs/container.py", "core/contents.py", "stacks/backbones.py", "serving/answer_rule.py")
    written = {path for path in ours if not path.as_posix().endswith(beside)}
    assert written and written <= {path.resolve() for path in code_files()}


@pytest.mark.parametrize("of", ["photo_upright.py", "shards/reading.py", "photos/source.py", "features/source.py"])
def test_other_code_of_any_file_is_another_origin(of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of two files with one name."""
    backbone = build_backbone("small", 0)

    def origin() -> str:
        return settings_digest({}, backbone, "none", "")

    before, real = origin(), digests.sha256_of
    monkeypatch.setattr(digests, "sha256_of", lambda path: "changed" if path.as_posix().endswith(of) else real(path))
    assert origin() != before


def test_machines_share_the_parts_and_together_make_all(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed.main([*BASE, *places(shards), "--output", str(shards / "one")])
    monkeypatch.setenv("SM_HOSTS", '["algo-1", "algo-2"]')
    for host in ("algo-1", "algo-2"):
        monkeypatch.setenv("SM_CURRENT_HOST", host)
        monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(shards / host))
        embed.main([*BASE, *places(shards)])
    made = {
        host: {path.name for path in (shards / host / "model" / "features").rglob("*.safetensors")}
        for host in ("algo-1", "algo-2")
    }
    assert not made["algo-1"] & made["algo-2"]
    everything = {path.name for path in (shards / "one" / "features").rglob("*.safetensors")}
    assert made["algo-1"] | made["algo-2"] == everything


def damaged_photo(folder: Path) -> None:
    """A third shard whose one photo is no photo."""
    write_shard(folder / "train-00002.tar", [("99999", b"\xff\xd8\xff not a photo", {"id": "99999", "count": 1})])


def test_an_unreadable_photo_is_left_out_and_named(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged_photo(shards / "train")
    embed.main([*BASE, *places(shards), "--output", str(shards / "out"), "--max-corrupt-share", "0.1"])
    assert "photo 99999 left out" in capsys.readouterr().err
    assert "99999" not in read_split(shards / "out" / "features", "train").ids
    noted = json.loads((shards / "out" / "embedding.json").read_text())
    assert list(noted["unreadable_photos"]) == ["99999"]


def test_features_that_are_no_numbers_end_the_job(shards: Path) -> None:
    """Weights, or a precision, that overflow: a head would learn nothing from them, and say so much later."""
    tensors = build_backbone("small", 0).network.state_dict()
    tensors["0.weight"] = tensors["0.weight"] * 1e38
    save_file(tensors, shards / "huge.safetensors")
    flags = ["--backbone", "small", "--weights", str(shards / "huge.safetensors"), *SMALL_INPUT]
    with pytest.raises(JobError, match=r"the features of photo 00100 are no finite numbers in fp32"):
        embed.main([*flags, *places(shards), "--output", str(shards / "out")])


def test_too_many_unreadable_photos_fail_the_job(shards: Path) -> None:
    damaged_photo(shards / "train")
    with pytest.raises(JobError, match=r"1 of 33 photos cannot be read.*99999"):
        embed.main([*BASE, *places(shards), "--output", str(shards / "out")])


def test_exactly_the_share_that_may_be_damaged_is_let_through(tmp_path: Path) -> None:
    """0.58 * 50 is less than 29 in binary fractions."""
    write_split(tmp_path, "train", 12)
    write_split(tmp_path, "validation", 9, first=500)
    ids = [str(number) for number in range(99971, 100000)]
    write_shard(tmp_path / "train" / "train-00002.tar", [(each, b"no photo", {"id": each, "count": 1}) for each in ids])
    embed.main([*BASE, *places(tmp_path), "--output", str(tmp_path / "out"), "--max-corrupt-share", "0.58"])
    with pytest.raises(JobError, match=r"29 of 50 photos cannot be read"):
        embed.main([*BASE, *places(tmp_path), "--output", str(tmp_path / "less"), "--max-corrupt-share", "0.57"])


def test_a_cut_shard_is_named(shards: Path) -> None:
    shard = shards / "train" / "train-00001.tar"
    shard.write_bytes(shard.read_bytes()[:-3000])
    with pytest.raises(JobError, match=r"1 of 3 shards cannot be read.*train-00001\.tar"):
        embed.main([*BASE, *places(shards), "--output", str(shards / "out")])
    embed.main([*BASE, *places(shards), "--output", str(shards / "kept"), "--max-corrupt-share", "0.5"])
    assert "train-00001.tar" in json.loads((shards / "kept" / "embedding.json").read_text())["unreadable_shards"]


def test_an_empty_split_is_an_error_before_work(shards: Path) -> None:
    empty = shards / "nothing"
    empty.mkdir()
    with pytest.raises(JobError, match="split 'validation' is empty"):
        embed.main([*BASE, "--train", str(shards / "train"), "--validation", str(empty), "--output", str(shards / "o")])


def test_strategy_full_embeds_nothing(tmp_path: Path) -> None:
    embed.main(["--strategy", "full", "--output", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["embedding.json"]


def test_an_output_that_cannot_be_a_folder_is_named_before_work(shards: Path) -> None:
    with pytest.raises(JobError, match=r"--output .*\.py is no folder; give another"):
        embed.main([*BASE, *places(shards), "--output", __file__])


def test_the_reason_is_left_where_sagemaker_reads_it(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(shards / "job"))
    assert run_job(lambda: embed.main(["--views", "-1"])) == 1
    assert (shards / "job" / "output" / "failure").read_text() == "--views is '-1'; it must be between 0 and 64"


def test_a_full_disk_is_named_also_where_a_folder_is_copied(
    shards: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """/dev/full answers every write as a full disk does."""
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(shards / "job"))
    output = shards / "full"
    (output / "backbone").mkdir(parents=True)
    (output / "backbone" / "model.safetensors").symlink_to("/dev/full")
    assert run_job(lambda: embed.main([*BASE, *places(shards), "--output", str(output)])) == 1
    said = capsys.readouterr().err
    assert "no space is left on the disk for" in said and "backbone/model.safetensors" in said
    assert "Traceback" not in said


def test_features_without_a_photos_view_are_refused(tmp_path: Path) -> None:
    one = FeatureSet(torch.zeros(3, 2), torch.ones(3, dtype=torch.int64), torch.tensor([0, 0, 1]), ("a", "b", "a"))
    with pytest.raises(JobError, match="lacks photos"):
        FeatureSource(one, 0)
    only_views = FeatureSet(one.features, one.counts, torch.ones(3, dtype=torch.int64), one.ids)
    with pytest.raises(JobError, match="augmented views only"):
        FeatureSource(only_views, 0)


@pytest.mark.parametrize(
    ("asked", "processors", "processes", "expected"),
    [(0, 1, "1", 2), (0, 8, "1", 8), (0, 96, "1", 16), (0, 16, "4", 4), (0, 4, "4", 2), (3, 96, "4", 3)],
)
def test_as_many_threads_decode_as_there_are_processors(
    asked: int, processors: int, processes: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within bounds; the processes of one machine share them."""
    monkeypatch.setattr(threads, "usable_cpus", lambda: processors)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert threads.decoding_threads(asked) == expected


def test_a_number_of_processes_that_is_none_is_named(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "many")
    with pytest.raises(JobError, match="LOCAL_WORLD_SIZE must be a number, it is 'many': start the processes with"):
        embed.main([*BASE, *places(shards), "--output", str(shards / "out")])


def test_features_are_the_same_with_any_number_of_threads(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for processors in (1, 16):
        monkeypatch.setattr(threads, "usable_cpus", lambda count=processors: count)
        embed.main([*BASE, *places(shards), "--output", str(shards / f"on-{processors}")])
        folder = shards / f"on-{processors}" / "features"
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        made.append({path.relative_to(folder): path.read_bytes() for path in files})
    assert made[0] and made[0] == made[1]
