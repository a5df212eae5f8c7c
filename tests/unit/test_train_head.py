"""Training on features through its script: it learns, keeps the best epoch, and refuses what cannot work."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional

import train
from digests import read_sealed, seal
from fitting.loop import Fit
from fitting.objectives import cross_entropy, expected_count, ordinal
from fitting.optimiser import Optimiser, Schedule
from jobs.container import JobError, run_job
from modelling.bin_model import BinModel, load_model, read_card
from modelling.head import CountHead
from tests.training_data import add_features, write_embedding


def arguments(folder: Path, *flags: str) -> list[str]:
    """Of a training on `folder`/embedding."""
    places = ["--embedding", str(folder / "embedding"), "--output", str(folder / "model")]
    return ["--backbone", "small", *places, "--checkpoints", str(folder / "checkpoints"), *flags]


def run(folder: Path, *flags: str) -> dict[str, Any]:
    """Train on `folder`/embedding into `folder`/model; the metrics it wrote."""
    train.main(arguments(folder, *flags))
    metrics: dict[str, Any] = json.loads((folder / "model" / "metrics.json").read_text())
    return metrics


def test_a_head_learns_whatever_the_scale_of_the_features(tmp_path: Path) -> None:
    results = {}
    for name, scale in (("plain", (1.0,)), ("wild", (1e-4, 1.0, 3e4))):
        write_embedding(tmp_path / name / "embedding", train=200, validation=50, scale=scale)
        metrics = run(tmp_path / name, "--epochs", "15", "--lr", "0.05", "--head", "softmax")
        results[name] = metrics["best"]["validation_accuracy"]
    assert results["plain"] > 0.7
    assert results["wild"] == pytest.approx(results["plain"], abs=0.05)


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "metrics.json"])
def test_a_full_disk_is_named_by_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """/dev/full answers every write as a full disk does."""
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path / "job"))
    write_embedding(tmp_path / "embedding", train=20, validation=10)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / name).symlink_to("/dev/full")
    assert run_job(lambda: train.main(arguments(tmp_path, "--epochs", "1"))) == 1
    said = capsys.readouterr().err
    assert "no space is left on the disk" in said and "Traceback" not in said


def test_constant_features_are_harmless(tmp_path: Path) -> None:
    write_embedding(tmp_path / "embedding", train=100, scale=(1.0, 0.0))
    assert run(tmp_path, "--epochs", "3")["best"]["validation_loss"] < 10
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    assert all(torch.isfinite(value).all() for name, value in tensors.items() if "deviation" not in name)


def test_the_epoch_with_the_best_validation_loss_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_embedding(tmp_path / "embedding", train=20, validation=40, width=64, scale=(0.1,))
    metrics = run(tmp_path, "--epochs", "12", "--lr", "0.5", "--schedule", "constant", "--batch-size", "4")
    best = min(metrics["history"], key=lambda epoch: epoch["validation_loss"])
    assert metrics["best"] == best
    assert best["epoch"] < 11, "the case must have a best epoch that is not the last"
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("epoch=") for line in lines) == 12
    assert lines[-1].startswith(f"best epoch={best['epoch']} ")
    assert f"validation:loss={best['validation_loss']:.6g}" in lines[-1]
    model, card = load_model(tmp_path / "model")
    features = torch.cat([f for f, _ in _validation(tmp_path)])
    counts = torch.cat([c for _, c in _validation(tmp_path)])
    with torch.inference_mode():
        loss = float(functional.cross_entropy(model.head(features), counts - 1))
    assert loss == pytest.approx(best["validation_loss"], rel=1e-5)
    assert card.metrics["validation_loss"] == best["validation_loss"]
    assert card.training["hyperparameters"]["lr"] == 0.5


def test_a_warm_up_that_outlasts_the_training_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_embedding(tmp_path / "embedding")
    run(tmp_path, "--epochs", "2", "--lr", "0.1", "--batch-size", "15", "--warm-up-epochs", "4")
    assert "the learning rate reaches 0.0471, not 0.1" in capsys.readouterr().err
    run(tmp_path, "--epochs", "2", "--lr", "0.1", "--batch-size", "15")
    assert "warm-up" not in capsys.readouterr().err


def test_an_epoch_without_a_validation_loss_is_no_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_embedding(tmp_path / "embedding")
    measured = iter([(math.nan, 0.2, 1.5), (0.9, 0.6, 0.8), (math.nan, 0.2, 1.5), (1.1, 0.5, 0.9)])
    monkeypatch.setattr(Fit, "_measure", lambda _fit: next(measured))
    assert run(tmp_path, "--epochs", "4")["best"]["epoch"] == 1


def _validation(folder: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    from features.files import read_split

    split = read_split(folder / "embedding" / "features", "validation")
    return [(split.features, split.counts)]


def test_patience_ends_a_run_that_stopped_improving(tmp_path: Path) -> None:
    write_embedding(tmp_path / "embedding", train=20, validation=40)
    metrics = run(tmp_path, "--epochs", "60", "--lr", "0.5", "--patience", "3", "--batch-size", "4")
    assert len(metrics["history"]) == metrics["best"]["epoch"] + 4 < 60


@pytest.mark.parametrize("loss", ["ordinal", "expected-count"])
def test_every_objective_learns_to_count(loss: str, tmp_path: Path) -> None:
    write_embedding(tmp_path / "embedding", train=200, validation=50)
    metrics = run(tmp_path, "--epochs", "15", "--lr", "0.05", "--loss", loss, "--head", "softmax")
    assert metrics["best"]["validation_rmse"] < 1.0 < metrics["history"][0]["validation_rmse"] + 0.5


@pytest.mark.parametrize("added", [["--loss", "ordinal"], ["--label-smoothing", "0.5"], ["--squared-error", "2"]])
def test_losses_are_reported_as_cross_entropy_whatever_is_minimised(added: list[str], tmp_path: Path) -> None:
    results = []
    for name, flags in (("plain", []), ("other", added)):
        write_embedding(tmp_path / name / "embedding", train=40, validation=20)
        # So small a rate leaves the head as it began: equal heads, other losses to minimise.
        results.append(run(tmp_path / name, "--epochs", "1", "--lr", "1e-8", "--dropout", "0", *flags)["best"])
    for loss in ("train_loss", "validation_loss"):
        assert results[0][loss] == pytest.approx(results[1][loss], rel=1e-4)


def test_views_are_used_and_training_stays_repeatable(tmp_path: Path) -> None:
    results: list[dict[str, Any]] = []
    for views in (0, 3, 3):
        folder = tmp_path / f"{views}{len(results)}"
        write_embedding(folder / "embedding", views=views)
        results.append(run(folder, "--epochs", "3"))
    assert results[1]["history"] == results[2]["history"]
    assert results[0]["history"] != results[1]["history"]


def test_a_trial_saves_its_head_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_embedding(tmp_path / "embedding", width=64)
    config = tmp_path / "input" / "config"
    config.mkdir(parents=True)
    (config / "hyperparameters.json").write_text('{"_tuning_objective_metric": "validation:loss"}')
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    run(tmp_path, "--epochs", "1")
    assert all(name.startswith("head.") for name in load_file(tmp_path / "model" / "model.safetensors"))
    run(tmp_path, "--epochs", "1", "--artefact", "model")
    assert isinstance(load_model(tmp_path / "model")[0], BinModel)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--lr", "0"], "--lr is '0'; it must be between 1e-08 and 10"),
        (["--lr", "nan"], "--lr is 'nan'; it must be between"),
        (["--lr", ""], "--lr is empty: give it a value, or leave it out"),
        (["--mlflow", '""'], "--mlflow is empty"),
        (["--output", __file__], f"--output {__file__}: {__file__} is no folder; give another"),
        (["--output", f"{__file__}/model"], f"--output {__file__}/model: {__file__} is no folder"),
        (["--checkpoints", " "], "--checkpoints is empty"),
        (["--lr", "fast"], "--lr is 'fast'; it must be between"),
        (["--batch-size", "0"], "--batch-size is '0'; it must be between 1 and 65536"),
        (["--batch-size", "32.5"], "--batch-size is '32.5'"),
        (["--epochs", "0"], "--epochs is '0'"),
        (["--loss", "focal"], "--loss is 'focal'; it must be one of cross-entropy, ordinal, expected-count"),
        (["--strategy", "half"], "--strategy is 'half'; it must be one of head, full"),
        (["--learning-rate", "1"], "unrecognized arguments: --learning-rate 1"),
        (["--backbone", "resnet50"], "backbone is resnet50, but the features were embedded with small"),
        (["--weights", "torchvision"], "--weights is torchvision, but the features were embedded with none"),
        (["--features", "stages"], "features is stages, but Embed has written those of last only: embed again"),
        (["--fit", "whole"], "--fit is whole, but the features were embedded with crop"),
        (["--input-size", "300"], "--input-size is 300, but the features were embedded with 224"),
        (["--head-rate", "0.5"], "--head-rate has no effect with strategy head, only with full"),
        (["--batch-norm", "train"], "--batch-norm has no effect with strategy head"),
        (["--train", "shards/train"], "--train has no effect with strategy head, only with full: leave it out"),
        (["--validation", "other"], "--validation has no effect with strategy head, only with full: leave it out"),
    ],
)
def test_a_wrong_setting_is_named_before_work(flags: list[str], message: str, tmp_path: Path) -> None:
    write_embedding(tmp_path / "embedding")
    with pytest.raises(JobError) as error:
        run(tmp_path, *flags)
    assert message in str(error.value)


def test_features_of_a_photo_in_both_splits_are_refused(tmp_path: Path) -> None:
    """The best epoch would be the one that knows the training photos best."""
    write_embedding(tmp_path / "embedding")
    add_features(tmp_path / "embedding", "validation", "train", torch.zeros(1, 6), [3])
    with pytest.raises(JobError, match="1 of 21 photos of split validation are in split train too, such as train0"):
        run(tmp_path)
    assert not (tmp_path / "model").exists()


def test_what_the_features_were_made_with_may_be_said_and_is_not_made_up(tmp_path: Path) -> None:
    write_embedding(tmp_path / "embedding")
    run(tmp_path, "--epochs", "1", "--weights", "none", "--fit", "crop", "--input-size", "224")
    said = read_card(tmp_path / "model" / "model.json").training["hyperparameters"]
    assert (said["weights"], said["fit"], said["input_size"]) == ("none", "crop", 224)
    run(tmp_path, "--epochs", "1")
    said = read_card(tmp_path / "model" / "model.json").training["hyperparameters"]
    assert not {"weights", "fit", "input_size"} & set(said)


def test_numbers_as_sagemaker_sends_them(tmp_path: Path) -> None:
    write_embedding(tmp_path / "embedding")
    run(tmp_path, "--batch-size", '"32"', "--epochs", "2.0", "--lr", "1e-2")
    asked = json.loads((tmp_path / "model" / "model.json").read_text())["training"]["hyperparameters"]
    assert (asked["batch_size"], asked["epochs"], asked["lr"]) == (32, 2, 0.01)


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    write_embedding(tmp_path / "embedding")
    features = tmp_path / "embedding" / "features"
    listed = read_sealed(features / "parts.json")
    listed["parts"] = {name: origin for name, origin in listed["parts"].items() if name.startswith("train/")}
    (features / "parts.json").write_bytes(seal(listed))
    for file in (features / "validation").iterdir():
        file.unlink()
    with pytest.raises(JobError, match="no features of split 'validation'"):
        run(tmp_path)


def test_a_count_outside_the_classes_is_an_error(tmp_path: Path) -> None:
    write_embedding(tmp_path / "embedding")
    add_features(tmp_path / "embedding", "train", "odd", torch.zeros(1, 6), [7])
    with pytest.raises(JobError, match=r"counts \[1, 2, 3, 4, 5, 7\], the model counts 1 to 5"):
        run(tmp_path)


def test_a_damaged_feature_file_is_named(tmp_path: Path) -> None:
    write_embedding(tmp_path / "embedding")
    file = next((tmp_path / "embedding" / "features" / "train").iterdir())
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(JobError, match=rf"feature file {file.name} cannot be read"):
        run(tmp_path)


def test_features_of_two_backbones_are_refused(tmp_path: Path) -> None:
    write_embedding(tmp_path / "embedding")
    add_features(tmp_path / "embedding", "train", "other", torch.zeros(1, 9), [1])
    with pytest.raises(JobError, match=r"different widths \[6, 9\]"):
        run(tmp_path)


def test_a_loss_that_is_no_number_stops_with_step_rate_and_photos(tmp_path: Path) -> None:
    write_embedding(tmp_path / "embedding")
    add_features(tmp_path / "embedding", "train", "zz", torch.full((1, 6), float("nan")), [1])
    with pytest.raises(JobError, match=r"loss is nan at epoch 0 step \d+ with learning rate .*look at the photos.*"):
        run(tmp_path, "--batch-size", "512")


def test_saved_models_of_equal_weights_are_equal_bytes(tmp_path: Path) -> None:
    write_embedding(tmp_path / "embedding")
    run(tmp_path, "--epochs", "2")
    first = {path.name: path.read_bytes() for path in (tmp_path / "model").glob("model.*")}
    for path in (tmp_path / "checkpoints").iterdir():
        path.unlink()
    run(tmp_path, "--epochs", "2")
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").glob("model.*")} == first


@given(rows=st.integers(1, 6), seed=st.integers(0, 1000))
def test_objectives_agree_with_their_definitions(rows: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, 5, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 5, (rows,), generator=generator)
    p = logits.softmax(dim=1).numpy()
    for row in range(rows):
        t = int(targets[row])
        more = [p[row, k:].sum() for k in range(1, 5)]
        asked = -np.mean([np.log(q) if t >= k else np.log1p(-q) for k, q in enumerate(more, 1)])
        assert float(ordinal(logits, targets)[row]) == pytest.approx(asked, rel=1e-4)
        squared = (sum(k * p[row, k] for k in range(5)) - t) ** 2
        assert float(expected_count(logits, targets)[row]) == pytest.approx(-np.log(p[row, t]) + squared / 2)
    assert float(cross_entropy(logits, targets).mean()) == pytest.approx(
        float(functional.cross_entropy(logits, targets))
    )


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_updates_are_those_of_torch(kind: str) -> None:
    torch.manual_seed(0)
    ours, theirs = CountHead(7), CountHead(7)
    theirs.load_state_dict(ours.state_dict())
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in theirs.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    reference: torch.optim.Optimizer = (
        torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
        if kind == "sgd"
        else torch.optim.AdamW(groups, lr=0.1)
    )
    optimiser = Optimiser(ours, kind, weight_decay=0.1)
    for _ in range(5):
        inputs = torch.randn(4, 7)
        for head in (ours, theirs):
            head(inputs).square().sum().backward()
        optimiser.step(0.1)
        reference.step()
        reference.zero_grad()
    for mine, his in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, his)


def test_the_rate_warms_up_and_falls_to_nothing() -> None:
    schedule = Schedule(peak=1.0, steps=100, warm_up=9)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[9] == 1.0
    assert rates[9:] == sorted(rates[9:], reverse=True) and 0 < rates[-1] < 0.01
    assert {Schedule(0.3, 10, cosine=False).rate(step) for step in range(10)} == {0.3}


@pytest.mark.parametrize("script", ["train", "embed", "evaluate"])
def test_help_shows_flags_and_examples(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    import importlib

    with pytest.raises(SystemExit) as end:
        importlib.import_module(script).main(["--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert "examples:" in printed and f"python {script}.py" in printed
