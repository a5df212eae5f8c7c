"""Evaluate measures what will be served: one archive, the same bytes each time, int8 only through its gate."""

from __future__ import annotations

import errno
import itertools
import json
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import numpy as np
import pytest
import torch
from boto3.exceptions import Boto3Error, RetriesExceededError
from botocore.exceptions import ClientError, EndpointConnectionError

import arithmetic
import embed
import evaluate
import train
from arithmetic import SERVED, floats_of_cpu
from binventory.report.page import verdict
from digests import seal
from evaluation import served_model
from evaluation.calibration import softmax
from evaluation.count_metrics import Predictions
from inference import model_fn
from jobs.archive import open_archive, write_archive
from jobs.container import JobError
from modelling.bin_model import load_model
from modelling.onnx_export import export_logits
from modelling.quantisation import Allowance, choose_precision
from serving import network
from serving.answer_rule import answered
from serving.artefact import Artefact
from serving.network import Network
from serving.refusals import Refusal
from shards import Sample, ShardIndex, ShardWriter
from shards.lists import read_shard_list, write_shard_list
from tests.conftest import WITHOUT_BF16
from tests.engines import share_exports_of_evaluate, share_networks_of_evaluate
from tests.listed import enlist, write_shard
from tests.training_data import SMALL_INPUT, write_split

SPLITS = ("train", "validation", "test")
OF_ONE_THREAD_EACH = Network.of_one_thread_each
THRESHOLD = ("--accuracy-threshold", "0.3")


@pytest.fixture(autouse=True)
def one_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first test exports and compiles as Evaluate does; the others share its work."""
    if "served" in request.fixturenames:
        return
    share_networks_of_evaluate(monkeypatch)
    if "exported_each_time" not in request.fixturenames:
        share_exports_of_evaluate(monkeypatch)


@pytest.fixture
def exported_each_time() -> None:
    """Evaluate exports the model in this test, whatever a test before it has exported."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of every split and a model that was embedded and trained on them."""
    folder = tmp_path_factory.mktemp("world")
    for number, (split, photos) in enumerate((("train", 80), ("validation", 20), ("test", 30))):
        write_split(folder, split, photos, first=1000 * (number + 1))
    shards = [part for split in ("train", "validation") for part in (f"--{split}", str(folder / split))]
    small = ("--backbone", "small")
    embed.main([*small, "--weights", "none", *SMALL_INPUT, *shards, "--output", str(folder / "embedding")])
    flags = [*small, "--embedding", str(folder / "embedding"), "--epochs", "30", "--lr", "0.05"]
    train.main([*flags, "--output", str(folder / "model"), "--checkpoints", str(folder / "checkpoints")])
    return folder


