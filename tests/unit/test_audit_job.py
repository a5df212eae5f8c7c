"""A whole audit: a folder in, files out, with hostile bins, interruptions and busy endpoints."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import boto3
import httpx
import pytest
from botocore.stub import Stubber

from binventory.audit import job
from binventory.audit.counters import EndpointCounter, Pace, PhotoRefusedError, parse_probabilities
from binventory.audit.csv_records import Columns
from binventory.audit.database import Filters
from binventory.audit.plan import Plan
from binventory.audit.predictions import read_predictions
from binventory.audit.run import Scope
from binventory.cli import run
from binventory.client.counting import MAX_REQUEST_BYTES
from binventory.core.aws import Aws
from binventory.core.errors import Exit, Problem
from tests import grey_model
from tests.audited import Reply, photo_bytes, runtime, shade_answer, write_bin, write_folder, write_predictions
from tests.conftest import NAMES
from tests.serving_process import running


def no_aws() -> Aws:
    raise AssertionError("this audit must not need AWS")


def ranked(output: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (output / "disagreements.jsonl").read_text().splitlines()]


def set_aside(output: Path) -> dict[str, str]:
    with (output / "set_aside.csv").open(newline="") as stream:
        return {row["image_id"]: row["reason"] for row in csv.DictReader(stream)}


def test_wrong_records_come_first_without_any_aws(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bins", 60)
    request = job.Request(str(folder), tmp_path / "out", predictions=write_predictions(folder, tmp_path / "p.jsonl", 6))
    result = job.run_audit(request, no_aws)
    first = ranked(tmp_path / "out")[:6]
    assert {row["image_id"] for row in first} == {f"{number * 10:05d}" for number in range(6)}
    assert result.summary.wrong is not None and result.summary.wrong.low <= 0.1 <= result.summary.wrong.high
    assert {path.name for path in result.files} == {
        "disagreements.csv",
        "disagreements.jsonl",
        "disagreements.parquet",
        "set_aside.csv",
        "summary.json",
        "audit.html",
    }
    left = {path.name for path in (tmp_path / "out").iterdir()} - {path.name for path in result.files}
    assert left == {"ledger.sqlite"}


def test_every_bin_is_ranked_or_set_aside_with_a_reason(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bins", 10)
    write_bin(folder, "zero", 0)
    write_bin(folder, "six", 6)
    write_bin(folder, "many", 400)
    write_bin(folder, "huge-record", 2, record=b'{"EXPECTED_QUANTITY": 2, "x": "' + b"y" * 10_000_000 + b'"}')
    write_bin(folder, "no-json", 2, record=b"{")
    write_bin(folder, "not-a-photo", 2, photo=b"hello")
    write_bin(folder, "bad id", 2)
    write_bin(folder, "no-record", 2)
    (folder / "metadata" / "no-record.json").unlink()

    def answer(photo: bytes, number: int) -> Reply:
        return (415, b"not a photo") if photo == b"hello" else shade_answer(photo, number)

    with runtime(answer) as endpoint:
        request = job.Request(str(folder), tmp_path / "out", endpoint="e", names=NAMES, formats=("jsonl",))
        summary = job.run_audit(request, lambda: endpoint.aws).summary
    assert set_aside(tmp_path / "out") == {
        "zero": "recorded_below_scope",
        "six": "recorded_above_scope",
        "many": "recorded_above_scope",
        "huge-record": "metadata_too_large",
        "no-json": "metadata_malformed",
        "not-a-photo": "refused",
        "bad id": "unsafe_id",
        "no-record": "metadata_missing",
    }
    assert (summary.counted, summary.out_of_scope, summary.not_audited) == (10, 3, 5)
    assert len(endpoint.photos) == 11, "only photos whose record can be judged are paid for"


def test_an_interrupted_audit_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bins", 150)

    def dies_after_90(photo: bytes, number: int) -> Reply:
        return shade_answer(photo, number) if number <= 90 else (500, b"out of memory")

    request = job.Request(str(folder), tmp_path / "out", endpoint="e", names=NAMES, formats=("jsonl",), concurrency=4)
    with runtime(dies_after_90) as endpoint, pytest.MonkeyPatch.context() as patch:
        patch.setattr("binventory.audit.counters._ATTEMPTS", 1)
        with pytest.raises(Problem, match="stopped answering"):
            job.run_audit(request, lambda: endpoint.aws)
    with runtime() as endpoint:
        heard: list[int] = []
        result = job.run_audit(request, lambda: endpoint.aws, job.Progress(audited=heard.append))
        assert len(endpoint.photos) == 60, "the 90 answers of the first run are not asked for again"
    assert sum(heard) == 150 and result.summary.counted == 150
    once = tmp_path / "once"
    with runtime() as endpoint:
        job.run_audit(
            job.Request(str(folder), once, endpoint="e", names=NAMES, formats=("jsonl",)), lambda: endpoint.aws
        )
    assert (once / "disagreements.jsonl").read_bytes() == (tmp_path / "out" / "disagreements.jsonl").read_bytes()


def test_a_second_run_says_what_it_does_not_look_at_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same command a week later would show last week's photos as today's."""
    folder = write_folder(tmp_path / "bins", 12)
    out, predictions = tmp_path / "out", write_predictions(folder, tmp_path / "p.jsonl")
    arguments = ["audit", str(folder), "--output", str(out), "--predictions", str(predictions), "--format", "jsonl"]
    assert run(arguments) == Exit.OK
    assert "--restart" not in capsys.readouterr().err
    assert json.loads((out / "summary.json").read_text())["earlier"] is None
    (folder / "metadata" / "00030.json").write_text('{"EXPECTED_QUANTITY": 5}')
    assert run(arguments) == Exit.OK
    said = " ".join(capsys.readouterr().err.split())
    assert "12 bins of an earlier run since 20" in said and "--restart looks at all of them again" in said
    found = json.loads((out / "summary.json").read_text())
    assert found["earlier"]["bins"] == found["counted"] == 12 and found["earlier"]["began"].endswith(" UTC")
    assert run([*arguments[:-1], "jsonl,html"]) == Exit.OK
    page = (out / "audit.html").read_text()
    assert f"12 of the bins stand as an earlier run found them since {found['earlier']['began']}" in page
    capsys.readouterr()
    before = {row["image_id"]: row["recorded"] for row in ranked(out)}
    assert run([*arguments[:-1], "jsonl,html", "--restart"]) == Exit.OK
    assert "earlier run" not in capsys.readouterr().err and "earlier run" not in (out / "audit.html").read_text()
    assert {row["image_id"]: row["recorded"] for row in ranked(out)} == {**before, "00030": 5}


