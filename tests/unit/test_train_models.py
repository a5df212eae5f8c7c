"""A saved model is read as it was saved: damaged weights, a damaged card and a card of other weights are refused."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jobs.archive import open_archive, write_archive
from jobs.container import JobError
from modelling.backbones import build_backbone
from modelling.bin_model import BinModel, ModelCard, combine_saved, load_model, save_model
from modelling.head import CountHead
from photo import Preprocessing

FILES = ("model.safetensors", "model.json")


def saved(folder: Path, seed: int = 0) -> Path:
    """A small model, saved."""
    torch.manual_seed(seed)
    backbone = build_backbone("small", seed)
    save_model(BinModel(backbone, CountHead(64), Preprocessing()), ModelCard("small", "none", "head"), folder)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undamaged model; read only."""
    return saved(tmp_path_factory.mktemp("models") / "whole")


@pytest.fixture(scope="module")
def packed(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Its archive, compressed as SageMaker packs a model."""
    path = tmp_path_factory.mktemp("models") / "model.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in FILES:
            archive.add(whole / name, name)
    return path.read_bytes()


def same(folder: Path, other: Path) -> bool:
    """Whether the two folders hold the same model."""
    (a, card), (b, other_card) = load_model(folder), load_model(other)
    return card == other_card and all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


@given(st.sampled_from(FILES), st.integers(0, 2**20), st.integers(0, 8))
def test_a_damaged_model_is_refused_by_name(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, name: str, place: int, bit: int
) -> None:
    damaged = tmp_path_factory.mktemp("models") / "damaged"
    shutil.copytree(whole, damaged)
    content = bytearray((whole / name).read_bytes())
    if bit == 8:
        del content[place % len(content) :]
    else:
        content[place % len(content)] ^= 1 << bit
    (damaged / name).write_bytes(content)
    try:
        assert same(whole, damaged) and name == "model.json"
    except JobError as error:
        assert name in str(error)


@given(place=st.integers(0, 2**20), bit=st.integers(0, 8))
def test_a_damaged_archive_gives_the_model_or_is_refused(
    whole: Path, packed: bytes, tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("models")
    damaged = bytearray(packed)
    if bit == 8:
        del damaged[place % len(damaged) :]
    else:
        damaged[place % len(damaged)] ^= 1 << bit
    (folder / "model.tar.gz").write_bytes(damaged)
    try:
        open_archive(folder / "model.tar.gz", folder / "opened")
        assert same(whole, folder / "opened")
    except JobError as error:
        assert "model." in str(error)


def test_a_model_is_read_from_a_file_that_cannot_be_mapped(tmp_path: Path) -> None:
    """As from some FastFile channels. A FIFO cannot be mapped either, and gives its bytes once."""
    whole, piped = saved(tmp_path / "whole"), saved(tmp_path / "piped")
    (piped / FILES[0]).unlink()
    os.mkfifo(piped / FILES[0])
    writer = threading.Thread(
        target=lambda: (piped / FILES[0]).write_bytes((whole / FILES[0]).read_bytes()), daemon=True
    )
    writer.start()
    model, card = load_model(piped)
    expected, expected_card = load_model(whole)
    assert card == expected_card
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in model.state_dict().items())


def test_nothing_that_jobs_read_is_mapped(repository: Path) -> None:
    """`load_file`, `safe_open` and `mmap` map a file; a channel's files are read from front to back."""
    mapped = re.compile(r"\b(load_file|safe_open|mmap|memmap)\b")
    sources = {path.name: path.read_text() for path in (repository / "training_code").rglob("*.py")}
    assert [name for name, text in sources.items() if mapped.search(text)] == []


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    model, other = saved(tmp_path / "model"), saved(tmp_path / "other", seed=1)
    shutil.copy(other / "model.safetensors", model)
    with pytest.raises(JobError, match=r"model\.safetensors in .* is damaged or of another model"):
        load_model(model)
    with pytest.raises(JobError, match="is damaged or of another model"):
        combine_saved(model, {}, ModelCard("small", "none", "head"), tmp_path / "combined")
    (model / "model.json").write_text('{"schema": 1}')
    with pytest.raises(JobError, match=r"model\.json carries no digest of itself .*; make the model again"):
        load_model(model)


def test_an_archive_of_the_same_files_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        model = saved(tmp_path / name)
        write_archive(tmp_path / f"{name}.tar.gz", {file: model / file for file in FILES})
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
