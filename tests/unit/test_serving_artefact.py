"""The model's archive, folder, description and graph: what the server refuses, and with which message."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx.external_data_helper import set_external_data, uses_external_data

from digests import seal
from inference import input_fn, model_fn, predict_fn
from server import load
from serving.answers import answer
from serving.artefact import Artefact, ArtefactError, Description, unpack
from serving.onnx_scan import FIELDS, PATHS, NotOnnx, keeps_weights_outside
from tests import grey_model


@given(
    fields=st.fixed_dictionaries(
        {"temperature": st.floats() | st.integers() | st.text() | st.none(), "classes": st.lists(st.integers())},
        optional={
            "precision": st.sampled_from(["fp32", "int8", "no"]),
            "answer": st.text(),
            "preprocessing": st.none(),
        },
    )
)
def test_a_description_serves_numbers_or_is_refused(fields: dict[str, Any]) -> None:
    try:
        description = Description.parse(json.dumps(grey_model.description(**fields)))
    except ArtefactError as error:
        assert "serving.json" in str(error)
    else:
        scores = np.linspace(-80, 80, len(description.classes), dtype=np.float32)
        found = answer(scores, description)
        assert sum(found.probabilities.values()) == pytest.approx(1) and 0 <= found.entropy < 10


@pytest.mark.parametrize("nested", ['{"a": ' * 100_000 + "1" + "}" * 100_000, "[" * 100_000])
def test_a_description_that_is_nested_deeply_is_refused(nested: str) -> None:
    with pytest.raises(ArtefactError, match="serving"):
        Description.parse(nested)


def test_a_description_must_be_one_object() -> None:
    with pytest.raises(ArtefactError, match=r"serving\.json must hold one object"):
        Description.parse("[1]")


def test_a_description_that_names_no_graph_is_refused(tmp_path: Path) -> None:
    folder = grey_model.write(tmp_path / "model")
    (folder / "serving.json").write_bytes(seal({"schema": 1}))
    with pytest.raises(ArtefactError, match=r"serving\.json: the field 'graph' is missing"):
        Artefact.read(folder)


def test_every_missing_field_is_named(tmp_path: Path) -> None:
    for field in ("schema", "classes", "preprocessing", "temperature", "precision"):
        fields = grey_model.description()
        del fields[field]
        with pytest.raises(ArtefactError, match=field):
            Description.parse(json.dumps(fields))


def pixels(**changes: object) -> dict[str, object]:
    fields = {"shorter_side": 256, "crop": 224, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2], "fit": "crop"}
    return {"preprocessing": fields | changes}


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
        ({"schema": True}, "schema"),
        ({"schema": 1.0}, "schema"),
        ({"classes": list(range(101))}, "classes"),
        ({"classes": [1, 1001]}, "classes"),
        ({"classes": 5}, "serving.json"),
        ({"temperature": 1e-320}, "temperature"),
        ({"temperature": 1e3}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"precision": ["fp32"]}, "precision"),
        ({"answer": "least-probable"}, "answer"),
        ({"answer": None}, "answer"),
        ({"answer": "median", "classes": [5, 4, 3, 2, 1]}, "ascending"),
        (pixels(crop=224.5), "crop"),
        (pixels(crop=True), "crop"),
        (pixels(crop=0), "crop"),
        (pixels(shorter_side=1025), "shorter_side"),
        (pixels(mean=[0, 0, float("nan")]), "mean"),
        (pixels(mean=[0, 0, 1.5]), "mean"),
        (pixels(mean=[0, 0]), "mean"),
        (pixels(mean="abc"), "mean"),
        (pixels(std=[1, 1, 0]), "std"),
        (pixels(std=[1, 1, 1e9]), "std"),
        (pixels(std=[1, 1, "1"]), "std"),
        (pixels(fit="stretch"), "fit"),
    ],
)
def test_a_description_that_cannot_be_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ArtefactError, match=words):
        Description.parse(json.dumps(grey_model.description(**change)))


def test_a_description_that_is_no_json_is_refused(tmp_path: Path) -> None:
    folder = grey_model.write(tmp_path / "model")
    nested = b'{"a": ' * 100_000 + b"1" + b"}" * 100_000
    for content in (b"{", b"\xff\xfe", b"[]", "{}".encode("utf-16"), nested, b"[" * 100_000, b"1" * 5000):
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


def two_inputs() -> bytes:
    """The graph of the grey model with one more input."""
    graph = onnx.load_from_string(grey_model.graph())
    graph.graph.input.append(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1]))
    graph.graph.node[1].input[0] = "sum"
    graph.graph.node.insert(1, onnx.helper.make_node("Add", ["pixels", "more"], ["sum"]))
    return bytes(graph.SerializeToString())


def unknown_operator() -> bytes:
    """The graph of the grey model with an operator that nobody has."""
    graph = onnx.load_from_string(grey_model.graph())
    graph.graph.node[0].op_type = "Divine"
    return bytes(graph.SerializeToString())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no ONNX model: there is no graph in it"),
        (b"no model", "is no ONNX model: "),
        (unknown_operator(), "cannot be loaded: .*No conversion rule found for operations: Divine"),
        (two_inputs(), "must have one input and one output"),
    ],
    ids=["empty", "text", "unknown operator", "two inputs"],
)
def test_a_graph_that_cannot_be_served_is_refused_by_name(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(ArtefactError, match=rf"model\.onnx {said}"):
        model_fn(grey_model.write(tmp_path / "model", onnx=content))


def failing(kind: str) -> bytes:
    """The graph of the grey model with an end that fails on a photo: too many answers, or a shape that cannot be."""
    graph = onnx.load_from_string(grey_model.graph())
    graph.graph.node[-1].output[0] = "one"
    if kind == "twice":
        graph.graph.node.append(onnx.helper.make_node("Concat", ["one", "one"], ["logits"], axis=0))
    else:
        # So many rows as the photo is bright.
        graph.graph.initializer.append(numpy_helper.from_array(np.array([5], dtype=np.int64), "five"))
        graph.graph.node.extend(
            [
                onnx.helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[0, 1, 2, 3], keepdims=0),
                onnx.helper.make_node("Cast", ["mean"], ["whole"], to=onnx.TensorProto.INT64),
                onnx.helper.make_node("Unsqueeze", ["whole", "zero"], ["rows"]),
                onnx.helper.make_node("Concat", ["rows", "five"], ["shape"], axis=0),
                onnx.helper.make_node("Reshape", ["one", "shape"], ["logits"]),
            ]
        )
        graph.graph.initializer.append(numpy_helper.from_array(np.array([0], dtype=np.int64), "zero"))
    return bytes(graph.SerializeToString())


@pytest.mark.parametrize(
    ("kind", "said"),
    [("twice", r"the graph gave scores \(2, 5\) for one photo"), ("bright", "the graph fails: .*[Rr]eshape")],
)
def test_a_graph_that_fails_on_a_photo_is_not_served(tmp_path: Path, kind: str, said: str) -> None:
    folder = grey_model.write(tmp_path / "model", onnx=failing(kind))
    with pytest.raises(ArtefactError, match=f"the model cannot answer the self-test photo: {said}"):
        load(folder)


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


def test_the_scan_knows_the_fields_of_onnx_and_no_other() -> None:
    """A new version of ONNX with a new field makes this fail: decide whether it can lead to a tensor."""
    numbers = onnx.ModelProto.DESCRIPTOR.fields[0]
    varints = {numbers.TYPE_INT32, numbers.TYPE_INT64, numbers.TYPE_UINT64, numbers.TYPE_ENUM}
    wires = {numbers.TYPE_FLOAT: 5, numbers.TYPE_DOUBLE: 1, **dict.fromkeys(varints, 0)}
    assert set(FIELDS) == set(PATHS)
    found = {}
    messages = [onnx.ModelProto.DESCRIPTOR]
    for message in messages:
        found[message.name] = {
            field.number: {wires.get(field.type, 2)} | ({2} if field.is_repeated else set()) for field in message.fields
        }
        messages += {field.message_type for field in message.fields if field.message_type} - {*messages}
    assert {name: found[name] for name in FIELDS} == FIELDS
    for message in messages:
        inside = {field.number: field.message_type.name for field in message.fields if field.message_type}
        leading = {number: name for number, name in inside.items() if name in FIELDS}
        assert leading == PATHS.get(message.name, {}), "a message that leads to a tensor is on a path"


def varint(value: int, size: int = 1) -> bytes:
    """A number of protobuf in at least so many bytes; more than it needs are its longer forms."""
    parts: list[int] = []
    while value or len(parts) < size:
        parts.append(value & 0x7F)
        value >>= 7
    return bytes(part | 0x80 for part in parts[:-1]) + bytes(parts[-1:])


@pytest.mark.parametrize(
    "tag",
    [
        varint(13 << 3 | 2, 5),
        varint(13 << 3 | 2 | 1 << 32),
        varint(13 << 3 | 2 | 1 << 34),
        varint(15 << 3 | 2),
        varint(1 << 28 | 2),
        varint(13 << 3 | 3),
        varint(0),
    ],
)
def test_a_tag_that_the_format_does_not_have_is_refused(tag: bytes) -> None:
    """The first three tags are field 13 of a tensor, external data, to readers of 32 bits."""
    entry = onnx.StringStringEntryProto(key="location", value="/etc/passwd").SerializeToString()
    tensor = numpy_helper.from_array(np.ones(3, dtype=np.float32), "weights").SerializeToString()
    hidden = tensor + tag + varint(len(entry)) + entry

    def field(number: int, content: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(content)) + content

    with pytest.raises(NotOnnx):
        keeps_weights_outside(field(7, field(5, hidden)))
    assert not keeps_weights_outside(field(7, field(5, tensor)))
    assert keeps_weights_outside(field(7, field(5, tensor + field(13, entry))))


def test_messages_nested_without_end_are_refused() -> None:
    """Of a graph in an attribute of a node of a graph, and so on: a reader that recurses would end the process."""
    content = b""
    for _ in range(20):
        for number in (6, 5, 1):
            content = varint(number << 3 | 2) + varint(len(content)) + content
    with pytest.raises(NotOnnx, match="nested more than 32 deep"):
        keeps_weights_outside(varint(7 << 3 | 2) + varint(len(content)) + content)


def test_a_number_without_an_end_is_refused() -> None:
    with pytest.raises(NotOnnx, match="a number has no end"):
        keeps_weights_outside(b"\xff" * 11)


@given(data=st.data())
@settings(max_examples=300)
def test_a_model_that_onnx_reads_with_outside_weights_is_never_passed(data: st.DataObject) -> None:
    graph = onnx.load_from_string(grey_model.graph())
    set_external_data(graph.graph.initializer[0], "elsewhere")
    content = bytearray(graph.SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 1))] = data.draw(st.binary(max_size=2))
    try:
        passed = not keeps_weights_outside(bytes(content))
    except NotOnnx:
        return
    if passed:
        found = onnx.ModelProto()
        try:
            found.ParseFromString(bytes(content))
        # protobuf's own error, which has no type stubs.
        except Exception:
            return
        assert not any(uses_external_data(tensor) for tensor in found.graph.initializer)


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
        (entry("link", tarfile.SYMTYPE, "/etc/passwd"), "no plain file"),
        (entry("link", tarfile.LNKTYPE, "model.onnx"), "no plain file"),
        (entry("device", tarfile.CHRTYPE), "no plain file"),
        (entry("pipe", tarfile.FIFOTYPE), "no plain file"),
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
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("serving.artefact.MAX_MODEL_BYTES", 1000)
    monkeypatch.setattr("serving.artefact.MAX_DESCRIPTION_BYTES", 0)
    with pytest.raises(ArtefactError, match="more than"):
        unpack(tar_of(tmp_path / "large.tar.gz", (entry("model.onnx"), bytes(1001))), tmp_path / "out")


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    member = entry(name, kind)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


SPARSE = bytearray(header(tarfile.GNUTYPE_SPARSE, 0))
SPARSE[482] = 1  # One more block of the map follows.


@pytest.mark.parametrize(
    "content",  # made in the test: each process that collects it would hold 256 MiB
    [
        lambda: header(tarfile.XHDTYPE, 64 * 2**20) + bytes(64 * 2**20),
        lambda: header(tarfile.XGLTYPE, 64 * 2**20) + b"1" * 64 * 2**20,
        lambda: header(tarfile.GNUTYPE_LONGNAME, 64 * 2**20) + b"a" * 64 * 2**20,
        lambda: (header(tarfile.GNUTYPE_LONGNAME, 4) + b"name".ljust(512, b"\0")) * 2000,
        lambda: bytes(SPARSE) + (b"\1" * 504 + b"\1" + bytes(7)) * 2**17,
        lambda: header(tarfile.REGTYPE, 2**40),
        lambda: header(tarfile.REGTYPE, 0) * 20_000,
    ],
    ids=["pax", "global pax", "long name", "many long names", "sparse map", "claimed size", "many members"],
)
def test_an_archive_of_headers_takes_no_memory(tmp_path: Path, content: Callable[[], bytes]) -> None:
    (tmp_path / "bomb.tar.gz").write_bytes(gzip.compress(content()))
    tracemalloc.start()
    with pytest.raises(ArtefactError):
        unpack(tmp_path / "bomb.tar.gz", tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 2**20 and not (tmp_path / "out").exists()


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