def test_a_second_audit_in_the_same_folder_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    """Both would pay for the same photos, and the second would take the first one's answers away."""
    folder = write_folder(tmp_path / "bins", 5)
    request = job.Request(str(folder), tmp_path / "out", predictions=write_predictions(folder, tmp_path / "p.jsonl"))
    arguments = ["audit", str(folder), "--output", str(tmp_path / "out"), "--predictions", str(tmp_path / "p.jsonl")]
    refused: list[int] = []

    def meanwhile(plan: Plan) -> None:
        refused.append(run([*arguments, "--restart"]))

    with pytest.MonkeyPatch.context() as patch:
        said: list[Problem] = []
        patch.setattr("binventory.cli.print_problem", said.append)
        assert job.run_audit(request, no_aws, job.Progress(planned=meanwhile)).summary.counted == 5
    assert refused == [Exit.USAGE] and "Another audit is at work" in said[0].what
    assert run(arguments) == Exit.OK, "it is free again"


def test_a_model_that_changes_during_an_audit_ends_it(tmp_path: Path) -> None:
    """A promotion while the audit runs: the answers of two models are never ranked together."""
    folder = write_folder(tmp_path / "bins", 40)

    def promoted_after_20(photo: bytes, number: int) -> Reply:
        return answers_of(1 if number <= 20 else 2)(photo, number)

    request = job.Request(str(folder), tmp_path / "out", endpoint="e", names=NAMES, formats=("jsonl",), concurrency=2)
    with runtime(promoted_after_20) as endpoint, pytest.raises(Problem, match="another model than before") as caught:
        job.run_audit(request, lambda: endpoint.aws)
    assert "binventory-dev/1" in caught.value.why and "binventory-dev/2" in caught.value.why
    assert len(endpoint.photos) < 40
    assert not (tmp_path / "out" / "summary.json").exists()
    with runtime(answers_of(2)) as endpoint, pytest.raises(Problem, match="another model than before") as caught:
        job.run_audit(request, lambda: endpoint.aws)
    assert "this audit is of model-package/binventory-dev/1" in caught.value.why, "also in the next run"
    with runtime(answers_of(1)) as endpoint:
        assert job.run_audit(request, lambda: endpoint.aws).summary.counted == 40
    assert {row["model_package"] for row in ranked(tmp_path / "out")} == {"model-package/binventory-dev/1"}


def answers_of(version: int) -> Callable[[bytes, int], Reply]:
    """An endpoint that serves this version of a model package."""

    def answer(photo: bytes, number: int) -> Reply:
        status, body = shade_answer(photo, number)
        model = {"package": f"model-package/binventory-dev/{version}"}
        return status, json.dumps(json.loads(body) | {"model": model}).encode()

    return answer


