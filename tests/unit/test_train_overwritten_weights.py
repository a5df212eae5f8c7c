"""Weights that were overwritten at their address: Embed takes over no feature of the earlier ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import embed
from features.files import read_split
from modelling.backbones import build_backbone
from tests.training_data import write_split


def write_weights(path: Path, seed: int) -> None:
    save_file(build_backbone("small", seed).network.state_dict(), path)


@pytest.mark.parametrize(("fingerprint", "as_before"), [("first", True), ("second", False)])
def test_finished_parts_belong_to_the_weights_that_were_found(
    tmp_path: Path, fingerprint: str, as_before: bool
) -> None:
    """The second job finds the parts of the first, as a job does whose shards are those of the same ingest."""
    write_split(tmp_path, "train", 8)
    write_split(tmp_path, "validation", 3, first=500)
    weights = tmp_path / "weights.safetensors"
    flags = ["--backbone", "small", "--weights", str(weights), "--output", str(tmp_path / "out")]
    flags += ["--train", str(tmp_path / "train"), "--validation", str(tmp_path / "validation")]

    def features(found: str) -> torch.Tensor:
        embed.main([*flags, "--weights-fingerprint", found])
        return read_split(tmp_path / "out" / "features", "train").features.clone()

    write_weights(weights, seed=1)
    first = features("first")
    write_weights(weights, seed=2)
    assert torch.equal(features(fingerprint), first) == as_before
