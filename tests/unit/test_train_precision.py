"""Half precision: chosen by the hardware, true gradients at any scale, and no step after an overflow."""

from __future__ import annotations

import json
import math
from collections.abc import Container
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import train
from fitting.loop import Fit, Outcome, StepResult
from fitting.objectives import OBJECTIVES
from fitting.precision import PRECISIONS, MixedPrecision
from jobs.container import JobError
from modelling.bin_model import load_model
from stacks.settings.training import TrainingSettings
from tests.training_data import SMALL_INPUT, write_split
from watching.watcher import RunWatcher, layer_signals

CPU = torch.device("cpu")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def gradients(net: nn.Module) -> list[torch.Tensor | None]:
    return [value.grad for value in net.parameters()]


@pytest.mark.parametrize(("native", "kind"), [(True, "bf16"), (False, "fp16")])
def test_a_gpu_computes_in_what_it_has_and_emulates_nothing(
    native: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch calls emulated bf16 supported; on a T4 it is slower than float32."""

    def supported(including_emulation: bool = True) -> bool:
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert MixedPrecision.of("auto", torch.device("cuda")).kind == kind


def test_fp32_on_a_gpu_is_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    MixedPrecision.of("fp32", CPU)
    assert torch.backends.cudnn.allow_tf32
    MixedPrecision.of("fp32", torch.device("cuda"))
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(("asked", "kind"), [("auto", "fp32"), ("fp32", "fp32"), ("bf16", "bf16"), ("fp16", "fp16")])
def test_a_cpu_takes_half_precision_only_when_asked(asked: str, kind: str) -> None:
    precision = MixedPrecision.of(asked, CPU)
    wanted = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[kind]
    with precision.autocast():
        assert network()(torch.ones(2, 4)).dtype is wanted


@settings(max_examples=30)
@given(exponent=st.integers(min_value=0, max_value=16), seed=st.integers(min_value=0, max_value=99))
def test_gradients_are_true_whatever_the_scale(exponent: int, seed: int) -> None:
    inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))
    plain, scaled = network(), network()
    plain(inputs).square().mean().backward()
    precision = MixedPrecision("fp16", CPU, 2.0**exponent)
    precision.scaled(scaled(inputs).square().mean()).backward()
    precision.unscale(scaled)
    for ours, theirs in zip(gradients(scaled), gradients(plain), strict=True):
        assert ours is not None and theirs is not None
        torch.testing.assert_close(ours, theirs)


def test_a_gradient_too_small_for_fp16_arrives() -> None:
    def gradient(precision: MixedPrecision) -> float:
        net = network()
        with precision.autocast():
            answer = net(torch.ones(1, 4))
        precision.scaled(answer.float().sum() * 1e-8).backward()
        precision.unscale(net)
        found = next(iter(gradients(net)))
        assert found is not None
        return float(found[0, 0])

    assert gradient(MixedPrecision("fp16", CPU, 1.0)) == 0
    assert gradient(MixedPrecision.of("fp16", CPU)) == pytest.approx(1e-8, rel=0.01)


@given(steps=st.lists(st.booleans(), max_size=30), pause=st.integers(min_value=0, max_value=30))
def test_an_overflow_drops_the_step_and_halves_the_scale_across_restarts(steps: list[bool], pause: int) -> None:
    precision, overflows, net = MixedPrecision("fp16", CPU, 2.0**16), 0, network()
    for number, overflow in enumerate(steps):
        if number == pause:
            fresh = MixedPrecision.of("fp16", CPU)
            fresh.restore(precision.state())
            precision = fresh
        for value in net.parameters():
            value.grad = torch.full_like(value, torch.inf if overflow else precision.scale)
        precision.unscale(net)
        overflows += overflow
        assert all((found is None) == overflow for found in gradients(net))
        assert precision.scale == max(1.0, 2.0 ** (16 - overflows))


def test_the_scale_grows_again() -> None:
    precision, net = MixedPrecision("fp16", CPU, 8.0), network()
    for _ in range(2000):
        for value in net.parameters():
            value.grad = torch.ones_like(value)
        precision.unscale(net)
    assert precision.state()[:2] == (16.0, 0)


@settings(max_examples=20)
@given(steps=st.lists(st.booleans(), min_size=1, max_size=40))
def test_the_scale_is_that_of_pytorch(steps: list[bool]) -> None:
    """As torch.amp.GradScaler has it, down to 1: ours leaves off there, and in a checkpoint it is a number."""
    ours, net = MixedPrecision.of("fp16", CPU), network()
    theirs = torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=2000)
    other = torch.optim.SGD(network().parameters(), lr=0.1)
    theirs.scale(torch.zeros(()))
    for overflow in steps:
        for value in (*net.parameters(), *other.param_groups[0]["params"]):
            value.grad = torch.full_like(value, torch.inf if overflow else 1.0)
        ours.unscale(net)
        theirs.step(other)
        theirs.update()
        assert ours.scale == max(1.0, theirs.get_scale())


def fine_tune(folder: Path, *flags: str) -> dict[str, Any]:
    """Fine-tune in fp16 in batches of 5 of 20 photos; the metrics."""
    write_split(folder, "train", 20)
    write_split(folder, "validation", 5, first=900)
    train.main(
        ["--strategy", "full", "--backbone", "small", "--weights", "none", *SMALL_INPUT, "--batch-size", "5",
         "--precision", "fp16", "--head-epochs", "0", "--patience", "0",
         "--train", str(folder / "train"), "--validation", str(folder / "validation"),
         "--output", str(folder / "model"), "--checkpoints", str(folder / "checkpoints"), *flags]
    )  # fmt: skip
    metrics: dict[str, Any] = json.loads((folder / "model" / "metrics.json").read_text())
    return metrics


def overflow_in(monkeypatch: pytest.MonkeyPatch, steps: Container[int]) -> list[float]:
    """Lets the answers of these steps overflow in the forward pass; the scales after each step go into the list."""
    scales: list[float] = []

    class Overflowing(Fit):
        def run(self) -> Outcome:
            def spoil(module: nn.Module, _: object, logits: torch.Tensor) -> torch.Tensor:
                if not module.training:
                    return logits
                scales.append(self.precision.scale)
                if self.progress.step not in steps:
                    return logits
                for buffer in module.buffers():
                    if buffer.is_floating_point():
                        buffer.data.fill_(math.inf)
                return logits * math.inf

            self.network.register_forward_hook(spoil)
            return super().run()

    monkeypatch.setattr(train, "Fit", Overflowing)
    return scales


def test_a_loss_that_overflows_in_fp16_leaves_out_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And spoils no batch statistics: the validation loss of the epoch is a number."""
    scales = overflow_in(monkeypatch, {0, 1, 5})
    metrics = fine_tune(tmp_path, "--epochs", "2")
    assert scales == [2.0**16, 2.0**15, *[2.0**14] * 4, *[2.0**13] * 2]
    assert all(math.isfinite(row[name]) for row in metrics["history"] for name in ("train_loss", "validation_loss"))
    printed = capsys.readouterr().out
    assert "2 of 4 steps of the epoch were left out, since their numbers overflow in fp16" in printed
    assert "1 of 4 steps of the epoch were left out" in printed and "the loss scale is 8192" in printed


def test_the_initial_weights_are_watched_although_the_first_step_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that is left out has no gradients: the rule counted it as looked at, and never looked again."""
    overflow_in(monkeypatch, {0})
    with pytest.raises(JobError, match="watch rule poor-weight-initialisation stopped the run: relative gradients"):
        fine_tune(tmp_path, "--epochs", "1", "--watch", "poor-weight-initialisation=stop:1.000001")


def test_a_step_that_is_left_out_lowers_no_mean_of_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overflow_in(monkeypatch, {1, 2})
    looked: list[float] = []

    class Noting(RunWatcher):
        def on_step(self, result: StepResult) -> None:
            looked.extend(layer.gradient_norm for layer in layer_signals(result.network, deviations=False)[:1])
            super().on_step(result)

    monkeypatch.setattr(train, "RunWatcher", Noting)
    norms = fine_tune(tmp_path, "--epochs", "1")["gradient_norms"]
    assert next(iter(norms.values())) == [pytest.approx(sum(looked) / len(looked))]


@pytest.mark.parametrize(
    ("steps", "flags", "said"),
    [
        (
            range(1, 99),
            ["--batch-size", "1"],
            r"the loss is nan in fp16, also without a loss scale at epoch 0 step 1[67]",
        ),
        (range(4), [], r"the loss overflowed in every step of epoch 0"),
    ],
    ids=["to the end", "a whole epoch"],
)
def test_a_loss_that_goes_on_overflowing_ends_the_run_with_its_cure(
    steps: range, flags: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overflow_in(monkeypatch, steps)
    with pytest.raises(JobError, match=rf"{said}.*train with precision bf16 or fp32, .*lower lr"):
        fine_tune(tmp_path, "--epochs", "1", *flags)


@pytest.mark.parametrize(
    ("epochs", "said"), [("9", "26 steps in a row were left out"), ("2", "the numbers of every step overflowed")]
)
def test_gradients_that_go_on_overflowing_end_the_run(
    epochs: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing would be learned any more, and nobody would hear of it."""
    monkeypatch.setattr(MixedPrecision, "scaled", lambda self, loss: loss * math.inf)
    with pytest.raises(JobError, match=rf"{said}.*train with precision bf16 or fp32"):
        fine_tune(tmp_path, "--epochs", epochs)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_everything_is_trained_in_half_precision_and_kept_in_full(precision: str, tmp_path: Path) -> None:
    write_split(tmp_path, "train", 20)
    write_split(tmp_path, "validation", 10, first=900)
    train.main(
        ["--strategy", "full", "--backbone", "small", "--weights", "none", *SMALL_INPUT, "--epochs", "2",
         "--batch-size", "10", "--lr", "0.02", "--optimiser", "sgd", "--dropout", "0", "--precision", precision,
         "--head-epochs", "0", "--label-smoothing", "0", "--squared-error", "0",
         "--train", str(tmp_path / "train"), "--validation", str(tmp_path / "validation"),
         "--output", str(tmp_path / "model"), "--checkpoints", str(tmp_path / "checkpoints")]
    )  # fmt: skip
    model, card = load_model(tmp_path / "model")
    assert card.training["hyperparameters"]["precision"] == precision
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert card.metrics["train_loss"] < 1.7


def test_the_settings_offer_what_train_takes() -> None:
    fields = TrainingSettings.model_fields
    assert get_args(fields["precision"].annotation) == PRECISIONS
    assert get_args(fields["loss"].annotation) == tuple(OBJECTIVES)