def test_restart_forgets_and_another_audit_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bins", 5)
    first = write_predictions(folder, tmp_path / "first.jsonl")
    second = write_predictions(folder, tmp_path / "second.jsonl", 2)
    job.run_audit(job.Request(str(folder), tmp_path / "out", predictions=first, formats=("jsonl",)), no_aws)
    other = job.Request(str(folder), tmp_path / "out", predictions=second, formats=("jsonl",))
    with pytest.raises(Problem, match="another audit"):
        job.run_audit(other, no_aws)
    again = job.Request(str(folder), tmp_path / "out", predictions=second, formats=("jsonl",), restart=True)
    job.run_audit(again, no_aws)
    assert ranked(tmp_path / "out")[0]["recorded_probability"] == 0.025


def test_a_file_that_was_corrected_in_place_is_another_audit(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bins", 5)
    predictions = write_predictions(folder, tmp_path / "p.jsonl")
    records = tmp_path / "records.csv"
    records.write_text("image_id,count\n00000,1\n00010,2\n")
    request = job.Request(str(folder), tmp_path / "out", records=records, predictions=predictions, formats=("jsonl",))
    assert job.run_audit(request, no_aws).summary.counted == 2
    assert job.run_audit(request, no_aws).summary.counted == 2
    lines = predictions.read_text().splitlines(keepends=True)
    predictions.write_text("".join(reversed(lines)))
    assert job.run_audit(request, no_aws).summary.counted == 2, "the same answers in another order"
    records.write_text("image_id,count\n00000,1\n00010,3\n")
    with pytest.raises(Problem, match="another audit") as refused:
        job.run_audit(request, no_aws)
    assert "digest of the records was" in refused.value.why
    records.write_text("image_id,count\n00000,1\n00010,2\n")
    write_predictions(folder, predictions, 2)
    with pytest.raises(Problem, match="another audit") as refused:
        job.run_audit(request, no_aws)
    assert "digest of the predictions was" in refused.value.why


def test_filters_choose_what_is_listed_not_what_is_estimated(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bins", 50)
    predictions = write_predictions(folder, tmp_path / "p.jsonl", 5)
    shares = []
    for filters, listed in ((Filters(), 50), (Filters(top=7), 7), (Filters(threshold=0.5), 5), (Filters(0.5, 3), 3)):
        output = tmp_path / f"out-{listed}-{filters.top}"
        request = job.Request(str(folder), output, predictions=predictions, filters=filters, formats=("jsonl",))
        summary = job.run_audit(request, no_aws).summary
        assert summary.finds is not None and summary.wrong is not None
        assert summary.listed == summary.finds.inspections == len(ranked(output)) == listed
        shares.append(summary.wrong.share)
    assert len(set(shares)) == 1


def test_a_busy_endpoint_is_asked_again_and_a_refusal_is_final() -> None:
    def busy_twice(photo: bytes, number: int) -> Reply:
        return (503, b"busy") if number <= 2 else shade_answer(photo, number)

    with runtime(busy_twice) as found:
        table = EndpointCounter(found.aws, "e", Pace(None), patience=0).probabilities("1", photo_bytes(60))
        assert max(table, key=lambda count: table[count]) == 3
    with runtime(lambda photo, number: (400, b"too small")) as found:
        with pytest.raises(PhotoRefusedError, match="too small"):
            EndpointCounter(found.aws, "e", Pace(None), patience=0).probabilities("1", b"x")
        assert len(found.photos) == 1


@pytest.mark.parametrize("status", [0, 408, 500, 507])
def test_a_container_that_fails_is_no_refusal_of_the_photo(status: int) -> None:
    """0: it gave no answer within SageMaker's minute, or it ended."""

    def fails_twice(photo: bytes, number: int) -> Reply:
        return (status, b"no answer") if number <= 2 else shade_answer(photo, number)

    with runtime(fails_twice) as found:
        table = EndpointCounter(found.aws, "e", Pace(None), patience=0).probabilities("1", photo_bytes(60))
        assert max(table, key=lambda count: table[count]) == 3
    with runtime(lambda photo, number: (status, b"no answer")) as found:
        with pytest.raises(Problem, match="stopped answering") as stopped:
            EndpointCounter(found.aws, "e", Pace(None), patience=0).probabilities("1", photo_bytes(60))
        assert "no answer" in stopped.value.why and len(found.photos) == 5


def test_credentials_that_may_not_ask_the_endpoint_are_no_endpoint_that_stopped() -> None:
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    with Stubber(aws.client("sagemaker-runtime")) as stub:
        stub.add_client_error(
            "invoke_endpoint", "AccessDeniedException", "User jo is not authorized", http_status_code=403
        )
        with pytest.raises(Problem, match="These credentials may not ask the endpoint e") as refused:
            EndpointCounter(aws, "e", Pace(None)).probabilities("1", photo_bytes(60))
    assert "User jo" in refused.value.why and "sagemaker:InvokeEndpoint" in refused.value.cure


@pytest.mark.parametrize("body", [b"[]", b'{"probabilities": {"1": 0.5, "2": 0.9}}', b'{"probabilities": {}}', b"x"])
def test_an_endpoint_that_is_no_count_model_stops_the_audit(body: bytes) -> None:
    with runtime(lambda photo, number: (200, body)) as found, pytest.raises(Problem, match="count model"):
        EndpointCounter(found.aws, "e", Pace(None)).probabilities("1", b"x")


def test_a_model_with_other_classes_is_not_taken_for_ours(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bins", 5)
    predictions = write_predictions(folder, tmp_path / "p.jsonl")
    request = job.Request(str(folder), tmp_path / "out", predictions=predictions, scope=Scope((1, 2, 3)))
    with pytest.raises(Problem, match="other quantities") as caught:
        job.run_audit(request, no_aws)
    assert "--classes 1,2,3,4,5" in caught.value.cure


def test_the_pace_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured by the requested waits, not by elapsed time."""
    slept: list[float] = []
    monkeypatch.setattr("binventory.audit.counters.time.sleep", slept.append)
    monkeypatch.setattr("binventory.audit.counters.time.monotonic", lambda: 100.0)
    pace = Pace(4)
    for _ in range(3):
        pace.wait()
    assert slept == [0, 0.25, 0.5]


PREDICTION_FILES = {
    "p.csv": "image_id,p1,p2\n7,0.25,0.75\n",
    "spreadsheet.csv": "\ufeffImage ID; p1; p2\r\n7.jpg;0.25;0.75\r\n;;\r\n",
    "p.jsonl": '{"image_id": "7", "probabilities": {"1": 0.25, "2": 0.75}}\n\n',
}


@pytest.mark.parametrize("name", PREDICTION_FILES)
def test_predictions_are_read_in_every_form(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(PREDICTION_FILES[name])
    assert list(read_predictions(tmp_path / name)) == [("7", {1: 0.25, 2: 0.75})]


def test_predictions_of_batch_transform_and_parquet(tmp_path: Path) -> None:
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet as parquet  # type: ignore[import-untyped]

    folder = tmp_path / "transform" / "deep"
    folder.mkdir(parents=True)
    (folder / "7.jpg.out").write_text('{"probabilities": {"1": 0.25, "2": 0.75}}')
    assert list(read_predictions(tmp_path / "transform")) == [("7", {1: 0.25, 2: 0.75})]
    table = pyarrow.Table.from_pylist([{"image_id": "7", "p1": 0.25, "p2": 0.75}])
    parquet.write_table(table, tmp_path / "p.parquet")
    assert list(read_predictions(tmp_path / "p.parquet")) == [("7", {1: 0.25, 2: 0.75})]


def test_reasons_in_predictions_set_photos_aside_and_another_answer_refuses_the_file(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bins", 3)
    answers = tmp_path / "transform"
    (answers / "again").mkdir(parents=True)
    table = {str(count): 0.96 if count == 1 else 0.01 for count in range(1, 6)}
    (answers / "00000.jpg.out").write_text(json.dumps({"probabilities": table}))
    (answers / "again" / "00000.jpg.out").write_text(json.dumps({"probabilities": table}))
    refused = {"error": {"reason": "unreadable", "message": "the JPEG is truncated"}}
    (answers / "00010.jpg.out").write_text(json.dumps(refused))
    request = job.Request(str(folder), tmp_path / "out", predictions=answers)
    job.run_audit(request, no_aws)
    rows = list(csv.DictReader((tmp_path / "out" / "set_aside.csv").open()))
    assert [(row["image_id"], row["reason"]) for row in rows] == [("00010", "refused"), ("00020", "no_prediction")]
    assert rows[0]["detail"] == "the JPEG is truncated"
    (answers / "again" / "00000.jpg.out").write_text(json.dumps(refused))
    with pytest.raises(Problem, match="00000 has another answer already"):
        job.run_audit(request, no_aws)
    (answers / "again" / "00000.jpg.out").write_text("{")
    with pytest.raises(Problem, match=r"again/00000\.jpg\.out"):
        job.run_audit(request, no_aws)


def test_the_quantities_of_one_sku_in_several_rows_are_added(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bins", 3)
    records = tmp_path / "records.csv"
    records.write_text("image_id,count,sku\n00020,2,A\n00020,1,A\n")
    predictions = write_predictions(folder, tmp_path / "p.jsonl")
    columns = Columns(sku="sku")
    request = job.Request(str(folder), tmp_path / "out", records=records, columns=columns, predictions=predictions)
    job.run_audit(request, no_aws)
    (row,) = ranked(tmp_path / "out")
    assert row["recorded"] == 3 and row["skus"] == [{"sku": "A", "name": "", "quantity": 3}]


def test_every_sku_of_a_record_is_in_every_file_and_too_many_are_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bins", 3)

    def record(skus: int) -> bytes:
        items = {
            f"S{number:04d}": {"name": "Cup", "quantity": 2 if number == skus - 1 else 0} for number in range(skus)
        }
        return json.dumps({"BIN_FCSKU_DATA": items, "EXPECTED_QUANTITY": 2}).encode()

    write_bin(folder, "many", 2, record=record(1000))
    write_bin(folder, "toomany", 2, record=record(1001))
    predictions = write_predictions(folder, tmp_path / "p.jsonl")
    output = tmp_path / "out"
    assert run(["audit", str(folder), "--predictions", str(predictions), "--output", str(output)]) == Exit.OK
    expected = ["S0999", *(f"S{number:04d}" for number in range(999))]
    (row,) = [row for row in ranked(output) if row["image_id"] == "many"]
    assert [sku["sku"] for sku in row["skus"]] == expected  # type: ignore[attr-defined]
    with (output / "disagreements.csv").open(newline="") as stream:
        (line,) = [line for line in csv.DictReader(stream) if line["image_id"] == "many"]
    assert line["skus"].split(" | ") == expected and line["quantities"].split(" | ") == ["2", *["0"] * 999]
    page = (output / "audit.html").read_text().split('class="bins">')[1].split("</script>")[0]
    (cells,) = [cells for cells in json.loads(page) if cells[0] == "many"]
    assert [sku for sku, _, _ in cells[-1]] == expected
    assert set_aside(output) == {"toomany": "metadata_too_large"}
    assert "names 1001 SKUs, at most 1000 are read" in (output / "set_aside.csv").read_text()


def test_a_cell_that_a_spreadsheet_would_cut_says_what_it_leaves_out(tmp_path: Path) -> None:
    """Excel keeps 32,767 characters of a cell and says nothing of the others."""
    folder = write_folder(tmp_path / "bins", 1)
    items = {
        f"S{number:04d}": {"name": f"{number:03d}" + "n" * 97, "quantity": 2 * (number == 0)} for number in range(500)
    }
    write_bin(folder, "many", 2, record=json.dumps({"BIN_FCSKU_DATA": items, "EXPECTED_QUANTITY": 2}).encode())
    predictions = write_predictions(folder, tmp_path / "p.jsonl")
    output = tmp_path / "out"
    assert run(["audit", str(folder), "--predictions", str(predictions), "--output", str(output)]) == Exit.OK
    with (output / "disagreements.csv").open(newline="") as stream:
        (line,) = [line for line in csv.DictReader(stream) if line["image_id"] == "many"]
    *named, left_out = line["names"].split(" | ")
    assert 32_767 - 160 < len(line["names"]) <= 32_767
    assert left_out == f"... and {500 - len(named)} more, which the other formats have"
    assert [name[:3] for name in named] == [f"{number:03d}" for number in range(len(named))]
    assert len(line["skus"].split(" | ")) == len(line["quantities"].split(" | ")) == 500
    (row,) = [row for row in ranked(output) if row["image_id"] == "many"]
    assert len(row["skus"]) == 500  # type: ignore[arg-type]


def test_what_a_page_and_the_screen_leave_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "bins", 60)
    write_bin(folder, "00030", 5, name="N" * 80)
    predictions = write_predictions(folder, tmp_path / "p.jsonl", 30)
    records = (b"{", b"{}", b'{"EXPECTED_QUANTITY": 3, "BIN_FCSKU_DATA": {"A": {"quantity": 2}}}', b" " * 2**21)
    for number, data in enumerate(records):
        write_bin(folder, f"bad{number}", 2, record=data)
    write_bin(folder, "bad id", 2)
    write_bin(folder, "six", 6)
    write_bin(folder, "gone", 2)
    (folder / "metadata" / "gone.json").unlink()
    flags = ["--predictions", str(predictions), "--page-bins", "7"]
    assert run(["audit", str(folder), *flags, "--output", str(tmp_path / "out")]) == Exit.OK
    said = capsys.readouterr().out
    assert "1 for 1 more reason: see summary.json" in said
    assert said.count("N") == 59 and "N…" in said
    assert "The largest 5 of these differences; summary.json has the largest 20." in said
    page = (tmp_path / "out" / "audit.html").read_text()
    assert "This page has the first 7 of 60 listed bins." in page and "The largest 20 differences." in page
    assert len(json.loads(page.split('class="bins">')[1].split("</script>")[0])) == 7


def test_a_folder_holds_the_files_of_one_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "bins", 20)
    output = tmp_path / "out"
    command = ["audit", str(folder), "--predictions", str(write_predictions(folder, tmp_path / "p.jsonl", 2))]
    command += ["--output", str(output)]
    assert run(command) == Exit.OK
    assert "Removed" not in capsys.readouterr().out
    (output / "notes.txt").write_text("of the analyst")
    assert run([*command, "--top", "5", "--format", "jsonl"]) == Exit.OK
    said = capsys.readouterr().out
    gone = {"disagreements.csv", "disagreements.parquet", "audit.html"}
    for name in gone:
        assert f"Removed {output / name}: it was of an earlier audit, and --format leaves it out." in said
    left = {path.name for path in output.iterdir()}
    assert left == {"disagreements.jsonl", "set_aside.csv", "summary.json", "ledger.sqlite", "notes.txt"}
    assert run([*command, "--format", "csv", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["removed"] == [str(output / "disagreements.jsonl")]


def test_a_list_may_be_given_in_several_flags(tmp_path: Path) -> None:
    """The last alone would drop the parts of the others without a word."""
    folder = write_folder(tmp_path / "bins", 20)
    answers = write_predictions(folder, tmp_path / "p.jsonl", 2)
    records = tmp_path / "stock.csv"
    records.write_text("bin,qty\n" + "".join(f"{path.stem},2\n" for path in (folder / "bin-images").iterdir()))
    command = ["audit", str(folder), "--predictions", str(answers), "--records", str(records)]
    command += ["--columns", "image_id=bin", "--columns", "count=qty", "--classes", "1,2,3", "--classes", "4,5"]
    assert run([*command, "--format", "csv", "--format", "jsonl", "--output", str(tmp_path / "out")]) == Exit.OK
    made = {path.name for path in (tmp_path / "out").glob("disagreements.*")}
    assert made == {"disagreements.csv", "disagreements.jsonl"}
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["counted"] == 20


def test_files_of_an_audit_that_fails_are_those_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "bins", 20)
    predictions = write_predictions(folder, tmp_path / "p.jsonl", 2)
    job.run_audit(job.Request(str(folder), tmp_path / "out", predictions=predictions), no_aws)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.suffix != ".sqlite"}

    def full(*given: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(job, "write_page", full)
    top = job.Request(str(folder), tmp_path / "out", predictions=predictions, filters=Filters(top=3), formats=("html",))
    with pytest.raises(OSError, match="No space"):
        job.run_audit(top, no_aws)
    after = {path: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.suffix != ".sqlite"}
    assert after == before


def test_photos_of_records_are_found_whatever_they_end_with(tmp_path: Path) -> None:
    folder = tmp_path / "bins"
    for image_id, quantity in (("a", 1), ("b", 2), ("c", 3)):
        write_bin(folder, image_id, quantity)
    photos = folder / "bin-images"
    (photos / "b.jpg").rename(photos / "b.JPEG")
    (photos / "c.jpg").rename(photos / "c.jpeg")
    (photos / "c.png").write_bytes(photo_bytes(100))
    records = tmp_path / "records.csv"
    records.write_text("image_id,count\na,1\nb,2\nc,3\nd,4\n")
    with runtime() as endpoint:
        request = job.Request(str(folder), tmp_path / "out", records=records, names=NAMES, endpoint="e")
        job.run_audit(request, lambda: endpoint.aws)
    assert {row["image_id"]: str(row["photo"]).rpartition("/")[2] for row in ranked(tmp_path / "out")} == {
        "a": "a.jpg", "b": "b.JPEG", "c": "c.jpeg"
    }  # fmt: skip
    assert set_aside(tmp_path / "out") == {"d": "no_photo", "bin-images/c.png": "second_photo"}


@pytest.mark.parametrize(
    "probabilities", [{"1": None, "2": 1.0}, {"1": [0.5], "2": 0.5}, {"1": 2.0, "2": 0.5}, {"1": 1}]
)
def test_an_answer_whose_probabilities_are_none_is_no_answer(probabilities: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"of the answer|at least two"):
        parse_probabilities({"probabilities": probabilities})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", "image_id,p1,p2\n7,0.5,0.9\n"),
        ("p.csv", "image_id,p1,p2\n../7,0.5,0.5\n"),
        ("p.csv", "id,a\n7,1\n"),
        ("p.csv", ""),
        ("p.csv", "image_id,count\n7,1\n"),
        ("p.csv", "image_id,p1,p2\n7,0.5,0.5,0.1\n"),
        ("p.csv", "image_id,p1,p2\n7,0.5\n"),
        ("p.csv", "image_id,p1,p1,p2\n7,0.9,0.5,0.5\n"),
        ("p.csv", "image_id,p1,p01,p2\n7,0.5,0.0,0.5\n"),
        ("p.csv", 'image_id,p1,p2\n7,0.5,"' + "5" * 200_000 + '"\n'),
        ("p.jsonl", "{"),
        ("p.jsonl", "[1]"),
        ("p.txt", ""),
        ("p.parquet", "no parquet"),
    ],
)
def test_predictions_that_are_none_say_where(tmp_path: Path, name: str, text: str) -> None:
    folder = write_folder(tmp_path / "bins", 1)
    (tmp_path / name).write_text(text)
    with pytest.raises(Problem, match="were not read"):
        job.run_audit(job.Request(str(folder), tmp_path / "out", predictions=tmp_path / name), no_aws)


def test_the_plan_counts_time_requests_and_events() -> None:
    plan = Plan(bins=36_000, asks_endpoint=True, from_s3=True, rate=10, price_per_hour=0.115, events=100_000)
    assert plan.seconds == 3600
    assert plan.dollars == pytest.approx(0.115 + 72 * 0.0004 + 36 / 1000 * 0.005 + 0.1)
    assert Plan(bins=5, asks_endpoint=False, from_s3=False, rate=None, price_per_hour=1).dollars == 0


def test_the_plan_is_shown_before_the_first_request(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bins", 3)

    class NoError(Exception):
        pass

    def refuse(plan: Plan) -> None:
        assert plan.bins == 3
        raise NoError

    with runtime() as endpoint:
        with pytest.raises(NoError):
            request = job.Request(str(folder), tmp_path / "out", endpoint="e", names=NAMES)
            job.run_audit(request, lambda: endpoint.aws, job.Progress(planned=refuse))
        assert endpoint.photos == []


def test_the_command_prints_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "bins", 40)
    predictions = write_predictions(folder, tmp_path / "p.jsonl", 4)
    arguments = ["audit", str(folder), "--predictions", str(predictions), "--output", str(tmp_path / "out")]
    assert run([*arguments, "--budget", "4", "--format", "csv,html"]) == Exit.OK
    shown = capsys.readouterr().out
    assert "40 records compared" in shown and "of the records are estimated wrong" in shown
    assert run([*arguments, "--top", "2", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["listed"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent-folder", "--predictions", "p.jsonl"], "There is no folder"),
        ([".", "--predictions", "p.jsonl", "--top", "1", "--budget", "1"], "exclude each other"),
        ([".", "--predictions", "p.jsonl", "--columns", "x"], "not a mapping"),
        ([".", "--predictions", "p.jsonl", "--classes", "one"], "not a list of counts"),
        ([".", "--predictions", "p.jsonl", "--format", "xlsx"], "no format xlsx"),
        (["s3://", "--predictions", "p.jsonl"], "no S3 prefix"),
        ([".", "--predictions", "p.jsonl", "--columns", "photo="], "not a mapping"),
        ([".", "--predictions", "p.jsonl", "--columns", "count=a,count=b"], "count is mapped twice"),
        ([".", "--predictions", "p.jsonl", "--columns", "image_id=bin"], "--columns has no effect"),
        ([".", "--predictions", "p.jsonl", "--rate", "5"], "--rate has no effect"),
        ([".", "--predictions", "p.jsonl", "--endpoint", "e"], "--endpoint has no effect"),
        (["s3://b/", "--batch", "--endpoint", "e"], "--endpoint has no effect"),
        ([".", "--batch"], "nothing for a transform job to count"),
        (["s3://b/", "--batch", "--predictions", "p.jsonl"], "nothing for a transform job to count"),
        ([".", "--predictions", "p.jsonl", "--format", " , "], "names no format"),
        ([".", "--predictions", "p.jsonl", "--format", ""], "--format is empty"),
        ([".", "--predictions", "p.jsonl", "--columns", "count=a", "--columns", "count=b"], "count is mapped twice"),
    ],
)
def test_wrong_usage_is_named(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "p.jsonl").write_text("")
    assert run(["audit", *arguments]) == Exit.USAGE
    assert message in capsys.readouterr().err


def test_the_price_is_the_tables_or_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "bins", 3)
    with runtime() as endpoint:
        monkeypatch.setattr("binventory.cli.audit.connect", lambda environment: endpoint.aws)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        arguments = ["audit", str(folder), "--output", str(tmp_path / "out"), "--format", "csv"]
        assert run([*arguments, "--instance", "ml.m5.xlarge"]) == Exit.OK
        assert "endpoint at $0.230 an hour" in capsys.readouterr().err.replace("\n", " ")
        assert run([*arguments, "--instance", "ml.none"]) == Exit.NOT_READY
        assert "no price for ml.none" in capsys.readouterr().err
        monkeypatch.delenv("AWS_REGION")
        monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
        assert run([*arguments, "--restart"]) == Exit.OK
        said = capsys.readouterr().err.replace("\n", " ")
        assert "endpoint at $0.115 an hour" in said, "a profile names the region"
        assert "about $0.00 " not in said, "a cent or less is an amount, too"
        monkeypatch.setenv("AWS_REGION", "il-central-1")
        assert run(arguments) == Exit.OK
        assert "--price-per-hour" in capsys.readouterr().err, "never another region's price"


class Terminal(io.StringIO):
    """Standard input that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("refused", [["--records", "absent.csv"], []])
def test_a_restart_that_does_not_begin_forgets_nothing(
    refused: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers of the first run are paid for: a wrong flag, or a no to the price, must not cost them."""
    folder = write_folder(tmp_path / "bins", 5)
    with runtime() as endpoint:
        monkeypatch.setattr("binventory.cli.audit.connect", lambda environment: endpoint.aws)
        arguments = ["audit", str(folder), "--output", str(tmp_path / "out"), "--format", "jsonl"]
        assert run(arguments) == Exit.OK
        assert len(endpoint.photos) == 5
        monkeypatch.setattr("sys.stdin", Terminal("n\n"))
        assert run([*arguments, "--restart", *refused]) == (Exit.USAGE if refused else Exit.INTERRUPTED)
        assert run([*arguments, "--yes"]) == Exit.OK
        assert len(endpoint.photos) == 5, "the ledger has them"
        (tmp_path / "out" / ".before").mkdir()
        (tmp_path / "out" / "ledger.sqlite").rename(tmp_path / "out" / ".before" / "ledger.sqlite")
        assert run([*arguments, "--yes"]) == Exit.OK
        assert len(endpoint.photos) == 5, "also if the computer ended before the question was answered"
        assert run([*arguments, "--yes", "--restart"]) == Exit.OK
        assert len(endpoint.photos) == 10
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "ledger.sqlite", "disagreements.jsonl", "set_aside.csv", "summary.json",
    }  # fmt: skip


def test_another_endpoint_is_never_answered_for_by_the_environments_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An endpoint that is named is the one that is asked: it is absent here, and the environment's answers from S3."""
    folder = write_folder(tmp_path / "bins", 3)
    monkeypatch.setattr("binventory.serving.find_queue", lambda aws, names: pytest.fail("another endpoint's queue"))
    large = MAX_REQUEST_BYTES + 1
    write_bin(folder, "00000", 1, photo=photo_bytes(20) + b"x" * large)
    with runtime() as endpoint:
        monkeypatch.setattr("binventory.cli.audit.connect", lambda environment: endpoint.aws)
        arguments = ["audit", str(folder), "--output", str(tmp_path / "out"), "--endpoint", "another", "--yes"]
        assert run(arguments) == Exit.OK
    assert set_aside(tmp_path / "out") == {"00000": "photo_too_large"}
    assert len(ranked(tmp_path / "out")) == 2


def test_a_ledger_that_is_none_is_named_with_its_cure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "bins", 5)
    arguments = ["audit", str(folder), "--output", str(tmp_path / "out"), "--format", "csv"]
    arguments += ["--predictions", str(write_predictions(folder, tmp_path / "p.jsonl"))]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "ledger.sqlite").write_text("no database " * 1000)
    assert run(arguments) == Exit.USAGE
    what, _, cure = capsys.readouterr().err.splitlines()
    assert "ledger.sqlite is damaged" in what and "--restart" in cure
    assert run([*arguments, "--restart"]) == Exit.OK, "the cure works"


def test_an_empty_folder_is_not_an_audit(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text("")
    with pytest.raises(Problem, match="nothing to audit"):
        job.run_audit(job.Request(str(tmp_path), tmp_path / "out", predictions=tmp_path / "p.jsonl"), no_aws)


def test_the_real_server_is_understood(tmp_path: Path) -> None:
    """The inference server itself behind SageMaker's wire: its answers are ranked, its refusals set aside."""
    folder = write_folder(tmp_path / "bins", 12)
    write_bin(folder, "not-a-photo", 2, photo=b"hello")
    container = tmp_path / "container"
    grey_model.write(container / "model")
    with running(container, container) as server:

        def answer(photo: bytes, number: int) -> Reply:
            headers = {"content-type": "image/jpeg", "accept": "application/json"}
            response = httpx.post(f"{server.url}/invocations", content=photo, headers=headers)
            return response.status_code, response.content

        with runtime(answer) as endpoint:
            request = job.Request(str(folder), tmp_path / "out", endpoint="e", names=NAMES, formats=("jsonl",))
            summary = job.run_audit(request, lambda: endpoint.aws).summary
    assert (summary.counted, summary.not_audited) == (12, 1)
    assert set_aside(tmp_path / "out") == {"not-a-photo": "refused"}
    for row in ranked(tmp_path / "out"):
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-3)  # type: ignore[attr-defined]
