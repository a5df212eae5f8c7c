"""Half precision: chosen by the hardware, true gradients at any scale, and no step after an overflow."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import train
from fitting.objectives import OBJECTIVES
from fitting.precision import PRECISIONS, MixedPrecision
from modelling.bin_model import load_model
from stacks.settings.training import TrainingSettings
from tests.training_data import SMALL_INPUT, write_split

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
    assert precision.state() == (16.0, 0)


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
