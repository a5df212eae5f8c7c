"""The heads, the rule that answers, and what a full training adds to the loss and the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from features.first_head import fit_first_head
from fitting.averaging import WeightAverage
from fitting.objectives import cross_entropy, regularised
from fitting.optimiser import Optimiser
from modelling.backbones import build_backbone
from modelling.bin_model import BinModel
from modelling.head import CountHead, OrderedScores
from photo import Preprocessing
from serving.answer_rule import answered


def test_an_ordered_head_gives_the_probabilities_of_an_ordered_logit() -> None:
    scores = OrderedScores(3, 5)
    features = 4 * torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = scores(features).exp()
        thresholds = torch.cat([scores.first, scores.first + torch.nn.functional.softplus(scores.steps).cumsum(0)])
        at_most = torch.sigmoid(thresholds - scores.score(features))
    edges = torch.cat([torch.zeros(50, 1), at_most, torch.ones(50, 1)], dim=1)
    torch.testing.assert_close(found, edges.diff(dim=1), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(50))


def test_an_ordered_head_learns_from_a_photo_it_is_certain_about_and_wrong() -> None:
    scores = OrderedScores(1, 5)
    torch.nn.init.ones_(scores.score.weight)  # a high score: certainly 5, where 1 is recorded
    loss = cross_entropy(scores(torch.tensor([[1.0]]) * 300), torch.tensor([0])).mean()
    loss.backward()
    assert torch.isfinite(loss) and scores.score.weight.grad is not None and float(scores.score.weight.grad.abs()) > 1


def test_groups_of_features_have_equal_lengths_whatever_their_width() -> None:
    features = torch.randn(200, 110, generator=torch.Generator().manual_seed(0)) * 7 + 3
    head = CountHead(110)
    head.standardise_on(features, (100, 10))
    standard = (features - head.mean) / head.deviation
    lengths = [part.square().sum(dim=1).mean() for part in standard.split((100, 10), dim=1)]
    assert float(lengths[0]) == pytest.approx(float(lengths[1]), rel=1e-3) == pytest.approx(50, rel=1e-3)


@given(arrays.arrays(np.float64, (20, 5), elements=st.floats(0.01, 1)))
def test_the_median_is_off_by_the_fewest_items_and_the_most_probable_is_right_most_often(weights: np.ndarray) -> None:
    shares = weights / weights.sum(axis=1, keepdims=True)
    counts = np.arange(5)
    off = np.abs(counts[:, None] - counts[None, :])
    rows = np.arange(20)
    for rule, costs in (("median", off), ("most-probable", off > 0)):
        expected = shares @ costs.T
        np.testing.assert_allclose(expected[rows, answered(shares, rule)], expected.min(axis=1), atol=1e-9)


def test_label_smoothing_is_pytorchs_and_the_squared_error_is_the_expected_counts() -> None:
    logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    targets = torch.arange(8) % 5
    expected = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(regularised(cross_entropy, label_smoothing=0.1)(logits, targets), expected)
    mean = logits.softmax(dim=1) @ torch.arange(5.0)
    added = regularised(cross_entropy, squared_error=0.2)(logits, targets) - cross_entropy(logits, targets)
    torch.testing.assert_close(added, 0.2 * (mean - targets) ** 2)


def test_averaged_weights_are_installed_for_a_while() -> None:
    network = torch.nn.Linear(2, 1)
    average = WeightAverage(network, 0.9)
    start = network.weight.detach().clone()
    with torch.no_grad():
        network.weight += 1
    average.update(network)
    with average.installed(network):
        # The first step counts for nine tenths: 1 of 10 is kept of the start.
        torch.testing.assert_close(network.weight.detach(), start + 0.9)
    torch.testing.assert_close(network.weight.detach(), start + 1)


def test_the_deviation_of_a_constant_feature_stays_infinite() -> None:
    head = CountHead(2)
    head.standardise_on(torch.tensor([[1.0, 2.0], [1.0, 3.0]]))
    average = WeightAverage(head, 0.9)
    average.update(head)
    assert torch.equal(average.values["deviation"], head.deviation) and not torch.isfinite(head.deviation[0])


def test_the_head_of_a_whole_network_has_a_rate_of_its_own() -> None:
    network = torch.nn.ModuleDict({"backbone": torch.nn.Linear(1, 1), "head": torch.nn.Linear(1, 1)})
    optimiser = Optimiser(network, "sgd", 0.0, head_rate=0.25)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    for value in network.parameters():
        value.grad = torch.ones_like(value)
    optimiser.step(0.1)
    moved = {name: float((before[name] - value).detach().mean()) for name, value in network.named_parameters()}
    assert moved["backbone.weight"] == pytest.approx(4 * moved["head.weight"])


class Squares:
    """Photos with as many bright columns as they count."""

    def __init__(self) -> None:
        self.counts = torch.arange(60) % 5 + 1
        self.photos = torch.zeros(60, 32, 32, 3, dtype=torch.uint8)
        for row, count in enumerate(self.counts.tolist()):
            self.photos[row, :, : 6 * count] = 200

    def __len__(self) -> int:
        return 60

    def in_order(self, rows: range, size: int):  # type: ignore[no-untyped-def]
        """Batches of photos and counts."""
        for start in range(0, len(rows), size):
            part = torch.tensor(list(rows[start : start + size]))
            yield self.photos[part], self.counts[part]


def test_a_first_head_counts_before_the_backbone_is_trained() -> None:
    photos = Squares()
    backbone = build_backbone("small", 0, "stages")
    model = BinModel(backbone, CountHead(backbone.width, kind="ordered"), Preprocessing(32, 32))
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    fit_first_head(model, photos, epochs=60, seed=0)
    with torch.inference_mode():
        shares = model.eval()(photos.photos).softmax(dim=1).double().numpy()
    assert float((answered(shares, "median") + 1 == photos.counts.numpy()).mean()) > 0.8
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
