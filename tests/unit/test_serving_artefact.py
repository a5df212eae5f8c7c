"""The model's archive, folder, description and graph: what the server refuses, and with which message."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx.external_data_helper import set_external_data

from inference import input_fn, model_fn, predict_fn
from serving.artefact import Artefact, ArtefactError, Description, unpack
from serving.onnx_scan import NotOnnx, keeps_weights_outside
from tests import grey_model


def test_every_missing_field_is_named(tmp_path: Path) -> None:
    for field in ("schema", "classes", "preprocessing", "temperature", "precision"):
        fields = grey_model.description()
        del fields[field]
        with pytest.raises(ArtefactError, match=field):
            Description.parse(json.dumps(fields))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": []}, "classes"),
        ({"classes": [1, 1]}, "repeat"),
        ({"classes": ["1"]}, "classes"),
        ({"classes": [True, 2]}, "classes"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"precision": "fp64"}, "precision"),
        ({"preprocessing": {"shorter_side": 10, "crop": 224, "mean": [0, 0, 0], "std": [1, 1, 1]}}, "crop"),
        ({"preprocessing": 5}, "serving.json"),
    ],
)
def test_a_description_that_cannot_be_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ArtefactError, match=words):
        Description.parse(json.dumps(grey_model.description(**change)))


def test_a_description_that_is_no_json_is_refused(tmp_path: Path) -> None:
    folder = grey_model.write(tmp_path / "model")
    for content in (b"{", b"\xff\xfe", b"[]"):
        (folder / "serving.json").write_bytes(content)
        with pytest.raises(ArtefactError, match=r"serving\.json"):
            Artefact.read(folder)


@pytest.mark.parametrize("name", ["model.onnx", "serving.json"])
def test_a_folder_with_a_file_missing_linked_or_too_large_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = grey_model.write(tmp_path / "model")
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    with pytest.raises(ArtefactError, match="is missing"):
        Artefact.read(folder)
    (tmp_path / "elsewhere").write_bytes(content)
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtefactError, match="is a link"):
        Artefact.read(folder)
    (folder / name).unlink()
    (folder / name).write_bytes(content)
    monkeypatch.setattr(f"serving.artefact.MAX_{'MODEL' if name == 'model.onnx' else 'DESCRIPTION'}_BYTES", 10)
    with pytest.raises(ArtefactError, match="more than the 10"):
        Artefact.read(folder)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no folder"):
        Artefact.read(tmp_path / "nowhere")


def test_a_graph_with_another_interface_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="it must take uint8"):
        model_fn(grey_model.write(tmp_path / "a", onnx=grey_model.graph(crop=200)))
    with pytest.raises(ArtefactError, match="classes"):
        model_fn(grey_model.write(tmp_path / "b", onnx=grey_model.graph(classes=4)))


def test_weights_outside_the_graph_are_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(np.ones(15, dtype=np.float32).tobytes())
    for number, location in enumerate(("../secret", str(secret), "secret")):
        graph = onnx.load_from_string(grey_model.graph())
        weights = next(tensor for tensor in graph.graph.initializer if tensor.name == "weights")
        set_external_data(weights, location)
        weights.ClearField("raw_data")
        folder = grey_model.write(tmp_path / str(number), onnx=graph.SerializeToString())
        (folder / "secret").write_bytes(secret.read_bytes())
        monkeypatch.chdir(folder)
        with pytest.raises(ArtefactError, match="outside itself"):
            model_fn(folder)


def test_weights_outside_are_found_wherever_a_graph_can_hold_them() -> None:
    tensor = numpy_helper.from_array(np.ones(3, dtype=np.float32), "weights")
    set_external_data(tensor, "elsewhere")
    body = onnx.helper.make_graph([], "body", [], [], [tensor])
    for node in (
        onnx.helper.make_node("Constant", [], ["y"], value=tensor),
        onnx.helper.make_node("If", ["x"], ["y"], then_branch=body, else_branch=body),
    ):
        model = onnx.helper.make_model(onnx.helper.make_graph([node], "graph", [], []))
        assert keeps_weights_outside(model.SerializeToString())
    assert not keeps_weights_outside(grey_model.graph())


@given(data=st.binary(max_size=300))
def test_bytes_that_are_no_onnx_model_are_called_that(data: bytes) -> None:
    for content in (data, grey_model.graph()[: len(data)]):
        try:
            assert keeps_weights_outside(content) in (True, False)
        except NotOnnx as error:
            assert str(error)


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = target
    return member


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (entry("../evil"), "outside"),
        (entry("/etc/evil"), "outside"),
        (entry("a/../../evil"), "outside"),
        (entry("../model-sibling/evil"), "outside"),
        (entry("link", tarfile.SYMTYPE, "/etc/passwd"), "link"),
        (entry("link", tarfile.LNKTYPE, "model.onnx"), "link"),
        (entry("device", tarfile.CHRTYPE), "link or a device"),
        (entry("pipe", tarfile.FIFOTYPE), "link or a device"),
    ],
)
def test_a_hostile_archive_is_refused_before_anything_is_written(
    tmp_path: Path, member: tarfile.TarInfo, words: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    archive = tar_of(tmp_path / "model.tar.gz", (entry("model.onnx"), b"x"), (member, b""))
    with pytest.raises(ArtefactError, match=words):
        unpack(archive, folder)
    assert list(folder.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.tar.gz"]


def test_an_archive_larger_than_any_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = tar_of(tmp_path / "many.tar.gz", *((entry(f"file-{number}"), b"") for number in range(65)))
    with pytest.raises(ArtefactError, match="more than"):
        unpack(many, tmp_path / "out")
    monkeypatch.setattr("serving.artefact.MAX_MODEL_BYTES", 1000)
    monkeypatch.setattr("serving.artefact.MAX_DESCRIPTION_BYTES", 0)
    with pytest.raises(ArtefactError, match="more than"):
        unpack(tar_of(tmp_path / "large.tar.gz", (entry("model.onnx"), bytes(1001))), tmp_path / "out")


def test_an_archive_that_is_none_or_broken_is_refused(tmp_path: Path) -> None:
    whole = grey_model.archive(tmp_path / "model.tar.gz").read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2]):
        (tmp_path / "broken.tar.gz").write_bytes(content)
        with pytest.raises(ArtefactError, match="cannot be unpacked"):
            unpack(tmp_path / "broken.tar.gz", tmp_path / "out")


@given(place=st.integers(0, 2**20), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_model_folder_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    folder = grey_model.write(tmp_path_factory.mktemp("model"))
    whole = Artefact.read(folder)
    for name in ("model.onnx", "serving.json"):
        content = (folder / name).read_bytes()
        flipped = bytearray(content)
        flipped[place % len(content)] ^= 1 << bit
        (folder / name).write_bytes(flipped)
        try:
            assert Artefact.read(folder) == whole
            assert name == "serving.json"
        except ArtefactError as error:
            assert name in str(error)
        (folder / name).write_bytes(content)


@given(place=st.integers(0, 2**20), bit=st.integers(0, 8))
def test_a_damaged_archive_gives_the_model_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("model")
    whole = grey_model.archive(folder / "model.tar.gz").read_bytes()
    unpack(folder / "model.tar.gz", folder / "whole")
    damaged = bytearray(whole)
    if bit == 8:
        del damaged[place % len(whole) :]
    else:
        damaged[place % len(whole)] ^= 1 << bit
    (folder / "model.tar.gz").write_bytes(damaged)
    try:
        unpack(folder / "model.tar.gz", folder / "found")
        assert Artefact.read(folder / "found") == Artefact.read(folder / "whole")
    except ArtefactError as error:
        assert str(error)


def test_a_model_of_another_evaluation_is_refused(tmp_path: Path) -> None:
    folder = grey_model.write(tmp_path / "model")
    other = grey_model.write(tmp_path / "other", onnx=grey_model.graph(poison=1.0))
    (folder / "model.onnx").write_bytes((other / "model.onnx").read_bytes())
    with pytest.raises(ArtefactError, match=r"model\.onnx is damaged"):
        model_fn(folder)
    (folder / "serving.json").write_text(json.dumps(grey_model.description()))
    with pytest.raises(ArtefactError, match=r"serving\.json carries no digest of itself; .*evaluate the model again"):
        model_fn(folder)


def test_a_pickle_in_the_artefact_is_dead_weight(tmp_path: Path) -> None:
    folder = grey_model.write(tmp_path / "model")
    (folder / "model.pkl").write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR.")
    (folder / "inference.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')")
    model = model_fn(folder, threads=1)
    assert predict_fn(input_fn(grey_model.photo(5), "image/jpeg"), model).results[0]
    assert not (tmp_path / "owned").exists()
