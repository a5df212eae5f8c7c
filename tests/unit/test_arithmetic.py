"""The precision of features and answers: chosen in one place, refused if the machine lacks it, never left to chance."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

import arithmetic
import embed
import evaluate
import train
from arithmetic import ASKED, SERVED, PrecisionError, compile_graph, floats_for_features, floats_of_graph
from digests import read_sealed, seal
from features import engine_check, frozen_backbone
from features.files import read_features, read_split, write_features
from features.frozen_backbone import FrozenBackbone, freeze
from inference import CountingModel, model_fn
from jobs.container import JobError
from modelling.backbones import build_backbone
from modelling.bin_model import BinModel, load_model, read_card
from modelling.openvino_graph import OpenvinoGraph, Photos
from photo import Preprocessing
from serving.artefact import ArtefactError
from serving.network import Network
from silent_openvino import openvino
from stacks.settings.jobs import EmbedSettings, EvaluationSettings
from tests import grey_model
from tests.conftest import WITHOUT_BF16
from tests.training_data import SMALL_INPUT, add_features, write_embedding, write_split

HAS_BF16 = (*WITHOUT_BF16, "BF16")
BASE = ["--backbone", "small", "--weights", "none", *SMALL_INPUT]


@pytest.fixture
def without_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choices are made as on a processor that lacks bf16, with no GPU beside it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(arithmetic, "capabilities_of_cpu", lambda: WITHOUT_BF16)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for number, (split, photos) in enumerate((("train", 120), ("validation", 80), ("test", 20))):
        write_split(folder, split, photos, shards=2, first=1000 * (number + 1))
    return folder


def of_splits(folder: Path, *splits: str) -> list[str]:
    return [part for split in splits for part in (f"--{split}", str(folder / split))]


def test_features_take_the_fastest_floats_and_answers_never_depend_on_the_processor() -> None:
    for offered in (("fp32",), ("bf16", "fp32"), ("fp16", "fp32")):
        assert floats_for_features("auto", offered) == offered
        assert floats_for_features("fp32", offered) == ("fp32",)
        assert {floats_of_graph(served, offered) for served in ("fp32", "int8")} == {"fp32"}
    assert floats_for_features("bf16", ("bf16", "fp32")) == ("bf16",)
    assert floats_of_graph("bf16", ("bf16", "fp32")) == "bf16"


@pytest.mark.parametrize("offered", [("fp32",), ("fp16", "fp32")])
def test_bf16_that_is_not_there_is_refused_with_its_cure(offered: tuple[str, ...]) -> None:
    for choose in (floats_for_features, floats_of_graph):
        with pytest.raises(PrecisionError, match=rf"bf16.*{' and '.join(offered)} only.*another precision.*ml\.c7i"):
            choose("bf16", offered)
    with pytest.raises(PrecisionError, match="precision fp64 is none of fp32, int8, bf16"):
        floats_of_graph("fp64", ("bf16", "fp32"))


def test_a_graph_computes_in_what_was_asked_for(precision: str) -> None:
    core = openvino.Core()
    compiled = compile_graph(core, core.read_model(grey_model.graph()), precision, {})
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == {"fp32": "f32", "bf16": "bf16"}[precision]


def test_a_runtime_that_takes_other_floats_by_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # Asked for f16, OpenVINO takes bf16 or f32, whichever the processor has, and does not say so.
    monkeypatch.setitem(arithmetic._HINTS, "bf16", "f16")
    core = openvino.Core()
    with pytest.raises(PrecisionError, match=r"bf16 was asked for, and OpenVINO computes in (bf16|f32)"):
        compile_graph(core, core.read_model(grey_model.graph()), "bf16", {})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(arithmetic, "capabilities_of_cpu", lambda: HAS_BF16)
    with pytest.raises(JobError, match=r"cannot run here: precision bf16 was asked for, and OpenVINO computes"):
        freeze(small())


FIRST_INFERENCES = """
import os, threading
import numpy
from silent_openvino import openvino
from arithmetic import compile_graph
from tests import grey_model

core = openvino.Core()
graph = core.read_model(grey_model.graph())
requests = [compile_graph(core, graph, "fp32", {}).create_infer_request() for _ in range(8)]
photo = numpy.zeros((1, 224, 224, 3), numpy.uint8)
together = threading.Barrier(len(requests))

def infer(request):
    together.wait()
    request.infer({0: photo})