@pytest.fixture(scope="module")
def champion(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the model, evaluated in fp32."""
    output = tmp_path_factory.mktemp("champion")
    run(world, output, "--precision", "fp32")
    return output / "serving" / "model.tar.gz"


def run(world: Path, output: Path, *flags: str, model: Path | None = None) -> dict[str, Any]:
    """Evaluate into `output`; the report it wrote."""
    shards = [part for split in SPLITS for part in (f"--{split}", str(world / split))]
    evaluate.main(["--model", str(model or world / "model"), *shards, "--output", str(output), *flags])
    report: dict[str, Any] = json.loads((output / "evaluation" / "evaluation.json").read_text())
    return report


@pytest.fixture(scope="module")
def in_int8(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Evaluate writes for the model where int8 may lose as much as it does."""
    output = tmp_path_factory.mktemp("int8")
    run(world, output, *asked_for("int8"), *THRESHOLD)
    return output


def answers(archive: Path, folder: Path, photos: ShardIndex) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    """serving.json of an archive, and the logits of the server's model for photos."""
    open_archive(archive, folder)
    serving: dict[str, Any] = json.loads((folder / "serving.json").read_text())
    model = model_fn(folder)
    pixels = [model.prepare(sample.photo) for sample in photos[:]]
    return serving, model.logits(np.stack([photo for photo in pixels if not isinstance(photo, Refusal)]))


def asked_for(served: str) -> tuple[str, ...]:
    """Flags that make Evaluate serve a precision; skips, with the reason, where this processor lacks it."""
    if served == "int8":
        return ("--precision", "auto", "--int8-accuracy-loss", "1", "--int8-rmse-loss", "5")
    if served not in floats_of_cpu():
        pytest.skip(f"{served} was not tried: this run's processor does not have it")
    return ("--precision", served)


@pytest.mark.parametrize("served", SERVED)
def test_what_was_measured_is_what_is_served(
    served: str, world: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if served == "int8":
        output: Path = request.getfixturevalue("in_int8")
    else:
        output = tmp_path / "output"
        run(world, output, *asked_for(served), *THRESHOLD)
    report = json.loads((output / "evaluation" / "evaluation.json").read_text())
    photos = ShardIndex(world / "test")
    serving, logits = answers(output / "serving" / "model.tar.gz", tmp_path / "served", photos)
    shares = softmax(logits, serving["temperature"])
    accuracy = float((answered(shares, serving["answer"]) + 1 == np.array(photos.counts)).mean())
    assert report["multiclass_classification_metrics"]["accuracy"]["value"] == pytest.approx(accuracy)
    assert serving["classes"] == [1, 2, 3, 4, 5] and serving["schema"] == 1 and serving["precision"] == served
    assert report["binventory"]["lineage"]["archive"] == serving["sha256"], "what the registry pins"
    assert serving["computed_in"]["answers"] == served == report["binventory"]["lineage"]["precision"]
    assert serving["preprocessing"]["crop"] == int(SMALL_INPUT[1])
    gate = report["binventory"]["gate"]
    assert gate["not_worse_than_champion"] is True
    assert gate["above_threshold"] is (accuracy >= 0.3)
    model, _ = load_model(world / "model")
    with torch.inference_mode():
        from photo import Preprocessing, prepare

        pixels = np.stack([prepare(sample.photo, Preprocessing.of(serving["preprocessing"])) for sample in photos[:]])
        expected = model(torch.from_numpy(pixels)).numpy()
    if served == "fp32":
        np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3)
    elif served == "bf16":
        np.testing.assert_allclose(logits, expected, rtol=0.05, atol=0.1)
    assert (output / "evaluation" / "evaluation.html").is_file()


def test_the_server_accepts_the_archive(champion: Path, in_int8: Path, tmp_path: Path) -> None:
    from serving.artefact import unpack

    for precision, archive in (("fp32", champion), ("int8", in_int8 / "serving" / "model.tar.gz")):
        unpack(archive, tmp_path / precision)
        description = Artefact.read(tmp_path / precision).description
        assert description.precision == precision
        assert description.classes == (1, 2, 3, 4, 5)
        assert description.temperature > 0


@pytest.mark.usefixtures("exported_each_time")
def test_the_same_model_gives_the_same_bytes(world: Path, tmp_path: Path) -> None:
    # Evaluated from the folder and from an archive, at another time.
    archive = tmp_path / "model.tar.gz"
    names = ("model.safetensors", "model.json")
    write_archive(archive, {name: world / "model" / name for name in names})
    run(world, tmp_path / "a", "--calibration-photos", "8")
    run(world, tmp_path / "b", "--calibration-photos", "8", model=archive)
    first, second = ((tmp_path / name / "serving" / "model.tar.gz").read_bytes() for name in "ab")
    assert first == second
    report = json.loads((tmp_path / "a" / "evaluation" / "evaluation.json").read_text())
    assert "fp32 on validation" in report["binventory"]["lineage"]
    assert "int8 on validation" in report["binventory"]["lineage"]


def test_int8_is_served_when_its_loss_is_allowed_and_not_otherwise(
    world: Path, champion: Path, in_int8: Path, tmp_path: Path
) -> None:
    photos = ShardIndex(world / "validation")
    serving, _ = answers(in_int8 / "serving" / "model.tar.gz", tmp_path / "served", photos)
    assert serving["precision"] == "int8"
    sizes = {}
    for name, path in (("any", in_int8 / "serving" / "model.tar.gz"), ("fp32", champion)):
        with tarfile.open(path) as archive:
            sizes[name] = archive.getmember("model.onnx").size
    assert sizes["any"] < sizes["fp32"]


def predictions(counts: list[int]) -> Predictions:
    labels = [1, 2, 3, 4, 5] * 4
    return Predictions.of(labels, np.eye(5)[np.array(counts) - 1], classes=(1, 2, 3, 4, 5))


def test_the_choice_weighs_accuracy_and_rmse() -> None:
    right = [1, 2, 3, 4, 5] * 4
    off_by_one = [*right[:-1], 4]
    off_by_four = [*right[:-1], 1]
    perfect = predictions(right)
    assert choose_precision(perfect, perfect, Allowance()).precision == "int8"
    assert choose_precision(perfect, predictions(off_by_one), Allowance()).precision == "fp32"
    assert choose_precision(perfect, predictions(off_by_one), Allowance(0.06, 0.3)).precision == "int8"
    assert choose_precision(perfect, predictions(off_by_four), Allowance(0.06, 0.3)).precision == "fp32"
    kept = choose_precision(perfect, predictions(off_by_one), Allowance())
    assert (kept.fp32.accuracy, kept.int8 and kept.int8.accuracy, kept.agreement) == (1.0, 0.95, 0.95)


@pytest.mark.parametrize("right", [2, 82, 122, 200])
def test_int8_may_lose_what_is_allowed(right: int) -> None:
    """One photo of two hundred: 0.61 - 0.605 is a little more than 0.005 in binary numbers. Two are too many."""
    labels = [1, 2, 3, 4, 5] * 40

    def answered_right(hits: int) -> Predictions:
        given = [label if row < hits else label % 5 + 1 for row, label in enumerate(labels)]
        return Predictions.of(labels, np.eye(5)[np.array(given) - 1], classes=(1, 2, 3, 4, 5))

    fp32, one, two = (answered_right(hits) for hits in (right, right - 1, right - 2))
    assert choose_precision(fp32, one, Allowance(0.005, 5)).precision == "int8"
    assert choose_precision(fp32, two, Allowance(0.005, 5)).precision == "fp32"


class Registry:
    """A model registry, its store and an endpoint, as boto3 clients."""

    def __init__(self, archive: Path | None, serving: str = "") -> None:
        self.archive = archive
        self.serving = serving
        """State of the endpoint; empty: there is none."""

    def describe_endpoint(self, **asked: Any) -> dict[str, Any]:
        assert asked["EndpointName"] == "bins"
        if not self.serving:
            message = 'Could not find endpoint "bins".'
            raise ClientError({"Error": {"Code": "ValidationException", "Message": message}}, "DescribeEndpoint")
        return {"EndpointStatus": self.serving, "EndpointConfigName": "config"}

    def describe_endpoint_config(self, **asked: Any) -> dict[str, Any]:
        assert asked["EndpointConfigName"] == "config"
        return {"ProductionVariants": [{"ModelName": "model"}]}

    def describe_model(self, **asked: Any) -> dict[str, Any]:
        assert asked["ModelName"] == "model"
        return {"ModelName": "model", "Containers": [{"ModelPackageName": "arn:serving"}]}

    def get_paginator(self, operation: str) -> Any:
        assert operation == "list_model_packages"
        return SimpleNamespace(paginate=self.list_model_packages)

    def list_model_packages(self, **asked: Any) -> Iterator[dict[str, Any]]:
        """The pages; the first is empty, as where the newest packages are not approved."""
        assert asked["ModelApprovalStatus"] == "Approved" and asked["SortOrder"] == "Descending"
        yield {"ModelPackageSummaryList": [], "NextToken": "more"}
        yield {"ModelPackageSummaryList": [{"ModelPackageArn": "arn:champion"}] if self.archive else []}

    def describe_model_package(self, **asked: Any) -> dict[str, Any]:
        assert asked["ModelPackageName"] == ("arn:serving" if self.serving == "InService" else "arn:champion")
        return {"InferenceSpecification": {"Containers": [{"ModelDataUrl": "s3://models/a/model.tar.gz"}]}}

    def download_file(self, bucket: str, key: str, path: str) -> None:
        assert (bucket, key) == ("models", "a/model.tar.gz") and self.archive is not None
        Path(path).write_bytes(self.archive.read_bytes())


def test_the_champion_is_asked_about_the_same_photos(
    world: Path, champion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boto3, "client", lambda _service: Registry(champion))
    report = run(world, tmp_path / "again", "--precision", "fp32", "--model-package-group", "group")
    comparison = report["binventory"]["gate"]["comparison"]
    assert comparison["accuracy_difference"] == 0 and comparison["rmse_difference"] == 0
    assert report["binventory"]["lineage"]["champion"] == "arn:champion"


def test_a_champion_of_another_split_is_not_compared(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have learnt most of the test photos: no challenger were as good on them."""
    for split in SPLITS:
        shutil.copytree(world / split, tmp_path / "world" / split)
    shutil.copytree(world / "model", tmp_path / "world" / "model")
    test = tmp_path / "world" / "test"
    compared = {}
    archive = None
    for name, split_by in (
        ("first", "seed 17 and blocks of 100 ids"), ("same", "seed 17 and blocks of 100 ids"),
        ("other", "seed 18 and blocks of 100 ids"), ("unknown", ""),
    ):  # fmt: skip
        write_shard_list(test, read_shard_list(test).values(), split_by=split_by)
        monkeypatch.setattr(boto3, "client", lambda _service, found=archive: Registry(found))
        report = run(tmp_path / "world", tmp_path / name, "--precision", "fp32", "--model-package-group", "group")
        archive = archive or tmp_path / name / "serving" / "model.tar.gz"
        compared[name] = report["binventory"]["gate"]
    assert compared["same"]["comparison"]["accuracy_difference"] == 0 and compared["same"]["not_compared"] == ""
    assert compared["other"]["comparison"] is None and compared["unknown"]["comparison"] is not None
    assert "split by seed 17 and blocks of 100 ids, these by seed 18" in compared["other"]["not_compared"]


def test_without_an_approved_package_there_is_no_champion(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boto3, "client", lambda _service: Registry(None))
    report = run(world, tmp_path, "--precision", "fp32", "--model-package-group", "group")
    assert report["binventory"]["champion"] is None
    assert report["binventory"]["gate"]["not_worse_than_champion"] is True


def test_a_champion_that_cannot_be_looked_up_fails_the_job(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_asked: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "ListModelPackages")

    registry = Registry(None)
    monkeypatch.setattr(registry, "list_model_packages", refuse)
    monkeypatch.setattr(boto3, "client", lambda _service: registry)
    with pytest.raises(JobError, match=r"champion of model package group group cannot be looked up.*AccessDenied"):
        run(world, tmp_path, "--precision", "fp32", "--model-package-group", "group")


@pytest.mark.parametrize("code", ["ThrottlingException", "AccessDeniedException"])
def test_what_serves_is_looked_up_or_the_job_fails_unless_it_was_made_by_hand(
    world: Path, champion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """The job may describe models with the environment's tag: an outage says nothing, a refusal that it is not ours."""

    def refuse(**_asked: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "DescribeEndpointConfig")

    registry = Registry(champion, "InService")
    monkeypatch.setattr(registry, "describe_endpoint_config", refuse)
    monkeypatch.setattr(boto3, "client", lambda _service: registry)
    flags = ("--precision", "fp32", "--model-package-group", "group", "--endpoint", "bins")
    if code == "ThrottlingException":
        with pytest.raises(JobError, match=r"champion of model package group group cannot be looked up.*Throttling"):
            run(world, tmp_path, *flags)
    else:
        report = run(world, tmp_path, *flags)
        assert "endpoint bins serves configuration config" in report["binventory"]["gate"]["not_compared"]


@pytest.mark.parametrize(
    ("state", "found"), [("InService", "arn:serving"), ("Failed", "arn:champion"), ("", "arn:champion")]
)
def test_the_champion_is_what_serves_and_the_newest_approved_where_nothing_does(
    world: Path, champion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, found: str
) -> None:
    monkeypatch.setattr(boto3, "client", lambda _service: Registry(champion, state))
    report = run(world, tmp_path, "--precision", "fp32", "--model-package-group", "group", "--endpoint", "bins")
    assert report["binventory"]["lineage"]["champion"] == found
    assert report["binventory"]["gate"]["not_compared"] == ""


@pytest.mark.parametrize(("flags", "graphs"), [(("--precision", "fp32"), 1), (asked_for("int8"), 2)])
def test_each_graph_is_compiled_once(
    flags: tuple[str, ...], graphs: int, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For all cores. The chosen one answers the validation split and, with its temperature, the test split."""
    compiled: list[int] = []
    compile_graph = arithmetic.compile_graph

    def noted(core: Any, graph: Any, floats: str, properties: Mapping[str, Any]) -> Any:
        compiled.append(properties["INFERENCE_NUM_THREADS"])
        return compile_graph(core, graph, floats, properties)

    monkeypatch.setattr(served_model, "inference_threads", lambda: 2)
    monkeypatch.setattr(Network, "of_one_thread_each", OF_ONE_THREAD_EACH)
    monkeypatch.setattr(network, "compile_graph", noted)
    run(world, tmp_path, *flags)
    assert compiled == [2] * graphs


@pytest.mark.parametrize("wanted", [8, 48, 79, 80, 200])
def test_the_photos_that_calibrate_int8_are_of_the_whole_split(
    wanted: int, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []

    def noted(fp32: Path, int8: Path, photos: Sequence[Sample], _pixels: object) -> None:
        taken.extend(sample.id for sample in photos)
        shutil.copy(fp32, int8)

    monkeypatch.setattr(evaluate, "quantise", noted)
    run(world, tmp_path, "--calibration-photos", str(wanted))
    ids = ShardIndex(world / "train").ids
    places = [ids.index(photo) for photo in taken]
    assert len(places) == min(wanted, len(ids))
    gaps = [after - before for before, after in itertools.pairwise([*places, len(ids)])]
    assert places[0] == 0 and max(gaps) - min(gaps) <= 1


def test_a_champion_of_other_classes_is_not_compared(
    world: Path, champion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_archive(champion, tmp_path / "opened")
    serving = json.loads((tmp_path / "opened" / "serving.json").read_text())
    (tmp_path / "opened" / "serving.json").write_bytes(seal({**serving, "classes": [0, 1, 2, 3, 4]}))
    archive = tmp_path / "model.tar.gz"
    write_archive(archive, {name: tmp_path / "opened" / name for name in ("model.onnx", "serving.json")})
    monkeypatch.setattr(boto3, "client", lambda _service: Registry(archive))
    report = run(world, tmp_path / "new", "--precision", "fp32", "--model-package-group", "group")
    assert report["binventory"]["champion"] is None
    said = report["binventory"]["gate"]["not_compared"]
    assert said.startswith("champion arn:champion: ") and "they cannot be compared" in said


@pytest.mark.parametrize("content", [b"no archive", b""], ids=["broken", "empty"])
def test_a_champion_that_cannot_be_read_is_a_finding_and_the_threshold_decides(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    broken = tmp_path / "model.tar.gz"
    broken.write_bytes(content)
    monkeypatch.setattr(boto3, "client", lambda _service: Registry(broken))
    report = run(world, tmp_path / "new", "--precision", "fp32", "--model-package-group", "group")
    gate = report["binventory"]["gate"]
    assert gate["not_compared"].startswith("champion arn:champion: ")
    assert gate["passed"] is gate["above_threshold"] is gate["not_worse_than_champion"] is True
    assert "champion" not in report["binventory"]["lineage"]
    assert "judged by the threshold alone: champion arn:champion: " in capsys.readouterr().out
    page = (tmp_path / "new" / "evaluation" / "evaluation.html").read_text()
    assert "The champion was not compared: champion arn:champion" in page and "which decides alone" in page
    assert "By the threshold alone: champion arn:champion" in verdict(gate)


def test_a_champion_whose_archive_is_gone_is_a_finding(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path)

    def gone(*_asked: Any) -> None:
        raise ClientError({"Error": {"Code": "404", "Message": "Not Found"}}, "HeadObject")

    monkeypatch.setattr(registry, "download_file", gone)
    monkeypatch.setattr(boto3, "client", lambda _service: registry)
    report = run(world, tmp_path, "--precision", "fp32", "--model-package-group", "group")
    assert "Not Found" in report["binventory"]["gate"]["not_compared"]


def test_a_champion_that_may_not_be_fetched_fails_the_job(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal, or an outage: else the threshold alone would decide, beside a champion that nobody has looked at."""
    registry = Registry(tmp_path)
    for error in (
        ClientError({"Error": {"Code": "403", "Message": "Forbidden"}}, "HeadObject"),
        EndpointConnectionError(endpoint_url="https://s3.us-east-1.amazonaws.com"),
        RetriesExceededError(Boto3Error("cut again and again")),
        OSError(errno.ENOSPC, "No space left on device"),
    ):

        def refuse(*_asked: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(registry, "download_file", refuse)
        monkeypatch.setattr(boto3, "client", lambda _service: registry)
        with pytest.raises(JobError, match="the champion arn:champion cannot be fetched"):
            run(world, tmp_path, "--precision", "fp32", "--model-package-group", "group")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), MemoryError()], ids=str)
def test_a_machine_that_is_too_small_for_the_champion_fails_the_job(
    world: Path, champion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """It says nothing about the champion, either. The model's own archive is unpacked before the champion's."""
    unpacked = 0
    extract = tarfile.TarFile.extractall

    def too_small(archive: tarfile.TarFile, *asked: Any, **options: Any) -> None:
        nonlocal unpacked
        unpacked += 1
        if unpacked == 2:
            raise error
        extract(archive, *asked, **options)

    monkeypatch.setattr(boto3, "client", lambda _service: Registry(champion))
    monkeypatch.setattr(tarfile.TarFile, "extractall", too_small)
    with pytest.raises(JobError, match="the champion arn:champion cannot be fetched"):
        run(world, tmp_path, "--precision", "fp32", "--model-package-group", "group")


def test_an_endpoint_without_a_group_is_refused(world: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="--endpoint bins needs --model-package-group"):
        run(world, tmp_path, "--precision", "fp32", "--endpoint", "bins")


def test_blocks_are_those_by_which_the_photos_were_split(world: Path, tmp_path: Path) -> None:
    """Two blocks of fifteen photos, which by their ids are one of a hundred, or thirty of ids that are no numbers."""
    shutil.copytree(world, tmp_path / "world")
    shutil.rmtree(tmp_path / "world" / "test")
    (tmp_path / "world" / "test").mkdir()
    photos = ShardIndex(world / "test")
    write_shard(
        tmp_path / "world" / "test" / "test-00000.tar",
        [
            (f"cam{row:02}x", photo.photo, {"id": f"cam{row:02}x", "count": photo.count, "block": f"cam{row // 15}"})
            for row, photo in enumerate(photos)
        ],
    )
    found = run(tmp_path / "world", tmp_path / "split", "--precision", "fp32")
    assert found["binventory"]["blocks"] == 2
    asked = run(tmp_path / "world", tmp_path / "asked", "--precision", "fp32", "--block-size", "10")
    assert asked["binventory"]["blocks"] == 30
    assert run(world, tmp_path / "ids", "--precision", "fp32", "--block-size", "10")["binventory"]["blocks"] == 3


def test_a_damaged_champion_is_not_compared(
    world: Path, champion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = tmp_path / "opened"
    open_archive(champion, opened)
    names = ("model.onnx", "serving.json")
    whole = {name: (opened / name).read_bytes() for name in names}
    for name, words in (
        ("model.onnx", r"the champion cannot be loaded: .*model\.onnx is damaged"),
        ("serving.json", r"the champion cannot be loaded: .*serving\.json"),
    ):
        content = bytearray(whole[name])
        content[len(content) // 2] ^= 1
        (opened / name).write_bytes(content)
        write_archive(tmp_path / "model.tar.gz", {file: opened / file for file in names})
        (opened / name).write_bytes(whole[name])
        monkeypatch.setattr(boto3, "client", lambda _service: Registry(tmp_path / "model.tar.gz"))
        report = run(world, tmp_path / "new", "--precision", "fp32", "--model-package-group", "group")
        assert re.search(words, report["binventory"]["gate"]["not_compared"])


@pytest.mark.parametrize(("split", "photo"), [("train", "01000"), ("validation", "02000"), ("test", "03000")])
def test_a_damaged_photo_is_named(world: Path, tmp_path: Path, split: str, photo: str) -> None:
    shutil.copytree(world / split, tmp_path / split)
    shard = tmp_path / split / f"{split}-00000.tar"
    content = bytearray(shard.read_bytes())
    content[content.index(b"\xff\xd8\xff") + 3000] ^= 1
    shard.write_bytes(content)
    # Of the training split, the photos that calibrate int8 are read and the records alone of all others.
    if split == "train":
        run(world, tmp_path / "out", "--precision", "fp32", "--train", str(tmp_path / "train"))
    precision = "auto" if split == "train" else "fp32"
    with pytest.raises(JobError, match=rf"{split}-00000\.tar: photo {photo} is damaged"):
        run(world, tmp_path / "out", f"--{split}", str(tmp_path / split), "--precision", precision)


@pytest.mark.parametrize(
    ("precision", "words"),
    [("bf16", "precision bf16 was asked for"), ("fp8", "precision must be one of fp32, int8, bf16, not 'fp8'")],
)
def test_a_champion_is_compared_in_the_numbers_that_it_serves_in_or_not_at_all(
    precision: str, words: str, world: Path, champion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_archive(champion, tmp_path / "opened")
    serving = json.loads((tmp_path / "opened" / "serving.json").read_text())
    (tmp_path / "opened" / "serving.json").write_bytes(seal({**serving, "precision": precision}))
    archive = tmp_path / "model.tar.gz"
    write_archive(archive, {name: tmp_path / "opened" / name for name in ("model.onnx", "serving.json")})
    monkeypatch.setattr(boto3, "client", lambda _service: Registry(archive))
    monkeypatch.setattr(arithmetic, "capabilities_of_cpu", lambda: WITHOUT_BF16)
    report = run(world, tmp_path / "new", "--precision", "fp32", "--model-package-group", "group")
    assert re.search(f"the champion cannot be loaded: .*{words}", report["binventory"]["gate"]["not_compared"])


@pytest.mark.parametrize(("split", "other"), [("test", "train"), ("test", "validation"), ("validation", "train")])
def test_a_photo_in_two_splits_is_refused(split: str, other: str, world: Path, tmp_path: Path) -> None:
    """A model would be judged, or its temperature fitted, on photos that it has learnt."""
    photos, shared = len(ShardIndex(world / other)), ShardIndex(world / other).ids[0]
    with pytest.raises(JobError, match=f"{photos} of {photos} photos of split .* too, such as {shared}: give each"):
        run(world, tmp_path / "out", f"--{split}", str(world / other))
    assert not (tmp_path / "out").exists()


def test_shards_that_were_split_anew_are_no_test_of_the_model(tmp_path: Path) -> None:
    """Four fifths of their test photos were its training photos: it seemed better than it is, and passed the gate."""
    first, again = tmp_path / "first", tmp_path / "again"
    for number, (split, photos) in enumerate((("train", 20), ("validation", 10), ("test", 10))):
        for seed, place in enumerate((first, again)):
            write_split(place, split, photos, first=1000 * (number + 1))
            listed = read_shard_list(place / split).values()
            write_shard_list(place / split, listed, split_by=f"seed {seed} and blocks of 100 ids")
    read = ["--train", str(first / "train"), "--validation", str(first / "validation")]
    small = ["--backbone", "small"]
    embed.main([*small, "--weights", "none", *SMALL_INPUT, *read, "--output", str(first / "embedding")])
    kept = ["--epochs", "1", "--checkpoints", str(tmp_path / "checkpoints")]
    train.main([*small, *kept, "--embedding", str(first / "embedding"), "--output", str(first / "model")])
    said = "--model was trained on photos that were split by seed 0 .*, and --test was split by seed 1 .*train again"
    with pytest.raises(JobError, match=said):
        run(again, tmp_path / "out", model=first / "model")
    whole = ["--strategy", "full", "--weights", "none", "--head-epochs", "0", *SMALL_INPUT, *read]
    train.main([*small, *whole, *kept, "--output", str(first / "whole")])
    with pytest.raises(JobError, match=said):
        run(again, tmp_path / "out", model=first / "whole")
    assert not (tmp_path / "out").exists()
    run(first, tmp_path / "out", "--precision", "fp32")


def test_the_precision_is_chosen_by_the_answers_that_are_served(world: Path, tmp_path: Path) -> None:
    """With their temperature: the median depends on it."""
    run(world, tmp_path, "--precision", "fp32")
    photos = ShardIndex(world / "validation")
    serving, logits = answers(tmp_path / "serving" / "model.tar.gz", tmp_path / "served", photos)
    right = answered(softmax(logits, serving["temperature"]), serving["answer"]) + 1 == np.array(photos.counts)
    assert serving["quantisation"]["fp32"]["accuracy"] == pytest.approx(right.mean())
    alone = answered(softmax(logits), serving["answer"])
    assert (alone != answered(softmax(logits, serving["temperature"]), serving["answer"])).any(), "the case must differ"


def test_an_output_that_cannot_be_a_folder_is_named_before_work(world: Path) -> None:
    with pytest.raises(JobError, match=r"--output .*\.py is no folder; give another"):
        run(world, Path(__file__))


def test_a_model_that_is_none_is_named(world: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"neither a model folder nor a model\.tar\.gz"):
        run(world, tmp_path, model=tmp_path)
    broken = tmp_path / "model.tar.gz"
    broken.write_bytes(b"not an archive")
    with pytest.raises(JobError, match=r"model\.tar\.gz cannot be unpacked"):
        run(world, tmp_path / "out", model=broken)
    (tmp_path / "model.json").write_text('{"schema": 99}')
    with pytest.raises(JobError, match="schema 99, this code reads 1"):
        run(world, tmp_path / "out", model=tmp_path)


def test_a_part_of_a_model_is_named(world: Path, tmp_path: Path) -> None:
    """What a trial of a search saves, and what Embed writes; both have a model.json."""
    flags = ["--backbone", "small", "--embedding", str(world / "embedding"), "--epochs", "1", "--artefact", "head"]
    train.main([*flags, "--output", str(tmp_path / "head")])
    with pytest.raises(JobError, match=r"holds a head without its backbone, .* take the model of the step Train"):
        run(world, tmp_path / "out", model=tmp_path / "head")
    with pytest.raises(JobError, match=r"--model .*backbone is a backbone without a head, as Embed writes it"):
        run(world, tmp_path / "out", model=world / "embedding" / "backbone")


def test_an_empty_test_split_is_named(world: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(JobError, match=r"--test: .*holds no \.tar shard"):
        run(world, tmp_path / "out", "--test", str(tmp_path / "empty"))


def test_a_training_photo_that_cannot_calibrate_int8_is_an_error_of_the_shards(world: Path, tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "train-00000.tar")
    writer.add("00001", b"\xff\xd8\xff no photo", {"id": "00001", "count": 1})
    enlist(tmp_path, writer.close())
    with pytest.raises(JobError, match=r"a training photo of the shards cannot be read .*ingest again"):
        run(world, tmp_path / "out", "--train", str(tmp_path))
    assert not (tmp_path / "out").exists()


def test_exporting_twice_gives_the_same_bytes(world: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_logits(load_model(world / "model")[0], tmp_path / f"{name}.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
