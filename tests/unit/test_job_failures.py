"""What a job leaves where SageMaker reads the reason of its failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.container import MAX_FAILURE_REASON, JobContainer, JobError, checked_output, run_job


def fail(error: Exception) -> None:
    raise error


def test_a_defect_is_named_and_its_traceback_is_in_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    container = JobContainer(tmp_path)
    assert run_job(lambda: fail(ZeroDivisionError("division by zero")), container) == 1
    assert container.failure.read_text() == "ZeroDivisionError: division by zero"
    said = capsys.readouterr().err
    assert "Traceback (most recent call last)" in said and said.endswith("error: ZeroDivisionError: division by zero\n")


def test_a_reason_that_is_the_persons_has_no_traceback_and_is_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    container = JobContainer(tmp_path)
    assert run_job(lambda: fail(JobError("x" * 5000)), container) == 1
    assert container.failure.read_text() == "x" * MAX_FAILURE_REASON
    assert capsys.readouterr().err == f"error: {'x' * 5000}\n"


def test_a_processing_jobs_reason_is_its_exit_message(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "processingjobconfig.json").write_text("{}")
    assert run_job(lambda: fail(JobError("no labels")), JobContainer(tmp_path)) == 1
    assert [file.name for file in (tmp_path / "output").iterdir()] == ["message"]
    assert (tmp_path / "output" / "message").read_text() == "no labels"


@pytest.mark.parametrize(("reason", "kept"), [("x" + "\u00fc" * 1000, "x" + "\u00fc" * 511), ("\udcff", "\\udcff")])
def test_a_reason_is_cut_between_letters_and_is_always_utf8(tmp_path: Path, reason: str, kept: str) -> None:
    container = JobContainer(tmp_path)
    assert run_job(lambda: fail(JobError(reason)), container) == 1
    assert container.failure.read_bytes() == kept.encode()


def test_a_place_that_takes_no_reason_leaves_it_in_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "output").write_text("a file")
    assert run_job(lambda: fail(JobError("no photos")), JobContainer(tmp_path)) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "error: no photos" and "the failure reason could not be written to" in second


def test_a_person_who_runs_the_script_gets_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAGEMAKER_BASE_DIR", raising=False)
    assert run_job(lambda: fail(JobError("no photos")), JobContainer(tmp_path / "none")) == 1
    assert not (tmp_path / "none").exists()


def test_an_output_is_held_to_be_a_folder_before_the_work_and_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checked_output(tmp_path / "new" / "output") == tmp_path / "new" / "output"
    assert list(tmp_path.iterdir()) == []
    # As on a file system that is mounted to be read only.
    monkeypatch.setattr("os.access", lambda place, mode: place != tmp_path)
    with pytest.raises(JobError, match=rf"--output {tmp_path}/new: {tmp_path} cannot be written; give another"):
        checked_output(tmp_path / "new")


def test_a_channel_that_is_missing_is_named_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SM_CHANNEL_TRAIN", raising=False)
    with pytest.raises(JobError, match=r"channel 'train' is missing .*: add it to the job's input data"):
        JobContainer(tmp_path).channel("train")