threads = [threading.Thread(target=infer, args=(request,), daemon=True) for request in requests]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(30)
os._exit(any(thread.is_alive() for thread in threads))
"""


def test_first_inferences_at_once_do_not_wait_for_each_other(repository: Path) -> None:
    """In a new process, since what they would wait for is made once a process."""
    paths = (repository, repository / "inference_code", repository / "training_code")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    done = subprocess.run([sys.executable, "-c", FIRST_INFERENCES], env=environment, check=False, timeout=120)
    assert done.returncode == 0


def test_run_time_code_compiles_graphs_in_one_place(repository: Path) -> None:
    sources = [path for folder in ("training_code", "inference_code") for path in (repository / folder).rglob("*.py")]
    assert len(sources) > 50
    found = {path.name for path in sources if re.search(r"\bcompile_model\b|PRECISION_HINT", path.read_text())}
    assert found == {"arithmetic.py"}


def test_nobody_imports_openvino_with_its_telemetry(repository: Path) -> None:
    folders = ("training_code", "inference_code", "environment", "binventory", "local_aws", "tests", "benchmarks")
    importers = {
        path.name
        for folder in folders
        for path in (repository / folder).rglob("*.py")
        if re.search(r"^\s*(import|from) openvino\b", path.read_text(), re.MULTILINE)
    }
    assert importers == {"silent_openvino.py", "proof.py"}
    assert "openvino_telemetry" in (repository / "environment" / "proof.py").read_text()


def test_openvino_leaves_nothing_at_home_and_starts_no_thread(repository: Path, tmp_path: Path) -> None:
    """Its telemetry keeps an id in the home folder, and a thread reports every import to Google."""
    said = "from silent_openvino import openvino; import threading; print(openvino.__name__, threading.active_count())"
    outside_ci = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", said], env={**outside_ci, "PYTHONPATH": str(repository / "inference_code")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout, list(tmp_path.iterdir())) == ("openvino 1\n", [])


def floats_in_use(counter: CountingModel) -> str:
    """The precisions in which OpenVINO computes a loaded model."""
    network = counter._network
    assert isinstance(network, Network)
    text: str = network._request.get_compiled_model().get_property("INFERENCE_PRECISION_HINT").to_string()
    return text


@pytest.mark.parametrize("served", SERVED)
def test_the_endpoint_computes_in_what_its_artefact_says(
    served: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = grey_model.write(tmp_path / "model", precision=served)
    if served == "bf16" and "bf16" not in arithmetic.floats_of_cpu():
        with pytest.raises(ArtefactError, match=r"serving\.json: precision bf16 was asked for, and this processor"):
            model_fn(folder)
        pytest.skip("bf16 was not tried, but refused: this processor does not have it")
    assert floats_in_use(model_fn(folder)) == ("bf16" if served == "bf16" else "f32")


@pytest.mark.usefixtures("without_bf16")
def test_nothing_that_was_asked_to_be_bf16_becomes_something_else(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"serving\.json: precision bf16 was asked for, and this processor"):
        model_fn(grey_model.write(tmp_path / "model", precision="bf16"))
    places = of_splits(shards, "train", "validation")
    with pytest.raises(JobError, match=r"backbone cannot run here: precision bf16 was asked for"):
        embed.main([*BASE, *places, "--precision", "bf16", "--output", str(tmp_path / "refused")])
    embed.main([*BASE, *places, "--output", str(tmp_path / "embedding")])
    assert json.loads((tmp_path / "embedding" / "embedding.json").read_text())["engine"] == "openvino fp32"
    flags = ["--backbone", "small", "--embedding", str(tmp_path / "embedding"), "--epochs", "1", "--watch", "off"]
    train.main([*flags, "--output", str(tmp_path / "trained"), "--checkpoints", str(tmp_path / "checkpoints")])
    judged = ["--model", str(tmp_path / "trained"), *of_splits(shards, "train", "validation", "test")]
    with pytest.raises(JobError, match=r"endpoint would refuse this model: serving\.json: precision bf16 was asked"):
        evaluate.main([*judged, "--precision", "bf16", "--output", str(tmp_path / "evaluated")])


@dataclass(frozen=True)
class Trained:
    """A head that was trained on features: its folder, and what it says of the validation photos."""

    model: Path
    loss: float
    counts: Any


SEEDS = range(3)


def trained(precision: str, shards: Path, folder: Path) -> list[Trained]:
    """A head for each of SEEDS, on features that were computed in a precision."""
    embed.main([*BASE, *of_splits(shards, "train", "validation"), "--precision", precision, "--output", str(folder)])
    return [head_on(folder, folder.parent / f"{folder.name}-{seed}", seed) for seed in SEEDS]


def head_on(features: Path, output: Path, seed: int) -> Trained:
    flags = ["--backbone", "small", "--embedding", str(features), "--epochs", "40", "--lr", "0.01"]
    flags += ["--batch-size", "16", "--seed", str(seed), "--watch", "off"]
    train.main([*flags, "--output", str(output), "--checkpoints", str(output / "checkpoints")])
    head = load_model(output)[0].head
    with torch.inference_mode():
        counts = head(read_split(features / "features", "validation").features).argmax(dim=1)
    best = json.loads((output / "metrics.json").read_text())["best"]
    return Trained(output, best["validation_loss"], counts.numpy())


@pytest.fixture(scope="module")
def heads(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Trained]]:
    """The heads on features of a precision, trained once."""
    folder = tmp_path_factory.mktemp("heads")
    return cache(lambda precision: trained(precision, shards, folder / precision))


def test_features_have_the_effect_of_fp32(
    precision: str, heads: Callable[[str], list[Trained]], shards: Path, tmp_path: Path
) -> None:
    # fp32 itself is held to the same, so that what the test allows is seen to come from bf16 alone.
    found = {"fp32": heads("fp32")}
    found["other"] = trained("fp32", shards, tmp_path / "again") if precision == "fp32" else heads(precision)
    losses = {name: np.array([head.loss for head in ones]) for name, ones in found.items()}
    agreement = np.mean([a.counts == b.counts for a, b in zip(found["fp32"], found["other"], strict=True)])
    allowed = {"fp32": (0.0, 1.0), "bf16": (0.02, 0.95)}[precision]
    assert abs(losses["other"] / losses["fp32"] - 1).max() <= allowed[0]
    assert agreement >= allowed[1]


def test_the_model_says_in_what_everything_was_computed(
    precision: str, heads: Callable[[str], list[Trained]], shards: Path, tmp_path: Path
) -> None:
    model = heads(precision)[0].model
    assert read_card(model / "model.json").computed_in == {"features": precision, "training": "fp32"}
    judged = ["--model", str(model), *of_splits(shards, "train", "validation", "test")]
    evaluate.main([*judged, "--precision", precision, "--output", str(tmp_path / "evaluated")])
    report = json.loads((tmp_path / "evaluated" / "evaluation" / "evaluation.json").read_text())
    lineage = report["binventory"]["lineage"]
    assert lineage["features computed in"] == precision and lineage["training computed in"] == "fp32"
    assert lineage["precision"] == precision
    assert f"{precision} on validation" in lineage


@pytest.mark.parametrize("split", ["train", "validation"])
def test_features_of_two_precisions_are_not_trained_on(split: str, tmp_path: Path) -> None:
    write_embedding(tmp_path)
    listed = tmp_path / "features" / "parts.json"
    flags = ["--backbone", "small", "--embedding", str(tmp_path), "--epochs", "1"]
    flags += ["--output", str(tmp_path / "out"), "--checkpoints", str(tmp_path / "checkpoints")]
    add_features(tmp_path, split, "other", torch.zeros(2, 6), [1, 2], precision="bf16")
    with pytest.raises(JobError, match=r"some features were computed in bf16 and some in fp32.*precision fp32"):
        train.main(flags)
    # The two splits as well: one in bf16 as a whole, the other in fp32.
    first = f"{split}/{split}-0.view0.safetensors"
    (tmp_path / "features" / first).unlink()
    parts = read_sealed(listed)
    del parts["parts"][first]
    listed.write_bytes(seal(parts))
    with pytest.raises(JobError, match=r"some features were computed in bf16 and some in fp32.*precision fp32"):
        train.main(flags)


def test_features_of_machines_with_different_processors_are_refused(tmp_path: Path) -> None:
    write_features(tmp_path / "a.safetensors", torch.zeros(1, 6), [1], ["a"], view=0, precision="bf16", made_from="b")
    with pytest.raises(JobError, match=r"processor that computes in other numbers \(it is in bf16\); .*precision fp32"):
        read_features(tmp_path / "a.safetensors", "c")


def test_an_attempt_on_another_processor_makes_its_own_features(
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A job that was reclaimed under one precision and continues under another takes none of the parts over."""
    if "bf16" not in arithmetic.floats_of_cpu():
        pytest.skip("two kinds of processor were not tried: this run has one")
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path / "job"))
    flags = [*BASE, *of_splits(shards, "train", "validation")]
    other = "bf16" if precision == "fp32" else "fp32"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for turn, parts in ((precision, 4), (other, 4), (other, 0)):
        offered = HAS_BF16 if turn == "bf16" else WITHOUT_BF16
        monkeypatch.setattr(arithmetic, "capabilities_of_cpu", lambda offered=offered: offered)
        embed.main(flags)
        assert f" parts={parts} " in capsys.readouterr().out
        model = tmp_path / "job" / "model"
        assert json.loads((model / "embedding.json").read_text())["computed_in"] == turn
        assert {read_split(model / "features", split).precision for split in ("train", "validation")} == {turn}


