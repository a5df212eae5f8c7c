"""Measure a trained model on the test split, compare it with the champion, and make the archive that is served.

Writes serving/model.tar.gz (model.onnx, serving.json). Runs that archive as the endpoint will, and writes
evaluation.json, answers.jsonl and evaluation.html into evaluation/.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from arithmetic import ASKED
from digests import seal, sha256_of
from evaluation import verdict
from evaluation.answers import write_answers
from evaluation.calibration import Temperature, fit_temperature, softmax
from evaluation.champion import Champion, FoundChampion, find_champion
from evaluation.count_metrics import Floats, Predictions
from evaluation.gate import GateSettings
from evaluation.photo_traits import skus_of
from evaluation.report import write_report
from evaluation.served_model import Logits, ServedModel, probabilities_of
from ingestion.split import block_of
from jobs.archive import open_archive, write_archive
from jobs.container import JobContainer, JobError, checked_output, leave, run_job
from jobs.lineage import code_fingerprint, data_fingerprint, require_disjoint
from jobs.settings import parse_settings, setting
from modelling.bin_model import ModelCard, load_model
from modelling.head import CountHead
from modelling.onnx_export import export_logits
from modelling.quantisation import Allowance, PrecisionChoice, bf16_as_asked, choose_precision, quantise
from photo import PhotoError
from serving.artefact import DESCRIPTION_FILE, MODEL_FILE
from shards import NOT_SEALED, Sample, ShardError, ShardIndex, check_sealed
from shards.lists import read_split_by
from stacks.vocabulary import ARCHIVE_DIGEST, SPLITS

SERVING_SCHEMA: Final = 1
_USUAL_BLOCK: Final = 100
EXAMPLES = """examples:
  python evaluate.py --model model.tar.gz --train shards/train --validation shards/validation --test shards/test \\
      --output evaluated --accuracy-threshold 0.3
  python evaluate.py --model model/ --precision fp32 --model-package-group binventory-dev ...
