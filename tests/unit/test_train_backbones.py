"""Weights come from the source in the setting, fit the network, and are random only with `none`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import boto3
import numpy as np
import pytest
import torch
from boto3.exceptions import Boto3Error, RetriesExceededError
from botocore.exceptions import ClientError, EndpointConnectionError
from safetensors.torch import save_file
from torch import Tensor

import modelling.weights
from features.frozen_backbone import calibrate_random_backbone
from jobs.container import JobContainer, JobError
from modelling import efficientnet_lite
from modelling.backbones import Backbone, build_backbone, load_backbone
from modelling.bin_model import BinModel
from photo import Preprocessing
from stacks.backbones import BACKBONES, PACKAGED_BACKBONES, SMALL_BACKBONE, TORCHVISION_BACKBONES
from stacks.settings.training import TrainingSettings

Weights = dict[str, Tensor]


@pytest.fixture
def container(tmp_path: Path) -> JobContainer:
    return JobContainer(tmp_path / "job")


@pytest.fixture
def weights() -> Weights:
    """Weights of `small` that no seed of the tests gives."""
    return build_backbone("small", 12345).network.state_dict()


def same(backbone: Backbone, weights: Weights) -> bool:
    return all(torch.equal(value, weights[name]) for name, value in backbone.network.state_dict().items())


def test_random_weights_come_from_the_seed() -> None:
    first, again, other = (build_backbone("small", seed) for seed in (3, 3, 4))
    assert same(again, first.network.state_dict())
    assert not same(other, first.network.state_dict())


def test_building_a_backbone_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    build_backbone("small", 7)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "small"])
def test_a_backbone_gives_features_of_its_width(name: str) -> None:
    backbone = build_backbone(name, 0).eval()
    with torch.inference_mode():
        assert backbone(torch.zeros(2, 3, 64, 64)).shape == (2, backbone.width)


def test_every_way_of_giving_weights_gives_them(tmp_path: Path, container: JobContainer, weights: Weights) -> None:
    folder = container.base / "input" / "data" / "weights"
    folder.mkdir(parents=True)
    save_file(weights, folder / "mine.safetensors")
    torch.save({f"module.{name}": value for name, value in weights.items()}, tmp_path / "mine.pth")
    for asked in ("channel", str(folder / "mine.safetensors"), str(tmp_path / "mine.pth")):
        assert same(load_backbone("small", asked, 0, container), weights), asked


def test_weights_from_s3(
    tmp_path: Path, container: JobContainer, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Store:
        def download_file(self, bucket: str, key: str, path: str) -> None:
            assert (bucket, key) == ("models", "there/mine.safetensors")
            save_file(weights, path)

        def head_object(self, **asked: str) -> dict[str, str]:
            assert asked == {"Bucket": "models", "Key": "there/mine.safetensors"}
            return {"ETag": '"of-several-parts-2"'}

    monkeypatch.setattr(boto3, "client", lambda service: Store() if service == "s3" else None)
    assert same(load_backbone("small", "s3://models/there/mine.safetensors", 0, container), weights)


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "403", "Message": "Forbidden"}}, "HeadObject"),
        EndpointConnectionError(endpoint_url="https://s3.us-east-1.amazonaws.com"),
        RetriesExceededError(Boto3Error("cut")),
    ],
    ids=["refused", "unreachable", "cut"],
)
def test_weights_that_s3_does_not_give_are_named(
    error: Exception, container: JobContainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Store:
        def download_file(self, bucket: str, key: str, path: str) -> None:
            raise error

    monkeypatch.setattr(boto3, "client", lambda service: Store())
    with pytest.raises(JobError, match=r"weights s3://models/mine\.safetensors could not be read: "):
        load_backbone("small", "s3://models/mine.safetensors", 0, container)


def test_a_classifier_in_the_file_is_ignored(tmp_path: Path, container: JobContainer, weights: Weights) -> None:
    save_file({**weights, "fc.weight": torch.zeros(1000, 64)}, tmp_path / "whole.safetensors")
    assert same(load_backbone("small", str(tmp_path / "whole.safetensors"), 0, container), weights)


def renamed(weights: Weights) -> Weights:
    return {f"other.{name}": value for name, value in weights.items()}


def reshaped(weights: Weights) -> Weights:
    name = next(iter(weights))
    return {**weights, name: torch.zeros(1, 2, 3)}


def poisoned(weights: Weights) -> Weights:
    name = next(iter(weights))
    return {**weights, name: torch.full_like(weights[name], torch.nan)}


@pytest.mark.parametrize(
    ("damage", "message"),
    [(renamed, "tensors are missing"), (reshaped, "has shape"), (poisoned, "not finite")],
)
def test_foreign_weights_are_refused(
    damage: Callable[[Weights], Weights], message: str, tmp_path: Path, container: JobContainer, weights: Weights
) -> None:
    save_file(damage(weights), tmp_path / "bad.safetensors")
    with pytest.raises(JobError, match=message):
        load_backbone("small", str(tmp_path / "bad.safetensors"), 0, container)


def test_a_weights_file_that_is_no_dictionary_of_tensors_is_refused(tmp_path: Path, container: JobContainer) -> None:
    torch.save({"epoch": 3}, tmp_path / "checkpoint.pth")
    with pytest.raises(JobError, match="no plain dictionary of tensors"):
        load_backbone("small", str(tmp_path / "checkpoint.pth"), 0, container)


class Attack:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch attacked",)


def test_a_hostile_pickle_is_not_run(tmp_path: Path, container: JobContainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(Attack(), tmp_path / "hostile.pth")
    with pytest.raises(JobError, match="cannot be read"):
        load_backbone("small", str(tmp_path / "hostile.pth"), 0, container)
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("files", [[], ["a.pth", "b.safetensors"]])
def test_the_channel_must_hold_one_file(files: list[str], container: JobContainer) -> None:
    folder = container.base / "input" / "data" / "weights"
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).touch()
    with pytest.raises(JobError, match="must hold one file"):
        load_backbone("small", "channel", 0, container)


def test_missing_weights_never_become_random_ones(container: JobContainer, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="channel 'weights' is missing"):
        load_backbone("small", "channel", 0, container)
    with pytest.raises(JobError, match="is no file; give none, torchvision"):
        load_backbone("small", str(tmp_path / "absent.pth"), 0, container)
    with pytest.raises(JobError, match="torchvision has no weights for backbone 'small'"):
        load_backbone("small", "torchvision", 0, container)


def test_imagenet_weights_that_cannot_be_downloaded_are_an_error_with_cures(
    container: JobContainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import urllib.request

    def unreachable(*_arguments: object, **_options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    with pytest.raises(JobError, match=r"could not be downloaded.*channel.*s3.*none"):
        load_backbone("resnet18", "torchvision", 0, container)


def test_an_unknown_backbone_names_those_that_are_known() -> None:
    with pytest.raises(JobError, match="'vgg' is not known; choose one of resnet18"):
        build_backbone("vgg", 0)
    assert "resnet50" in BACKBONES


def test_calibration_makes_a_random_deep_network_distinguish_photos() -> None:
    photos = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)

    def spread(model: BinModel) -> float:
        with torch.inference_mode():
            features = model.backbone(model.normalise(torch.from_numpy(photos)))
        return float((features.std(dim=0) / features.abs().mean(dim=0).clamp(min=1e-9)).median())

    model = BinModel(build_backbone("resnet18", 0), torch.nn.Identity(), Preprocessing()).eval()
    before = spread(model)
    assert calibrate_random_backbone(model, [photos])
    assert spread(model) > 2 * before
    assert not model.training


def test_a_network_without_batch_norms_needs_no_calibration() -> None:
    model = BinModel(build_backbone("small", 0), torch.nn.Identity(), Preprocessing())
    assert not calibrate_random_backbone(model, [])


def test_the_settings_offer_the_networks_that_exist() -> None:
    offered = get_args(TrainingSettings.model_fields["backbone"].annotation)
    assert offered == BACKBONES
    assert set(offered) - set(TORCHVISION_BACKBONES) == {SMALL_BACKBONE, *PACKAGED_BACKBONES}
    assert set(PACKAGED_BACKBONES) == set(efficientnet_lite.NAMES) == set(modelling.weights._PACKAGED)