def small() -> BinModel:
    return BinModel(build_backbone("small", 0), torch.nn.Identity(), Preprocessing(32, 32)).eval()


def test_an_engine_that_is_too_far_from_fp32_is_named_and_the_next_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(arithmetic, "capabilities_of_cpu", lambda: HAS_BF16)
    honest, start = OpenvinoGraph.run, OpenvinoGraph.__init__
    wrong: set[str] = set()

    def started(self: OpenvinoGraph, path: Path, floats: str) -> None:
        start(self, path, "fp32")
        self.floats = floats  # type: ignore[attr-defined]

    def answered(self: OpenvinoGraph, batches: Any) -> Any:
        factor = 1.3 if self.floats in wrong else 1.0  # type: ignore[attr-defined]
        return (factor * found for found in honest(self, batches))

    monkeypatch.setattr(OpenvinoGraph, "__init__", started)
    monkeypatch.setattr(OpenvinoGraph, "run", answered)
    for failing, engine in (("", "openvino bf16"), ("bf16", "openvino fp32"), ("bf16 fp32", "torch fp32")):
        wrong.update(failing.split())
        assert freeze(small()).engine == engine
        warned = capsys.readouterr().err
        assert warned.count("is not used") == len(wrong)
        assert all(f"openvino {floats} is not used: its features differ by" in warned for floats in wrong)
    with pytest.raises(JobError, match=r"precision bf16 does not suit this backbone.*take auto or fp32"):
        freeze(small(), "bf16")


