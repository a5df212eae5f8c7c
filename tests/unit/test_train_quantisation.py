"""int8 graphs of real networks: what may be rounded, and what may not."""

from __future__ import annotations

from pathlib import Path

import onnx

from modelling.backbones import STAGES, build_backbone, preprocessing_of
from modelling.bin_model import BinModel
from modelling.head import CountHead
from modelling.onnx_export import export_logits
from modelling.quantisation import quantise
from photo import WHOLE
from shards import Sample
from tests.training_data import jpeg


def test_the_first_block_of_a_lite0_stays_in_floats_and_no_other_does(tmp_path: Path) -> None:
    name = "efficientnet_lite0"
    preprocessing = preprocessing_of(name, WHOLE)
    backbone = build_backbone(name, 0, STAGES)
    export_logits(BinModel(backbone, CountHead(backbone.width), preprocessing).eval(), tmp_path / "fp32.onnx")
    photos = [Sample(f"{seed:05}", jpeg(seed % 5 + 1, seed), seed % 5 + 1) for seed in range(8)]
    quantise(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", photos, preprocessing)
    nodes = onnx.load(tmp_path / "int8.onnx").graph.node
    rounded = {output for node in nodes if node.op_type == "DequantizeLinear" for output in node.output}
    convolutions = {node.name.split("/network/")[1]: node.input for node in nodes if node.op_type == "Conv"}
    in_floats = {name for name, inputs in convolutions.items() if not rounded.intersection(inputs)}
    assert in_floats == {"_conv_stem/Conv", "_blocks.0/_depthwise_conv/Conv", "_blocks.0/_project_conv/Conv"}
    assert len(convolutions) == 49
