"""A real ONNX model small enough for tests: it counts by brightness, so that every answer can be foretold."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from digests import seal

CLASSES = (1, 2, 3, 4, 5)
CENTRES = (0.0, 64.0, 128.0, 192.0, 255.0)


def photo(level: int, kind: str = "JPEG", size: tuple[int, int] = (320, 280)) -> bytes:
    """An evenly grey photo of a level from 0 to 255."""
    stream = io.BytesIO()
    Image.new("RGB", size, (level, level, level)).save(stream, kind)
    return stream.getvalue()


def graph(*, classes: int = 5, crop: int = 224, poison: float = 0.0) -> bytes:
    """model.onnx: the class whose centre is nearest to the photo's mean grey gets the highest score.

    -(m - c)^2 is, up to what all classes share, 2mc - c^2: linear in the mean. `poison` is added to every score.
    """
    centres = np.array(CENTRES[:classes], dtype=np.float32)
    weights = np.repeat(2 * centres[None, :] / 3, 3, axis=0) / 512
    nodes = [
        helper.make_node("Cast", ["photos"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["scores"]),
        helper.make_node("Add", ["scores", "offsets"], ["logits"]),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "grey",
            [helper.make_tensor_value_info("photos", TensorProto.UINT8, ["n", crop, crop, 3])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes])],
            [
                numpy_helper.from_array(weights.astype(np.float32), "weights"),
                numpy_helper.from_array((-(centres**2) / 512 + poison).astype(np.float32), "offsets"),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    return bytes(model.SerializeToString())


def description(**changes: object) -> dict[str, object]:
    """serving.json before it is sealed, with fields replaced."""
    return {
        "schema": 1,
        "graph": hashlib.sha256(graph()).hexdigest(),
        "classes": list(CLASSES),
        "preprocessing": {
            "shorter_side": 256,
            "crop": 224,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
        "temperature": 1.0,
        "precision": "fp32",
    } | changes


def write(folder: Path, *, onnx: bytes | None = None, **changes: object) -> Path:
    """A model folder that the server accepts, unless `changes` break it."""
    folder.mkdir(parents=True, exist_ok=True)
    content = graph() if onnx is None else onnx
    (folder / "model.onnx").write_bytes(content)
    whole = {"graph": hashlib.sha256(content).hexdigest()} | changes
    (folder / "serving.json").write_bytes(seal(description(**whole)))
    return folder


def pack(folder: Path, path: Path) -> Path:
    """A model folder as a model.tar.gz."""
    with tarfile.open(path, "w:gz") as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, file.name)
    return path


def archive(path: Path) -> Path:
    """The same as a model.tar.gz."""
    with tarfile.open(path, "w:gz") as tar:
        for name, data in (("model.onnx", graph()), ("serving.json", seal(description()))):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path
