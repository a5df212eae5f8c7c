"""int8 graphs: what is rounded, what is not, and what rounding may change."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader
from onnxruntime.quantization.calibrate import create_calibrator

from arithmetic import compile_graph
from binventory.render import render_bin
from jobs.container import JobContainer
from modelling import quantisation
from modelling.backbones import STAGES, load_backbone, preprocessing_of
from modelling.bin_model import BinModel
from modelling.head import CountHead
from modelling.onnx_export import INPUT, export_features, export_logits
from modelling.quantisation import quantise
from modelling.ranges import ranges_of_maps
from modelling.rounding import LARGEST_WEIGHT, with_sums_kept
from photo import WHOLE, prepare
from shards import Sample
from silent_openvino import openvino

NAME = "efficientnet_lite0"
PIXELS = preprocessing_of(NAME, WHOLE)


@dataclass(frozen=True)
class Graphs:
    """A Lite0 with ImageNet weights and a head that nobody trained."""

    model: BinModel
    fp32: Path
    int8: Path


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Graphs:
    folder = tmp_path_factory.mktemp("lite0")
    backbone = load_backbone(NAME, "packaged", 0, JobContainer(folder / "job"), STAGES)
    head = _head(backbone.width)
    model = BinModel(backbone, head, PIXELS).eval()
    export_features(model, folder / "features.onnx")
    features = _run(folder / "features.onnx", _photos(range(100, 140)))
    head.standardise_on(torch.from_numpy(features), backbone.groups)
    export_logits(model, folder / "fp32.onnx")
    samples = [Sample(f"{seed:05}", _photo(seed), seed % 5 + 1) for seed in range(16)]
    quantise(folder / "fp32.onnx", folder / "int8.onnx", samples, PIXELS)
    return Graphs(model, folder / "fp32.onnx", folder / "int8.onnx")


def _head(width: int) -> CountHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CountHead(width)


def _photo(seed: int) -> bytes:
    stream = io.BytesIO()
    render_bin(seed, seed % 5 + 1).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _photos(seeds: range) -> NDArray[np.uint8]:
    return np.stack([prepare(_photo(seed), PIXELS) for seed in seeds])


def _run(graph: Path, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
    core = openvino.Core()
    compiled = compile_graph(core, core.read_model(graph), "fp32", {"INFERENCE_NUM_THREADS": 1})
    return np.concatenate([np.array(compiled({INPUT: photo[None]})[0]) for photo in photos])


def test_every_convolution_of_a_lite0_is_rounded_and_its_head_is_not(graphs: Graphs) -> None:
    nodes = onnx.load(graphs.int8).graph.node
    rounded = {output for node in nodes if node.op_type == "DequantizeLinear" for output in node.output}
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    assert len(convolutions) == 49
    assert all(rounded.issuperset(node.input) for node in convolutions)
    assert not [node.name for node in nodes if node.op_type == "Gemm" and rounded.intersection(node.input)]


def test_the_answers_of_a_rounded_lite0_are_those_of_its_floats(graphs: Graphs) -> None:
    photos = _photos(range(200, 240))
    fp32, int8 = _run(graphs.fp32, photos), _run(graphs.int8, photos)
    spread = fp32.std(axis=0)
    # With weights rounded one by one, 1.4 and 0.9 times the spread.
    assert (np.abs((int8 - fp32).mean(axis=0)) < 0.25 * spread).all()
    assert ((int8 - fp32).std(axis=0) < 0.4 * spread).all()


def test_the_bytes_of_a_photo_are_not_rounded_again(graphs: Graphs) -> None:
    graph = onnx.load(graphs.int8).graph
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    turned = next(node for node in graph.node if node.op_type == "Transpose").output[0]
    (_, scale, zero) = next(node.input for node in graph.node if node.input[:1] == [turned])
    assert (float(constants[scale]), int(constants[zero])) == (1 / 128, 127)


def test_the_ranges_are_those_that_onnx_runtime_measures(graphs: Graphs, tmp_path: Path) -> None:
    batches = [_photos(range(200, 203)), _photos(range(203, 204))]
    calibrator = create_calibrator(graphs.fp32, augmented_model_path=str(tmp_path / "augmented.onnx"))
    for batch in batches:
        calibrator.collect_data(Batches([batch]))
    measured = calibrator.compute_data()
    exact = onnx.load(graphs.fp32)
    found = ranges_of_maps(exact, batches)
    before = {node.input[0]: node.output[0] for node in exact.graph.node if node.op_type == "Clip"}
    assert before.keys() < found.keys(), "what a ReLU6 reads has the range of what it makes"
    for name, limits in found.items():
        least, greatest = (float(limit[0]) for limit in measured[before.get(name, name)].range_value)
        assert np.allclose((limits.least, limits.greatest), (least, greatest), rtol=1e-5, atol=1e-5), name


def test_the_scales_of_filters_are_those_that_onnx_runtime_chooses(
    graphs: Graphs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = onnx.load(graphs.fp32)
    constants = {each.name: each for each in exact.graph.initializer}
    first = next(node.input[1] for node in exact.graph.node if node.op_type == "Conv")
    dead = onnx.numpy_helper.to_array(constants[first]).copy()
    dead[0] = 0
    constants[first].CopyFrom(onnx.numpy_helper.from_array(dead, first))
    onnx.save(exact, tmp_path / "fp32.onnx")
    photos = [Sample("00100", _photo(100), 1)]
    quantise(tmp_path / "fp32.onnx", tmp_path / "ours.onnx", photos, PIXELS)
    scales = quantisation._scales_of_filters(exact)
    assert len(scales) == 49 and scales[first][0]["scale"] == 1
    monkeypatch.setattr(quantisation, "_scales_of_filters", lambda _exact: {})
    quantise(tmp_path / "fp32.onnx", tmp_path / "theirs.onnx", photos, PIXELS)
    assert (tmp_path / "ours.onnx").read_bytes() == (tmp_path / "theirs.onnx").read_bytes()


class Batches(CalibrationDataReader):  # type: ignore[misc]
    """Photos as ONNX Runtime asks for them."""

    def __init__(self, batches: list[NDArray[np.uint8]]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return {INPUT: self._batches.pop()} if self._batches else None


def test_the_exported_graph_pads_inside_its_convolutions_and_answers_like_the_network(graphs: Graphs) -> None:
    assert "Pad" not in {node.op_type for node in onnx.load(graphs.fp32).graph.node}
    photos = _photos(range(200, 204))
    with torch.inference_mode():
        expected = graphs.model(torch.from_numpy(photos)).numpy()
    assert np.abs(_run(graphs.fp32, photos) - expected).max() < 1e-3


def test_rounded_filters_keep_their_sums() -> None:
    random = np.random.default_rng(0)
    scales = random.uniform(0.01, 1, 6)
    exact = random.uniform(-60, 60, (6, 4, 5, 5)) * scales.reshape(-1, 1, 1, 1)
    # All of a filter's weights lie in the same half of a step.
    exact[0] = (np.floor(exact[0] / scales[0]) + 0.4) * scales[0]
    steps = exact / scales.reshape(-1, 1, 1, 1)
    rounded = np.round(steps).astype(np.int8)
    kept = with_sums_kept(exact, rounded, scales)
    assert np.abs((rounded - steps).sum(axis=(2, 3))).max() > 5
    assert np.abs((kept - steps).sum(axis=(2, 3))).max() <= 0.5 + 1e-9
    assert np.abs(kept - steps).max() < 1


def test_rounded_weights_stay_within_seven_bits() -> None:
    scales = np.ones(1)
    exact = np.full((1, 1, 3, 3), LARGEST_WEIGHT + 0.4)
    kept = with_sums_kept(exact, np.full((1, 1, 3, 3), LARGEST_WEIGHT, dtype=np.int8), scales)
    assert kept.max() == LARGEST_WEIGHT


def test_filters_of_one_weight_stay_as_they_are() -> None:
    exact = np.random.default_rng(0).uniform(-60, 60, (8, 8, 1, 1))
    rounded = np.round(exact).astype(np.int8)
    assert (with_sums_kept(exact, rounded, np.ones(8)) == rounded).all()