@pytest.mark.parametrize(
    ("kind", "share", "words"),
    [
        ("fp32", 0.0009, None),
        ("fp32", 0.0011, "more than 0.001"),
        ("bf16", 0.14, None),
        ("bf16", 0.16, "more than 0.15, beyond which rounding changes answers"),
        ("bf16", float("nan"), "its features differ by nan"),
    ],
)
def test_an_error_is_relative_to_the_difference_between_photos(
    kind: str, share: float, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # PyTorch's own bf16 is near on a network this small; that it is a yardstick too is tested above.
    monkeypatch.setattr(engine_check, "BF16_FACTOR", 1000.0)
    photos = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    photos[:3] //= 4
    for scale in (1.0, 1e-3):
        model = small()
        with torch.no_grad():
            for value in list(model.backbone.parameters())[-2:]:
                value.mul_(scale)
        exact = next(frozen_backbone._on_torch(model).run([photos]))
        spread = (exact - exact.mean(dim=0)).norm()
        bent = exact + share * spread / exact.numel() ** 0.5
        complaint = engine_check.EngineCheck(model, photos).complaint(kind, partial(_always, bent))
        assert (complaint is None) if words is None else (complaint is not None and words in complaint)


def _always(features: Tensor, _batches: Iterable[Photos]) -> Iterator[Tensor]:
    return iter([features])


def _scaled(
    run: Callable[[Iterable[Photos]], Iterator[Tensor]], factor: float, batches: Iterable[Photos]
) -> Iterator[Tensor]:
    return (factor * features for features in run(batches))


@pytest.mark.parametrize("pixel", [0, 200])
def test_photos_that_all_look_alike_make_no_error_infinite(pixel: int) -> None:
    model = small()
    if not pixel:
        with torch.no_grad():
            for value in model.backbone.parameters():
                value.zero_()
    photos = np.full((3, 32, 32, 3), pixel, dtype=np.uint8)
    check = engine_check.EngineCheck(model, photos)
    exact = next(frozen_backbone._on_torch(model).run([photos]))
    assert check.complaint("fp32", lambda _: iter([exact])) is None
    assert check.complaint("fp32", lambda _: iter([exact + 1])) is not None


def test_a_gpu_is_held_to_the_same_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(frozen_backbone, "half_of_gpu", lambda: "fp16")
    exact = frozen_backbone._on_torch(small()).run
    wrong: set[str] = set()

    def engines(_model: BinModel, kinds: Sequence[str]) -> Iterator[FrozenBackbone]:
        for kind in kinds:
            factor = 1.3 if kind in wrong else 1.0
            yield FrozenBackbone("cuda", kind, partial(_scaled, exact, factor))

    monkeypatch.setattr(frozen_backbone, "_on_cuda", engines)
    for failing, engine in (("", "cuda fp16"), ("fp16", "cuda fp32"), ("fp16 fp32", "torch fp32")):
        wrong.update(failing.split())
        assert freeze(small()).engine == engine
    with pytest.raises(JobError, match=r"precision bf16 was asked for, and this processor computes in fp16 and fp32"):
        freeze(small(), "bf16")


def test_every_value_that_a_setting_may_take_is_known_to_the_job() -> None:
    for section in (EmbedSettings, EvaluationSettings):
        assert get_args(section.model_fields["precision"].annotation) == ASKED
