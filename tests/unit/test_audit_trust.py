"""An audit says first how far its model can be trusted, and calls no record wrong by one that knows nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from binventory.audit import job
from binventory.audit.database import AuditDatabase
from binventory.audit.model import AuditModel, model_of_package
from binventory.audit.trust import EvaluationError, Trust, trust_of
from binventory.cli import run
from binventory.core.aws import Aws
from binventory.core.errors import Exit, Problem
from tests.audited import runtime, write_evaluation, write_folder, write_predictions
from tests.conftest import NAMES


def no_aws() -> Aws:
    raise AssertionError("this audit must not need AWS")


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Evaluations that Evaluate's own code wrote: of a model that counts, and of one that knows nothing."""
    place = tmp_path_factory.mktemp("evaluations")
    return {"good": write_evaluation(place / "good", 3.0), "useless": write_evaluation(place / "useless", 0.0)}


def audited(tmp_path: Path, evaluation: Path | None, **more: Any) -> job.Result:
    folder = write_folder(tmp_path / "bins", 40)
    request = job.Request(
        str(folder),
        tmp_path / "out",
        predictions=write_predictions(folder, tmp_path / "p.jsonl", 4),
        evaluation=None if evaluation is None else str(evaluation),
        **more,
    )
    return job.run_audit(request, no_aws)


def test_the_figures_are_those_of_the_evaluation(evaluations: dict[str, Path]) -> None:
    document = json.loads(evaluations["good"].read_text())["binventory"]
    trust = trust_of(evaluations["good"].read_bytes())
    assert trust.beats_majority
    assert trust.photos == document["photos"] == 200
    assert trust.accuracy == document["model"]["accuracy"]["value"] > trust.majority_accuracy
    assert trust.majority_within_one == document["baselines"]["always the majority"]["within_one"]["value"]
    assert trust.found == document["trust"]["found"] > trust.planted
    assert not trust_of(evaluations["useless"].read_bytes()).beats_majority


def test_a_model_that_beats_the_shares_but_not_the_majority_is_not_trusted() -> None:
    """Its probabilities may be fine, but its answers are right less often than always the same one."""
    trust = Trust(100, 0.25, None, None, 0.8, 0.26, 0.7, 0.02, True, 0.1, 0.2)
    assert not trust.beats_majority and "not better than always" in trust.verdict
    assert "(" not in trust.sentences[0], "no interval is shown where none is given"


def test_summary_and_files_of_a_useless_model_rank_and_call_nothing_wrong(
    evaluations: dict[str, Path], tmp_path: Path
) -> None:
    result = audited(tmp_path, evaluations["useless"])
    said = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert list(said)[:2] == ["schema", "model"] and next(iter(said["model"])) == "verdict"
    assert said["model"]["trust"]["beats_majority"] is False
    assert (said["wrong"], said["finds"], said["unit_error"], said["fewer"], said["more"]) == (None, None, None, [], [])
    assert result.summary.listed == 40
    lines = [json.loads(line) for line in (tmp_path / "out" / "disagreements.jsonl").read_text().splitlines()]
    assert [row["rank"] for row in lines] == list(range(1, 41)) and lines[0]["recorded_probability"] == 0.025
    assert {row["wrong_probability"] for row in lines} == {None}
    with (tmp_path / "out" / "disagreements.csv").open(newline="") as stream:
        assert {row["wrong_probability"] for row in csv.DictReader(stream)} == {""}


def test_verdicts_go_when_a_better_known_model_turns_out_to_be_useless(
    evaluations: dict[str, Path], tmp_path: Path
) -> None:
    """The first run knew no evaluation; the ledger must not keep what it concluded."""
    assert audited(tmp_path, None).summary.wrong is not None
    assert audited(tmp_path, evaluations["useless"]).summary.wrong is None
    again = audited(tmp_path, None).summary
    assert again.wrong is None and again.model.trust is not None, "what is known of the model is kept"