"""


@dataclass(frozen=True)
class EvaluateSettings:
    """The flags of the Evaluate job."""

    model: Path = setting("model.tar.gz, or a folder that holds it or its files")
    train: Path = setting("folder of training shards: baselines, int8 calibration")
    validation: Path = setting("folder of validation shards: temperature, choice of precision")
    test: Path = setting("folder of test shards: everything that is reported")
    output: Path = setting("where to write")
    accuracy_threshold: float = setting("least accuracy on the test split for registration", 0.0, low=0, high=1)
    margin: float = setting("how much less accuracy than the champion is still not worse", 0.01, low=0, high=1)
    endpoint: str = setting("endpoint whose model is the champion; none: the newest approved of the group", "none")
    model_package_group: str = setting("group of the champion if no endpoint serves; none: no champion", "none")
    precision: str = setting("what is served; auto: int8 if it is as good as fp32, else fp32", "auto", choices=ASKED)
    int8_accuracy_loss: float = setting("accuracy int8 may lose on the validation split", 0.005, low=0, high=1)
    int8_rmse_loss: float = setting("RMSE int8 may add on the validation split", 0.01, low=0, high=5)
    calibration_photos: int = setting("training photos that calibrate int8", 32, low=8, high=4096)
    block_size: int = setting(
        "ids a block, whose photos are not independent; 0: the blocks by which the photos were split", 0,
        low=0, high=1_000_000,
    )  # fmt: skip
    seed: int = setting("seed of the bootstrap", 0, low=0, high=2**31)
    sealed: str = setting(
        "digests of the splits' lists of shards, as step Seal recorded them; none: not held to any", NOT_SEALED
    )


@dataclass(frozen=True)
class Splits:
    """The photos of every split."""

    train: ShardIndex
    validation: ShardIndex
    test: ShardIndex
    split_by: str
    """What put the photos into the splits; empty where that is not known."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """The graph that will be served, and why it was chosen."""

    graph: Path
    draft: ServedModel
    """The graph as it was measured on the validation split, without its temperature."""
    choice: PrecisionChoice
    temperature: Temperature


def main(arguments: list[str] | None = None) -> None:
    """Evaluate one model. Raises JobError where the input is wrong."""
    settings = parse_settings(EvaluateSettings, arguments, __doc__ or "", EXAMPLES)
    output = checked_output(settings.output)
    splits = _open_splits(settings)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model, card = load_model(_model_folder(settings.model, folder))
        if not isinstance(model.head, CountHead):
            raise JobError(
                f"--model {settings.model} is a backbone without a head, as Embed writes it: train one first"
            )
        _require_as_trained(card, splits)
        export_logits(model, folder / "fp32.onnx")
        del model
        chosen = _choose(card, splits, settings, folder)
        archive = output / "serving" / "model.tar.gz"
        description = {**_description(card, chosen), "split_by": splits.split_by}
        write_archive(archive, _write_model(folder / "chosen", chosen.graph, description))
        served = ServedModel.of_archive(archive, folder / "served", chosen.draft)
        answers = served.answers(splits.test)
        test = _predictions(splits.test, probabilities_of(answers), card, settings, card.answer)
        champion, not_compared = _champion(splits, card, settings)
        judged = verdict.evaluate(
            test=test, photos=splits.test, training_labels=splits.train.counts, temperature=chosen.temperature,
            gate=GateSettings(settings.accuracy_threshold, settings.margin, seed=settings.seed),
            champion=None if champion is None else _predictions(
                splits.test, champion.probabilities, card, settings, champion.answer
            ),
            not_compared=not_compared,
            training_skus=skus_of(splits.train.records),
            lineage=_lineage(card, splits, chosen, served, champion) | {ARCHIVE_DIGEST: served.seal},
        )  # fmt: skip
        report = output / "evaluation"
        listed = write_answers(report, zip(splits.test.ids, splits.test.counts, answers, strict=True))
        write_report(report, judged, splits.test, listed)
    decision = judged.decision
    metrics = judged.model.metrics
    majority = judged.baselines[0].metrics
    print(
        f"test:accuracy={metrics.accuracy:.6g} test:rmse={metrics.rmse:.6g} test:within_one={metrics.within_one:.6g} "
        f"majority:accuracy={majority.accuracy:.6g} majority:rmse={majority.rmse:.6g}"
    )
    print(f"precision {chosen.choice.precision}: {chosen.choice.reason}")
    if not_compared:
        print(f"judged by the threshold alone: {not_compared}")
    if decision.no_bound and decision.passed:
        print(f"judged without a bound: {decision.no_bound}")
    print("gate passed" if decision.passed else f"gate refused: {'; '.join(decision.reasons)}", flush=True)


def _open_splits(settings: EvaluateSettings) -> Splits:
    opened = {name: _open_split(name, getattr(settings, name), settings.sealed) for name in SPLITS}
    require_disjoint({name: split.ids for name, split in opened.items()})
    return Splits(**opened, split_by=read_split_by(settings.test))


def _open_split(name: str, folder: Path, sealed: str) -> ShardIndex:
    try:
        check_sealed(name, folder, sealed)
        index = ShardIndex(folder)
    except ShardError as error:
        raise JobError(f"--{name}: {error}") from error
    if not len(index):
        raise JobError(f"--{name}: the shards in {folder} hold no photos")
    return index


def _model_folder(path: Path, scratch: Path) -> Path:
    """The folder of model.json: given as it is, or unpacked from the archive."""
    if (path / "model.json").is_file():
        return path
    archive = path / "model.tar.gz" if path.is_dir() else path
    if not archive.is_file():
        raise JobError(f"--model: {path} is neither a model folder nor a model.tar.gz")
    folder = scratch / "model"
    open_archive(archive, folder)
    return folder


def _require_as_trained(card: ModelCard, splits: Splits) -> None:
    """Raise JobError where the photos were split in another way than those that the model was trained on."""
    if card.split_by and splits.split_by and card.split_by != splits.split_by:
        raise JobError(
            f"--model was trained on photos that were split by {card.split_by}, and --test was split by "
            f"{splits.split_by}: the model has learnt most of these photos. Give the shards that it was trained on, or "
            "embed and train again"
        )


def _choose(card: ModelCard, splits: Splits, settings: EvaluateSettings, folder: Path) -> Chosen:
    """Fit the temperature of each graph on the validation split, and choose the precision by its answers there."""
    graph = folder / "fp32.onnx"
    # Beside each other: a graph is rounded on one core for most of the time.
    with ThreadPoolExecutor(1) as beside:
        floating = beside.submit(_drafted, "fp32", graph, card, splits.validation, folder)
        drafted = {}
        if settings.precision == "bf16":
            drafted["bf16"] = _drafted("bf16", graph, card, splits.validation, folder)
        elif settings.precision == "auto":
            rounded = folder / "int8.onnx"
            _quantise(graph, rounded, _spread(splits.train, settings.calibration_photos), card)
            drafted["int8"] = _drafted("int8", rounded, card, splits.validation, folder)
        drafted["fp32"] = floating.result()
    # Each with its temperature, as it would be served: the median depends on it.
    temperatures = {
        name: fit_temperature(draft.scores, splits.validation.counts, classes=card.classes)
        for name, draft in drafted.items()
    }
    scored = {
        name: _predictions(
            splits.validation, softmax(draft.scores, temperatures[name].value), card, settings, card.answer
        )
        for name, draft in drafted.items()
    }
    allowance = Allowance(settings.int8_accuracy_loss, settings.int8_rmse_loss)
    choice = (
        bf16_as_asked(scored["fp32"], scored["bf16"])
        if "bf16" in scored
        else choose_precision(scored["fp32"], scored.get("int8"), allowance)
    )
    chosen = drafted[choice.precision]
    return Chosen(chosen.graph, chosen.served, choice, temperatures[choice.precision])


def _quantise(fp32: Path, int8: Path, photos: Sequence[Sample], card: ModelCard) -> None:
    try:
        quantise(fp32, int8, photos, card.preprocessing)
    except PhotoError as error:
        raise JobError(f"a training photo of the shards cannot be read ({error}); ingest again") from error


@dataclass(frozen=True, eq=False)
class _Draft:
    """A graph as it would be served, and its logits [N, classes] for the validation photos."""

    graph: Path
    served: ServedModel
    scores: Logits


def _drafted(precision: str, graph: Path, card: ModelCard, validation: ShardIndex, folder: Path) -> _Draft:
    place = folder / f"draft-{precision}"
    _write_model(place, graph, _fields(card, precision, temperature=1.0))
    served = ServedModel(place)
    return _Draft(graph, served, served.scores(validation))


def _spread(photos: ShardIndex, wanted: int) -> Sequence[Sample]:
    """Evenly spaced photos, so that every part of the split is seen."""
    taken = min(wanted, len(photos))
    try:
        return [photos[place * len(photos) // taken] for place in range(taken)]
    except ShardError as error:
        raise JobError(f"a photo that calibrates int8 cannot be read: {error}") from error


def _predictions(
    photos: ShardIndex, probabilities: Floats, card: ModelCard, settings: EvaluateSettings, answer: str
) -> Predictions:
    blocks = _blocks(photos, settings.block_size)
    return Predictions.of(photos.counts, probabilities, blocks, classes=card.classes, answer=answer)


def _blocks(photos: ShardIndex, size: int) -> list[str]:
    """The block of each photo, as Ingest has split them; by ids where a size was asked for, or shards do not say."""
    asked = size or _USUAL_BLOCK
    return [(not size and record.block) or block_of(record.id, asked) for record in photos.records]


def _champion(splits: Splits, card: ModelCard, settings: EvaluateSettings) -> FoundChampion:
    if settings.model_package_group == "none" != settings.endpoint:
        raise JobError(
            f"--endpoint {settings.endpoint} needs --model-package-group: where the endpoint does not answer, the "
            "champion is the newest approved package of the group"
        )
    if settings.model_package_group == "none":
        return FoundChampion(None, "")
    return find_champion(
        settings.endpoint, settings.model_package_group, splits.test, card.classes, split_by=splits.split_by
    )


def _lineage(
    card: ModelCard, splits: Splits, chosen: Chosen, served: ServedModel, champion: Champion | None
) -> dict[str, str]:
    """Origin of the model, for the report."""
    asked = {f"hyperparameter {name}": str(value) for name, value in card.training.get("hyperparameters", {}).items()}
    choice = chosen.choice
    scores = {
        "fp32 on validation": choice.fp32, "int8 on validation": choice.int8, "bf16 on validation": choice.bf16,
    }  # fmt: skip
    shards = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return {
        "data fingerprint": data_fingerprint(shards),
        "code fingerprint": code_fingerprint(),
        "photos": ", ".join(f"{name} {len(split)}" for name, split in shards.items()),
        "backbone": card.backbone,
        "weights": card.weights,
        "strategy": card.strategy,
        **{f"{what} computed in": floats for what, floats in card.computed_in.items()},
        "precision": choice.precision,
        "precision reason": choice.reason,
        **{name: f"accuracy {s.accuracy:.4f}, RMSE {s.rmse:.4f}" for name, s in scores.items() if s is not None},
        "temperature": f"{chosen.temperature.value:.4f}",
        "served model": served.identity["sha256"],
        **({} if champion is None else {"champion": champion.arn}),
        **asked,
    }


def _description(card: ModelCard, chosen: Chosen) -> dict[str, Any]:
    """serving.json of the archive, with the reasons of the choice."""
    fields = _fields(card, chosen.choice.precision, chosen.temperature.value)
    return {**fields, "quantisation": chosen.choice.as_json()}


def _fields(card: ModelCard, precision: str, temperature: float) -> dict[str, Any]:
    """The fields of serving.json that the endpoint reads."""
    return {
        "schema": SERVING_SCHEMA,
        "classes": list(card.classes),
        "preprocessing": asdict(card.preprocessing),
        "temperature": temperature,
        "precision": precision,
        "answer": card.answer,
        "computed_in": {**card.computed_in, "answers": precision},
    }


def _write_model(folder: Path, graph: Path, description: dict[str, Any]) -> dict[str, Path]:
    """Write the files that the endpoint loads into `folder`; returns them by name."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / name for name in (MODEL_FILE, DESCRIPTION_FILE)}
    shutil.copy(graph, files[MODEL_FILE])
    files[DESCRIPTION_FILE].write_bytes(seal({**description, "graph": sha256_of(files[MODEL_FILE])}))
    return files


if __name__ == "__main__":
    leave(run_job(main, JobContainer()))
