"""The throughput runner answers in order, for all sizes and overlaps of batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from features.frozen_backbone import freeze
from modelling.backbones import build_backbone, empty_backbone
from modelling.bin_model import BinModel
from modelling.onnx_export import export_features
from modelling.openvino_graph import OpenvinoGraph
from photo import Preprocessing

PIXELS = Preprocessing(shorter_side=32, crop=32)


@pytest.fixture(scope="module")
def model() -> BinModel:
    return BinModel(build_backbone("small", 0), torch.nn.Identity(), PIXELS).eval()


@pytest.fixture(scope="module")
def graph(model: BinModel, tmp_path_factory: pytest.TempPathFactory) -> OpenvinoGraph:
    path = tmp_path_factory.mktemp("graph") / "features.onnx"
    export_features(model, path)
    return OpenvinoGraph(path, "fp32")


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(min_value=1, max_value=5), max_size=9))
def test_answers_come_in_order_and_equal_the_network(model: BinModel, graph: OpenvinoGraph, sizes: list[int]) -> None:
    random = np.random.default_rng(sum(sizes))
    batches = [random.integers(0, 256, (size, 32, 32, 3), dtype=np.uint8) for size in sizes]
    answers = list(graph.run(iter(batches)))
    assert [len(answer) for answer in answers] == sizes
    for batch, answer in zip(batches, answers, strict=True):
        with torch.inference_mode():
            wanted = model.backbone(model.normalise(torch.from_numpy(batch)))
        torch.testing.assert_close(torch.from_numpy(answer), wanted, rtol=1e-4, atol=1e-4)


def test_an_engine_that_answers_otherwise_is_not_used(model: BinModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    honest = OpenvinoGraph.run
    monkeypatch.setattr(OpenvinoGraph, "run", lambda self, batches: (1.1 * found for found in honest(self, batches)))
    assert freeze(model, "fp32").engine == "torch fp32"
    monkeypatch.setattr(OpenvinoGraph, "run", honest)
    assert freeze(model, "fp32").engine == "openvino fp32"


def test_an_empty_backbone_holds_nothing_until_it_is_loaded() -> None:
    empty, full = empty_backbone("resnet18"), build_backbone("resnet18", 0)
    assert {value.device.type for value in empty.state_dict().values()} == {"meta"}
    empty.load_state_dict(full.state_dict(), assign=True)
    photos = torch.ones(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(empty.eval()(photos), full.eval()(photos))


def _weights_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """Random weights by Kaiming's rule, and statistics and factors as they begin."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, empty in network.state_dict().items():
        fan_in = empty[0].numel() if empty.ndim > 1 else 0
        scale = (2 / fan_in) ** 0.5 if fan_in else 0.0
        begin = float(empty.ndim == 1 and name.endswith(("weight", "running_var")))
        drawn = torch.randn(empty.shape, generator=generator) * scale + begin
        found[name] = drawn.to(empty.dtype)
    return found


@pytest.mark.parametrize("name", ["vit_b_16", "convnext_tiny", "efficientnet_b0"])
def test_every_family_of_networks_runs_fast_and_as_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    # The transformer takes photos of 224 pixels alone; what an operator computes does not depend on their size.
    pixels = Preprocessing() if name == "vit_b_16" else Preprocessing(shorter_side=64, crop=64)
    model = BinModel(empty_backbone(name), torch.nn.Identity(), pixels)
    network: Any = model.backbone.network
    # The blocks of a stage are alike; one is enough, or two where only the second has a way around it.
    if name == "vit_b_16":
        network.encoder.layers = network.encoder.layers[:1]
    else:
        kept = 1 if name == "convnext_tiny" else 2
        for number, stage in enumerate(network.features):
            if not isinstance(stage[0], nn.Conv2d | nn.LayerNorm):
                network.features[number] = stage[:kept]
    network.load_state_dict(_weights_of(network), assign=True)
    assert freeze(model, "fp32").engine == "openvino fp32"
