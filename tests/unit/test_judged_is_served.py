"""What is judged is what is served: Evaluate's answers are the endpoint's for the same bytes, photo by photo."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import embed
import evaluate
import ingest
import train
from evaluation import served_model
from evaluation.served_model import ServedModel
from features.files import read_split
from inference import CountingModel
from jobs.container import JobError
from modelling.bin_model import load_model
from photo import prepare
from serving.answer_rule import answered
from serving.artefact import unpack
from shards import Sample, ShardIndex
from tests import grey_model
from tests.listed import write_shard
from tests.serving_process import running
from tests.unit.bin_bucket import metadata, write

BYTES = {"JPEG": "image/jpeg", "PNG": "image/png"}
# What an answer's six decimals, and sums in the order of another batch, may differ by.
LAST_DIGIT = 2e-6


def bin_photo(count: int, seed: int) -> bytes:
    """Bright squares to count, drawn so fine that resizing and encoding a photo again changes it; every fifth a PNG."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 120, (480, 560, 3), dtype=np.uint8)
    for place in random.permutation(12)[:count]:
        top, left = 12 + 156 * (place % 3), 10 + 138 * (place // 3)
        pixels[top : top + 120, left : left + 110] //= 2
        pixels[top : top + 120, left : left + 110] += random.integers(100, 130, 3).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG" if seed % 5 == 0 else "JPEG", quality=95, compress_level=1)
    return out.getvalue()


@pytest.fixture(scope="module")
def photos() -> dict[str, bytes]:
    """A bucket's objects: 84 bins in twelve blocks."""
    objects = {}
    for number in range(84):
        name = f"{(number // 7 + 1) * 100 + number % 7:05}"
        objects[f"bin-images/{name}.jpg"] = bin_photo(number % 5 + 1, number)
        objects[f"metadata/{name}.json"] = metadata(number % 5 + 1)
    return objects


@pytest.fixture(scope="module")
def world(photos: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chain by its own scripts, from the bucket to the served archive: in `shards`, `embedding`, `model`, `out`."""
    folder = tmp_path_factory.mktemp("world")
    arguments = ["--photos-uri", str(write(folder / "bucket", photos)), "--output", str(folder / "shards")]
    assert ingest.launch([*arguments, "--cores", "1"]) == 0
    shards = {split: f"{folder}/shards/{split}" for split in ("train", "validation", "test")}
    small = ["--backbone", "small"]
    read = ["--train", shards["train"], "--validation", shards["validation"]]
    embed.main([*small, "--weights", "none", *read, "--output", f"{folder}/embedding", "--precision", "fp32"])
    train.main([
        *small, "--embedding", f"{folder}/embedding", "--epochs", "30", "--lr", "0.05", "--output", f"{folder}/model",
        "--checkpoints", f"{folder}/checkpoints",
    ])  # fmt: skip
    evaluate.main(["--model", f"{folder}/model", *read, "--test", shards["test"], "--output", f"{folder}/out"])
    return folder


@pytest.fixture(scope="module")
def served(world: Path, tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    """The archive of the evaluated model, as it answers."""
    return ServedModel.of_archive(world / "out/serving/model.tar.gz", tmp_path_factory.mktemp("served") / "model")


@pytest.fixture(scope="module")
def report(world: Path) -> dict[str, Any]:
    return dict(json.loads((world / "out/evaluation/evaluation.json").read_text()))


@pytest.fixture(scope="module")
def listed(world: Path) -> dict[str, dict[str, Any]]:
    """The answers beside the evaluation, by id."""
    lines = (world / "out/evaluation/answers.jsonl").read_text().splitlines()
    by_id = {line["id"]: line for line in map(json.loads, lines)}
    assert len(by_id) == len(lines)
    return by_id


def test_the_endpoint_answers_as_it_was_judged(
    world: Path, photos: dict[str, bytes], listed: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    unpack(world / "out/serving/model.tar.gz", tmp_path / "base/model")
    with running(tmp_path, tmp_path / "base") as endpoint:
        for image_id, judged in listed.items():
            body = photos[f"bin-images/{image_id}.jpg"]
            kind = Image.open(io.BytesIO(body)).format
            answer = endpoint.post(body, BYTES[str(kind)]).json()
            assert_same(answer, judged)
        document = {"photos": [base64.b64encode(photos[f"bin-images/{name}.jpg"]).decode() for name in listed]}
        together = endpoint.post(json.dumps(document).encode(), "application/json").json()["predictions"]
    for answer, judged in zip(together, listed.values(), strict=True):
        assert_same(answer, judged)


def assert_same(answer: dict[str, Any], judged: dict[str, Any]) -> None:
    assert answer["count"] == judged["count"], judged["id"]
    assert answer["probabilities"] == pytest.approx(judged["probabilities"], abs=LAST_DIGIT), judged["id"]


def test_the_photos_made_small_would_have_been_judged_otherwise(
    world: Path, photos: dict[str, bytes], listed: dict[str, dict[str, Any]], served: ServedModel
) -> None:
    """The tests here are able to fail: these photos do not survive being resized and encoded a second time."""
    index = ShardIndex(world / "shards/train")
    small = {sample.id: sample for sample in index}
    assert small.keys().isdisjoint(listed)
    originals = [Sample(name, photos[f"bin-images/{name}.jpg"], 1) for name in small]
    for ours, theirs in zip(served.answers(list(small.values())), served.answers(originals), strict=True):
        assert max(abs(ours.probabilities[n] - theirs.probabilities[n]) for n in range(1, 6)) > 100 * LAST_DIGIT


def test_the_evaluation_is_of_the_answers_that_it_lists(
    world: Path, report: dict[str, Any], listed: dict[str, dict[str, Any]], served: ServedModel
) -> None:
    index = ShardIndex(world / "shards/test")
    assert [(name, line["recorded"]) for name, line in listed.items()] == list(
        zip(index.ids, index.counts, strict=True)
    )
    right = [line["count"] == line["recorded"] for line in listed.values()]
    assert report["multiclass_classification_metrics"]["accuracy"]["value"] == pytest.approx(np.mean(right))
    for line in listed.values():
        assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        shares = np.array(list(line["probabilities"].values()))
        assert line["count"] == int(answered(shares, "median")) + 1
    named = report["binventory"]["answers"]
    assert (named["file"], named["photos"]) == ("answers.jsonl", len(listed))
    assert named["sha256"] == hashlib.sha256((world / "out/evaluation/answers.jsonl").read_bytes()).hexdigest()
    assert report["binventory"]["lineage"]["served model"] == served.identity["sha256"]


def test_validation_is_embedded_as_the_endpoint_sees_it(world: Path, photos: dict[str, bytes]) -> None:
    found = read_split(world / "embedding/features", "validation")
    model, _ = load_model(world / "embedding/backbone")
    pixels = np.stack([prepare(photos[f"bin-images/{name}.jpg"], model.preprocessing) for name in found.ids])
    with torch.inference_mode():
        expected = model.backbone(model.normalise(torch.from_numpy(pixels)))
    assert float((found.features - expected).norm() / expected.norm()) < 1e-4


def test_a_model_that_the_endpoint_would_refuse_is_not_judged(tmp_path: Path) -> None:
    folder = grey_model.write(tmp_path / "model", temperature=0)
    with pytest.raises(JobError, match=r"the endpoint would refuse this model: serving\.json: temperature"):
        ServedModel(folder)
    (tmp_path / "model.tar.gz").write_bytes(b"no archive")
    with pytest.raises(JobError, match=r"the endpoint would refuse this model: model\.tar\.gz cannot be unpacked"):
        ServedModel.of_archive(tmp_path / "model.tar.gz", tmp_path / "opened")


def test_a_photo_that_the_endpoint_would_not_answer_ends_the_evaluation(tmp_path: Path) -> None:
    served = ServedModel(grey_model.write(tmp_path / "model"))
    good = Sample("00100", grey_model.photo(64), 2)
    bad = Sample("00101", b"\xff\xd8\xff no photo", 2)
    assert [answer.count for answer in served.answers([good, good])] == [2, 2]
    assert served.scores([]).shape == (0, 5)
    with pytest.raises(JobError, match=r"photo 00101 of the shards cannot be read .*; ingest again"):
        served.answers([good, bad, good])


def test_a_graph_whose_answers_are_no_numbers_is_not_judged(tmp_path: Path) -> None:
    served = ServedModel(grey_model.write(tmp_path / "model", onnx=grey_model.graph(poison=float("nan"))))
    with pytest.raises(JobError, match=r"fails on photo 00100.*no numbers; train again"):
        served.scores([Sample("00100", grey_model.photo(64), 2)])


def test_a_shard_that_was_cut_since_it_was_opened_ends_the_evaluation(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [("00100", grey_model.photo(64), {"id": "00100", "count": 2})])
    index = ShardIndex(tmp_path)
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:700])
    with pytest.raises(JobError, match=r"a\.tar ends before byte .*ingest again"):
        ServedModel(grey_model.write(tmp_path / "model")).scores(index)


def test_every_core_answers_and_photos_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_model, "inference_threads", lambda: 3)
    asked: set[int] = set()
    logits = CountingModel.logits

    def noted(self: CountingModel, batch: Any) -> Any:
        asked.add(id(self))
        assert len(batch) == 1, "the endpoint answers a request of one photo alone"
        return logits(self, batch)

    monkeypatch.setattr(CountingModel, "logits", noted)
    served = ServedModel(grey_model.write(tmp_path / "model"))
    levels = [0, 64, 128, 192, 255] * 6
    samples = [Sample(f"{row:05}", grey_model.photo(level), 1) for row, level in enumerate(levels)]
    assert [answer.count for answer in served.answers(samples)] == [1, 2, 3, 4, 5] * 6
    assert len(asked) == 3
