"""What a network costs: the table of its multiplications is PyTorch's count, and expected times follow it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from benchmarks.learning.arithmetic import multiply_adds
from binventory.core.known_photos import KnownPhotos
from binventory.cost import prices
from binventory.cost.estimate import estimate
from binventory.cost.jobs import input_size_of
from binventory.cost.networks import MULTIPLY_ADDS, relative_work
from binventory.cost.workload import JOB_OVERHEAD_SECONDS, Workload, expected_for, seconds
from modelling import backbones
from stacks.backbones import BACKBONES
from tests.priced import nothing_but

US = prices.load("us-east-1")


def work(backbone: str, input_size: int = 224, strategy: str = "head") -> Workload:
    parameters = {"Backbone": backbone, "Strategy": strategy, "Views": 0, "Epochs": 5}
    return expected_for(parameters, KnownPhotos(10_000), input_size)[0]


def useful(step: str, instance: str, of: Workload) -> float:
    return seconds(step, instance, 1, of) - JOB_OVERHEAD_SECONDS


def test_the_table_has_every_backbone_and_is_what_pytorch_counts() -> None:
    counted = {}
    for name in BACKBONES:
        with torch.device("meta"), torch.inference_mode():  # shapes alone: neither weights nor pixels are needed
            counted[name] = round(multiply_adds(backbones._network(name).eval(), 224) / 1e9, 2)
    assert counted == MULTIPLY_ADDS


@pytest.mark.parametrize("instance", ["ml.c5.4xlarge", "ml.g4dn.xlarge"])
@pytest.mark.parametrize("step", ["Embed", "Evaluate"])
def test_a_larger_network_and_larger_photos_take_longer(step: str, instance: str) -> None:
    small, usual, large = (useful(step, instance, work(name)) for name in ("resnet18", "resnet50", "vit_b_16"))
    assert small < usual < large
    assert 4 < large / usual <= relative_work("vit_b_16", 224)
    assert 3.8 < useful(step, instance, work("resnet50", 448)) / usual <= 4


def test_a_fine_tuned_network_costs_what_its_multiplications_take() -> None:
    usual, large = (useful("Train", "ml.g5.xlarge", work(name, strategy="full")) for name in ("resnet50", "resnet101"))
    assert large / usual == pytest.approx(7.80 / 4.09)


def test_a_network_that_multiplies_little_still_waits_for_its_photos() -> None:
    """A core prepares some hundred photos a second, whatever network sees them."""
    rate = 10_000 / useful("Embed", "ml.c5.xlarge", work("small"))
    assert 4 * 250 < rate < 4 * 300
    assert 10_000 / useful("Embed", "ml.g4dn.xlarge", work("small")) == pytest.approx(4 * 300)


@given(some.sampled_from(BACKBONES), some.integers(32, 512), some.sampled_from(["ml.m5.xlarge", "ml.g5.xlarge"]))
def test_time_grows_with_the_photo(backbone: str, size: int, instance: str) -> None:
    less, more = (useful("Embed", instance, work(backbone, side)) for side in (size, size + 32))
    assert 0 < less <= more and math.isfinite(more)


def test_a_network_that_is_not_known_counts_as_a_resnet50() -> None:
    assert work("written-by-hand") == work("resnet50")


@pytest.mark.parametrize(("backbone", "share"), [("vit_b_16", "429% of"), ("efficientnet_lite0", "9% of")])
def test_an_estimate_says_whose_counts_it_prices(backbone: str, share: str) -> None:
    (note,) = estimate(nothing_but(), US, work(backbone), 1000).notes
    assert share in note
    assert estimate(nothing_but(), US, work("resnet50"), 1000).notes == ()


def test_the_size_of_photos_is_read_from_the_jobs() -> None:
    step = {"Name": "Embed", "Type": "Training", "Arguments": {"HyperParameters": {"input-size": "320"}}}
    assert input_size_of({"Steps": [{"Name": "Gate", "Type": "Condition"}, step]}) == 320
    assert input_size_of({"Steps": []}) == 224