@pytest.mark.parametrize(
    ("which", "first"),
    [
        ("good", "The model is better than always answering the most frequent quantity."),
        ("useless", "The model is not"),
        (None, "It is not known how far the model can be trusted: the answers come from a file"),
    ],
)
def test_the_terminal_and_json_say_it_first(
    which: str | None,
    first: str,
    evaluations: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = write_folder(tmp_path / "bins", 40)
    predictions = write_predictions(folder, tmp_path / "p.jsonl", 4)
    arguments = ["audit", str(folder), "--predictions", str(predictions), "--output", str(tmp_path / "out")]
    arguments += ["--evaluation", str(evaluations[which])] if which else []
    assert run([*arguments, "--format", "csv"]) == Exit.OK
    shown = capsys.readouterr().out
    assert shown.startswith(first)
    assert ("estimated wrong" in shown) == (which != "useless")
    assert ("held-out photos it is right for" in " ".join(shown.split())) == (which is not None)
    assert run([*arguments, "--json"]) == Exit.OK
    said = json.loads(capsys.readouterr().out)
    assert list(said)[1] == "model" and said["model"]["verdict"].startswith(first)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no evaluation.json"),
        ("[]", "no evaluation.json"),
        ('{"binventory": {"photos": 3}}', "earlier version"),
        ('{"binventory": {"photos": 3, "trust": {}, "model": {}, "baselines": {}}}', "missing or no number"),
    ],
)
def test_a_document_that_is_no_evaluation_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=reason):
        trust_of(text.encode())
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(Problem, match="cannot be used") as caught:
        audited(tmp_path, tmp_path / "evaluation.json")
    assert caught.value.code == Exit.USAGE


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("planted", 1.5, "a share is not between 0 and 1"),
        ("found", -0.1, "a share"),
        ("found", float("nan"), "a share"),
    ],
)
def test_an_evaluation_with_a_share_that_is_none_is_refused(
    key: str, value: float, reason: str, evaluations: dict[str, Path]
) -> None:
    document = json.loads(evaluations["good"].read_text())
    document["binventory"]["trust"][key] = value
    with pytest.raises(EvaluationError, match="a share is not between 0 and 1"):
        trust_of(json.dumps(document).encode())


def test_an_evaluation_of_endless_photos_is_refused(evaluations: dict[str, Path]) -> None:
    document = json.loads(evaluations["good"].read_text())
    document["binventory"]["photos"] = float("inf")
    with pytest.raises(EvaluationError, match="missing or no number"):
        trust_of(json.dumps(document).encode())


def test_an_evaluation_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="cannot be used"):
        audited(tmp_path, tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "the model package cannot be described (you may not)"),
        ("https://evaluations.example/evaluation.json", "cannot be used (its address is none of an S3 object)"),
        ("s3://models/", "cannot be used (its address is none of an S3 object)"),
        ("s3://models/evaluation.json", "cannot be used (you may not)"),
    ],
)
def test_a_package_whose_evaluation_cannot_be_read_is_audited_without_trust(address: str, said: str) -> None:
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    sagemaker, s3 = Stubber(aws.client("sagemaker")), Stubber(aws.client("s3"))
    described = {
        "ModelPackageName": "p", "ModelPackageArn": "arn:aws:sagemaker:us-east-1:123456789012:model-package/p/1",
        "CreationTime": "2026-11-01", "ModelPackageStatus": "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": []},
        "ModelMetrics": {"ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": address}}},
    }  # fmt: skip
    if address:
        sagemaker.add_response("describe_model_package", described)
    else:
        sagemaker.add_client_error("describe_model_package", "AccessDeniedException", "you may not")
    s3.add_client_error("get_object", "AccessDenied", "you may not")
    with sagemaker, s3:
        found = model_of_package(aws, "p/1")
    assert found.trust is None and said in found.unknown and found.package == "p/1"


def test_an_endpoint_that_sagemaker_does_not_know_is_audited_without_trust(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bins", 5)
    with runtime() as endpoint:
        request = job.Request(str(folder), tmp_path / "out", endpoint="e", names=NAMES, formats=("jsonl",))
        model = job.run_audit(request, lambda: endpoint.aws).summary.model
    assert model.trust is None and "Could not find it" in model.verdict


def test_a_ledger_does_not_mix_the_answers_of_two_models() -> None:
    ledger = AuditDatabase(Path(":memory:"), {"source": "here"})
    first = ledger.remember_model(AuditModel("package/1", "s3://b/e.json", None, "unreadable"))
    assert ledger.remember_model(AuditModel(unknown="the endpoint is off")) == first
    with pytest.raises(Problem, match="another model") as caught:
        ledger.remember_model(AuditModel("package/2"))
    assert "--restart" in caught.value.cure
    ledger.close()
