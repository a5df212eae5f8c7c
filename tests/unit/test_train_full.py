"""Fine-tuning everything from the photos: it learns, survives damage, and keeps batch norms with `frozen`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import train
from fitting.sampling import Sampling
from jobs.container import JobError
from modelling.backbones import build_backbone
from modelling.bin_model import BinModel, load_model
from modelling.head import CountHead
from photo import Preprocessing, open_photo
from photos.augmentation import Augmentation, augment, view_random
from photos.source import PhotoSource
from tests.listed import write_shard
from tests.training_data import SMALL_INPUT, jpeg, write_split


def run(folder: Path, *flags: str) -> dict[str, Any]:
    """Fine-tune on the shards of `folder`; the metrics it wrote."""
    train.main(
        ["--strategy", "full", "--backbone", "small", "--weights", "none", *SMALL_INPUT, "--threads", "2",
         "--train", str(folder / "train"), "--validation", str(folder / "validation"),
         "--output", str(folder / "model"), "--checkpoints", str(folder / "checkpoints"), *flags]
    )  # fmt: skip
    metrics: dict[str, Any] = json.loads((folder / "model" / "metrics.json").read_text())
    return metrics


def damage(folder: Path, photos: int) -> None:
    """A shard whose photos are none."""
    names = [f"bad{number}-{folder.name}" for number in range(photos)]
    write_shard(
        folder / "train-99999.tar", [(name, b"\xff\xd8\xff no photo", {"id": name, "count": 1}) for name in names]
    )


def test_everything_is_trained_and_saved(tmp_path: Path) -> None:
    write_split(tmp_path, "train", 40)
    write_split(tmp_path, "validation", 10, first=900)
    metrics = run(tmp_path, "--epochs", "4", "--batch-size", "8", "--lr", "0.02", "--dropout", "0")
    assert metrics["history"][-1]["train_loss"] < metrics["history"][0]["train_loss"]
    model, card = load_model(tmp_path / "model")
    start = build_backbone("small", 0).network.state_dict()
    assert not torch.equal(model.backbone.network.state_dict()["0.weight"], start["0.weight"])
    assert (card.strategy, card.weights) == ("full", "none")


def test_a_run_that_continues_fits_no_first_head_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_split(tmp_path, "train", 20)
    write_split(tmp_path, "validation", 5, first=900)
    flags = ["--epochs", "1", "--batch-size", "8"]
    run(tmp_path, *flags)
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()

    def again(*_arguments: object, **_options: object) -> None:
        raise AssertionError("the head was fitted again")

    monkeypatch.setattr(train, "fit_first_head", again)
    run(tmp_path, *flags)
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == weights
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(AssertionError, match="fitted again"):
        run(tmp_path, *flags)


def test_an_unreadable_photo_is_left_out_and_too_many_end_the_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_split(tmp_path, "train", 20)
    write_split(tmp_path, "validation", 5, first=900)
    damage(tmp_path / "train", 2)
    flags = ["--epochs", "1", "--batch-size", "8"]
    run(tmp_path, *flags, "--max-corrupt-share", "0.2")
    assert "photo bad0-train left out" in capsys.readouterr().err
    with pytest.raises(JobError, match=r"of 22 photos cannot be read.*bad"):
        run(tmp_path, *flags)


def test_exactly_the_share_that_may_be_damaged_is_let_through(tmp_path: Path) -> None:
    """0.58 * 50 is less than 29 in binary fractions."""
    write_split(tmp_path, "train", 21)
    write_split(tmp_path, "validation", 5, first=900)
    damage(tmp_path / "train", 29)
    flags = ["--epochs", "1", "--head-epochs", "0", "--batch-size", "64"]
    run(tmp_path, *flags, "--max-corrupt-share", "0.58")
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(JobError, match=r"29 of 50 photos cannot be read, more than max-corrupt-share allows"):
        run(tmp_path, *flags, "--max-corrupt-share", "0.57")


def test_photos_that_cannot_be_read_are_in_no_mean(tmp_path: Path) -> None:
    flags = [
        "--epochs",
        "1",
        "--batch-size",
        "64",
        "--head-epochs",
        "0",
        "--dropout",
        "0",
        "--max-corrupt-share",
        "0.9",
    ]
    write_split(tmp_path, "train", 20)
    write_split(tmp_path, "validation", 5, first=900)
    whole = run(tmp_path, *flags)["best"]
    weights = load_file(tmp_path / "model" / "model.safetensors")
    shutil.rmtree(tmp_path / "checkpoints")
    damage(tmp_path / "train", 4)
    damage(tmp_path / "validation", 4)
    assert run(tmp_path, *flags)["best"] == pytest.approx(whole, rel=1e-6)
    for name, value in load_file(tmp_path / "model" / "model.safetensors").items():
        torch.testing.assert_close(value, weights[name], rtol=1e-4, atol=1e-6, msg=f"the step of {name}")


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_of_which_nothing_can_be_read_ends_the_run(split: str, tmp_path: Path) -> None:
    write_split(tmp_path, "train", 20)
    write_split(tmp_path, "validation", 5, first=900)
    shutil.rmtree(tmp_path / split)
    (tmp_path / split).mkdir()
    damage(tmp_path / split, 4)
    with pytest.raises(JobError, match=f"no photo of the {split}.* split can be read"):
        run(tmp_path, "--epochs", "1", "--head-epochs", "0", "--batch-size", "2", "--max-corrupt-share", "1")


def test_a_damaged_shard_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_split(tmp_path, "train", 20, shards=2)
    write_split(tmp_path, "validation", 5, first=900)
    shard = tmp_path / "train" / "train-00001.tar"
    shard.write_bytes(shard.read_bytes()[:-2000])
    with pytest.raises(JobError, match=r"1 of 2 shards .* are damaged.*train-00001\.tar"):
        run(tmp_path, "--epochs", "1")
    run(tmp_path, "--epochs", "1", "--max-corrupt-share", "0.5")
    assert "shard train-00001.tar left out" in capsys.readouterr().err


def test_a_split_without_photos_is_an_error(tmp_path: Path) -> None:
    write_split(tmp_path, "train", 5)
    (tmp_path / "validation").mkdir()
    with pytest.raises(JobError, match="split is empty"):
        run(tmp_path)
    write_split(tmp_path / "hollow", "validation", 0)
    (tmp_path / "hollow" / "train").symlink_to(tmp_path / "train")
    with pytest.raises(JobError, match="hold no photos"):
        run(tmp_path / "hollow")


def test_a_photo_in_both_splits_is_refused_before_work(tmp_path: Path) -> None:
    """The kept epoch would be the one that knows the training photos best."""
    write_split(tmp_path, "train", 10)
    write_split(tmp_path, "validation", 4, first=108)
    with pytest.raises(JobError, match="2 of 4 photos of split validation are in split train too, such as 00108"):
        run(tmp_path)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--artefact", "head"], "--artefact head needs strategy head"),
        (["--features", "embedded"], "--features embedded needs strategy head"),
        (["--embedding", "embedding"], "--embedding has no effect with strategy full, only with head: leave it out"),
    ],
)
def test_what_needs_features_is_refused(flags: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=message):
        run(tmp_path, *flags)


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_norms_keep_the_statistics_of_the_weights(frozen: bool) -> None:
    model = BinModel(build_backbone("resnet18", 0), CountHead(512), Preprocessing())
    model.frozen_norms = frozen
    before = model.backbone.network.get_buffer("bn1.running_mean").clone()
    model.train()
    model(torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8))
    assert torch.equal(model.backbone.network.get_buffer("bn1.running_mean"), before) is frozen
    assert model.head.training


def test_views_differ_between_epochs_and_repeat_between_runs(tmp_path: Path) -> None:
    write_split(tmp_path, "train", 6)

    def epoch(number: int, threads: int) -> torch.Tensor:
        source = PhotoSource(
            tmp_path / "train", Preprocessing(), Augmentation(), seed=1, threads=threads, max_corrupt_share=0
        )
        plans = Sampling(6, 4, seed=1).epoch(0)
        return torch.cat([photos for photos, _ in source.batches(plans, number)])

    assert torch.equal(epoch(0, 1), epoch(0, 4))
    assert not torch.equal(epoch(0, 1), epoch(1, 1))


def test_an_augmentation_that_changes_nothing_is_the_photo() -> None:
    still = Augmentation(smallest_area=1.0, widest_aspect=1.0, flip=0.0, rotation=0.0, colour=0.0)
    photo = open_photo(jpeg(3, 0)).crop((0, 0, 256, 256))
    same = augment(photo, 256, view_random(0, "a", 1), still).astype(int)
    assert np.abs(same - np.asarray(photo, dtype=int)).max() <= 1


def test_a_flip_is_a_mirror() -> None:
    flipped = Augmentation(smallest_area=1.0, widest_aspect=1.0, flip=1.0, rotation=0.0, colour=0.0)
    photo = open_photo(jpeg(3, 0)).crop((0, 0, 256, 256))
    mirrored = augment(photo, 256, view_random(0, "a", 1), flipped).astype(int)
    assert np.abs(mirrored - np.asarray(photo, dtype=int)[:, ::-1]).max() <= 1


def test_colour_jitter_stays_within_its_share_and_rotation_about_the_centre() -> None:
    grey = open_photo(jpeg(1, 0)).resize((64, 64)).convert("L").point(lambda _: 128).convert("RGB")
    bright = {
        int(augment(grey, 64, view_random(0, "a", view), Augmentation(rotation=0.0, colour=0.2))[32, 32, 0])
        for view in range(40)
    }
    assert len(bright) > 10
    assert 128 * 0.8 - 2 <= min(bright) <= max(bright) <= 128 * 1.2 + 2
    turned = Augmentation(smallest_area=1.0, widest_aspect=1.0, flip=0.0, rotation=10.0, colour=0.0)
    photo = np.zeros((65, 65, 3), dtype=np.uint8)
    photo[30:35, 30:35] = 255
    for view in range(10):
        found = augment(Image.fromarray(photo), 65, view_random(0, "b", view), turned)
        assert found[32, 32, 0] > 200 and found[10:55, 10:55].sum() == pytest.approx(photo.sum(), rel=0.1)
