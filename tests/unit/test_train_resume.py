"""A run that is killed at any point, any number of times, ends with the same bits as an uninterrupted one."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import train
from fitting.checkpoints import CheckpointFolder, Snapshot
from fitting.loop import Fit
from fitting.precision import MixedPrecision
from jobs.container import JobError
from tests.full_disk import no_room_beyond
from tests.training_data import SMALL_INPUT, write_embedding, write_split
from tests.training_processes import TrainProcess

FLAGS = ("--backbone", "small", "--epochs", "4", "--batch-size", "16", "--checkpoint-seconds", "0", "--lr", "0.05")


class Killed(BaseException):
    """Stands for SIGKILL inside a process: nothing catches it, nothing is cleaned up."""


def run(folder: Path, name: str, flags: Sequence[str]) -> tuple[bytes, dict[str, Any]]:
    """Train into `folder`/`name` and return the bytes of the model and its metrics."""
    train.main([*flags, "--output", str(folder / name), "--checkpoints", str(folder / f"{name}-checkpoints")])
    return result(folder / name)


def result(output: Path) -> tuple[bytes, dict[str, Any]]:
    metrics = json.loads((output / "metrics.json").read_text())
    return (output / "model.safetensors").read_bytes(), {key: metrics[key] for key in ("best", "history")}


PLACES = ("before saving", "while writing", "after naming")


def killed_at(
    monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, flags: Sequence[str], moment: int,
    place: str = PLACES[0],
) -> bool:  # fmt: skip
    """Start the run and end it after `moment` passes of a place of this attempt; False if it finished."""
    passes = iter(range(moment))
    real_save, real_sync, real_replace = Fit._save_if_due, os.fsync, os.replace

    def die_in_time() -> None:
        if next(passes, None) is None:
            raise Killed

    def before_saving(self: Fit) -> None:
        die_in_time()
        real_save(self)

    def while_writing(descriptor: int) -> None:
        try:
            die_in_time()
        except Killed:
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)  # half of it is on the disk
            raise
        real_sync(descriptor)

    def after_naming(source: Path, target: Path) -> None:
        real_replace(source, target)
        die_in_time()

    with monkeypatch.context() as patch:
        if place == PLACES[0]:
            patch.setattr(Fit, "_save_if_due", before_saving)
        elif place == PLACES[1]:
            patch.setattr(os, "fsync", while_writing)
        else:
            patch.setattr(os, "replace", after_naming)
        try:
            run(folder, name, flags)
        except Killed:
            return True
    return False


class Uninterrupted:
    """`folder`/embedding, and what a run on it ends with that nothing kills: the same for every example."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_embedding(folder / "embedding", views=2)

    def result(self, optimiser: str) -> tuple[bytes, dict[str, Any]]:
        if not (self.folder / optimiser).exists():
            run(self.folder, optimiser, [*FLAGS, "--optimiser", optimiser, "--embedding", f"{self.folder}/embedding"])
        return result(self.folder / optimiser)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Uninterrupted:
    return Uninterrupted(tmp_path_factory.mktemp("uninterrupted"))


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(kills=[(8, "before saving"), (9, "after naming")])  # after the last save, before older ones are removed
@given(kills=st.lists(st.tuples(st.integers(0, 9), st.sampled_from(PLACES)), min_size=1, max_size=4))
def test_a_killed_and_resumed_run_ends_with_the_same_bits(
    optimiser: str, kills: list[tuple[int, str]], uninterrupted: Uninterrupted,
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("resume")
    flags = [*FLAGS, "--optimiser", optimiser, "--embedding", str(uninterrupted.folder / "embedding")]
    for moment, place in kills:
        if not killed_at(monkeypatch, folder, "killed", flags, moment, place):
            break
    assert run(folder, "killed", flags) == uninterrupted.result(optimiser)
    left = sorted(path.name for path in (folder / "killed-checkpoints").iterdir())
    assert len(left) == 2 and all(name.endswith(".safetensors") for name in left), "no pieces of what was torn"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_full_training_resumes_to_the_same_bits(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_split(tmp_path, "train", 24, shards=2)
    write_split(tmp_path, "validation", 10, first=900)
    flags = [
        "--strategy", "full", "--backbone", "small", "--weights", "none", *SMALL_INPUT, "--epochs", "2",
        "--batch-size", "8", "--precision", precision, "--checkpoint-seconds", "0",
        "--train", str(tmp_path / "train"), "--validation", str(tmp_path / "validation"),
    ]  # fmt: skip
    whole = run(tmp_path, "whole", flags)
    assert killed_at(monkeypatch, tmp_path, "killed", flags, 2)
    assert killed_at(monkeypatch, tmp_path, "killed", flags, 1)
    assert run(tmp_path, "killed", flags) == whole


def start(folder: Path, name: str, flags: Sequence[str]) -> TrainProcess:
    """The script in a separate process, as SageMaker runs it."""
    places = ["--output", str(folder / name), "--checkpoints", str(folder / f"{name}-checkpoints")]
    return TrainProcess(folder, name, [*flags, *places], {"SAGEMAKER_BASE_DIR": str(folder)})


def test_sigkill_of_the_process_at_a_random_moment(tmp_path: Path) -> None:
    flags = [*FLAGS, "--epochs", "100", "--embedding", str(write_embedding(tmp_path / "embedding"))]
    for attempt in range(3):
        process = start(tmp_path, "killed", flags)
        process.wait_for_lines(random.Random(attempt).randrange(2, 40))
        process.kill()
        assert process.wait() == -signal.SIGKILL
    done = start(tmp_path, "killed", flags)
    assert done.wait() == 0, done.errors
    assert "resumed at epoch=" in done.printed
    # What it is held against saves between some epochs only: each save waits for the disk.
    assert result(tmp_path / "killed") == run(tmp_path, "whole", [*flags, "--checkpoint-seconds", "3600"])


def test_sigterm_saves_at_once_and_says_so(tmp_path: Path) -> None:
    flags = [
        *FLAGS, "--epochs", "9999", "--batch-size", "8", "--checkpoint-seconds", "3600",
        "--embedding", str(write_embedding(tmp_path / "embedding")),
    ]  # fmt: skip
    process = start(tmp_path, "stopped", flags)
    process.wait_for_lines(3)
    process.terminate()
    assert process.wait() == 1
    assert "stopped by SIGTERM" in (tmp_path / "output" / "failure").read_text()
    assert list((tmp_path / "stopped-checkpoints").glob("step-*.safetensors"))


def snapshot(value: float) -> Snapshot:
    return Snapshot({"weight": torch.full((3,), value)}, {"step": value})


def test_the_last_two_checkpoints_are_kept_and_a_torn_one_is_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = CheckpointFolder(tmp_path, "mine", every_seconds=0)
    for step in range(4):
        assert folder.save(step, snapshot(step))
    kept = sorted(tmp_path.iterdir())
    assert [path.name[:15] for path in kept] == ["step-0000000002", "step-0000000003"]
    kept[-1].write_bytes(kept[-1].read_bytes()[:-1])
    found = folder.latest()
    assert found is not None and found.values == {"step": 2}
    assert torch.equal(found.tensors["weight"], torch.full((3,), 2.0))
    assert f"{kept[-1].name} is torn" in capsys.readouterr().err


def test_another_runs_checkpoint_is_not_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    CheckpointFolder(tmp_path, "theirs", every_seconds=0).save(1, snapshot(1))
    assert CheckpointFolder(tmp_path, "mine", every_seconds=0).latest() is None
    assert "other settings or data" in capsys.readouterr().err


def test_newer_checkpoints_of_another_run_do_not_displace_those_of_this_one(tmp_path: Path) -> None:
    theirs = CheckpointFolder(tmp_path, "theirs", every_seconds=0)
    for step in (500, 501):
        theirs.save(step, snapshot(step))
    mine = CheckpointFolder(tmp_path, "mine", every_seconds=0)
    assert mine.latest() is None
    for step in (1, 2, 3):
        mine.save(step, snapshot(step))
    found = CheckpointFolder(tmp_path, "mine", every_seconds=0).latest()
    assert found is not None and found.values == {"step": 3}
    back = CheckpointFolder(tmp_path, "theirs", every_seconds=0).latest()
    assert back is not None and back.values == {"step": 501}


def test_newer_torn_checkpoints_do_not_displace_whole_ones(tmp_path: Path) -> None:
    before = CheckpointFolder(tmp_path, "mine", every_seconds=0, keep=3)
    for step in (1, 500, 501):
        before.save(step, snapshot(step))
    for path in sorted(tmp_path.iterdir())[1:]:
        path.write_bytes(path.read_bytes()[:-1])
    again = CheckpointFolder(tmp_path, "mine", every_seconds=0)
    found = again.latest()
    assert found is not None and found.values == {"step": 1}
    again.save(2, snapshot(2))
    found = CheckpointFolder(tmp_path, "mine", every_seconds=0).latest()
    assert found is not None and found.values == {"step": 2}


@pytest.mark.parametrize("changed", ["code_fingerprint", "precision"])
def test_a_run_by_other_code_or_in_another_precision_starts_afresh(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*FLAGS, "--embedding", str(write_embedding(tmp_path / "embedding"))]
    assert killed_at(monkeypatch, tmp_path, "killed", flags, 5)
    if changed == "precision":
        # As on another machine, where `auto` means something else.
        monkeypatch.setattr(MixedPrecision, "of", lambda _asked, device: MixedPrecision("bf16", device))
    else:
        monkeypatch.setattr(train, "code_fingerprint", lambda: "of other code")
    run(tmp_path, "killed", flags)
    said = capsys.readouterr()
    assert "of other code, or in another precision, and skipped" in said.err
    assert "resumed at" not in said.out


def test_no_room_keeps_the_last_good_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = CheckpointFolder(tmp_path, "mine", every_seconds=0)
    folder.save(1, snapshot(1))
    (good,) = tmp_path.iterdir()
    with no_room_beyond(good.stat().st_size // 2):
        assert not folder.save(2, snapshot(2))
    assert "checkpoint of step 2 not written" in capsys.readouterr().err
    found = folder.latest()
    assert found is not None and found.values == {"step": 1}
    assert list(tmp_path.iterdir()) == [good]
    assert folder.save(3, snapshot(3)), "when there is room again"


def test_training_goes_on_without_room_for_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*FLAGS, "--embedding", str(write_embedding(tmp_path / "embedding"))]
    whole = run(tmp_path, "whole", flags)
    real = CheckpointFolder._write

    def cramped(self: CheckpointFolder, path: Path, data: bytes) -> None:
        with no_room_beyond(len(data) // 2):
            real(self, path, data)

    monkeypatch.setattr(CheckpointFolder, "_write", cramped)
    assert run(tmp_path, "cramped", flags) == whole
    assert "the last good one is kept" in capsys.readouterr().err
    assert list((tmp_path / "cramped-checkpoints").iterdir()) == []


def test_the_interval_is_in_seconds(tmp_path: Path) -> None:
    now = [0.0]
    folder = CheckpointFolder(tmp_path, "mine", every_seconds=30, clock=lambda: now[0])
    now[0] = 29
    assert not folder.due
    now[0] = 30
    assert folder.due
    folder.save(1, snapshot(1))
    assert not folder.due


def test_short_epochs_do_not_save_each_time(tmp_path: Path) -> None:
    """The clock ticks at each look at it, so that a save takes a second."""
    ticks = itertools.count()
    folder = CheckpointFolder(tmp_path, "mine", every_seconds=3600, clock=lambda: next(ticks))
    assert folder.due_after_epoch, "the first epoch always"
    folder.save(1, snapshot(1))
    waited = next(looks for looks in itertools.count(1) if folder.due_after_epoch)
    assert waited == 49, "after fifty times what the save took, of which it is one"
    folder.save(2, snapshot(2))
    assert not folder.due_after_epoch


@pytest.mark.parametrize("seconds", [0, 10])
def test_the_interval_holds_between_epochs_too(seconds: int, tmp_path: Path) -> None:
    ticks = itertools.count()
    folder = CheckpointFolder(tmp_path, "mine", every_seconds=seconds, clock=lambda: next(ticks))
    folder.save(1, snapshot(1))
    waited = next(looks for looks in itertools.count(1) if folder.due_after_epoch)
    assert waited == max(1, seconds - 1)


def test_an_epoch_that_takes_no_checkpoint_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*FLAGS, "--checkpoint-seconds", "3600", "--embedding", str(write_embedding(tmp_path / "embedding"))]
    whole = run(tmp_path, "whole", flags)
    saved = iter(range(1))
    with monkeypatch.context() as patch:
        # One save, then none is due, as where epochs are short.
        patch.setattr(CheckpointFolder, "due_after_epoch", property(lambda _: next(saved, None) is not None))
        assert run(tmp_path, "sparing", flags) == whole
    capsys.readouterr()
    assert run(tmp_path, "sparing", flags) == whole
    assert "resumed at epoch=1 " in capsys.readouterr().out


def test_a_changed_setting_starts_afresh(tmp_path: Path) -> None:
    embedding = str(write_embedding(tmp_path / "embedding"))
    flags = [*FLAGS, "--embedding", embedding]
    run(tmp_path, "first", flags)
    other = [*flags, "--seed", "1"]
    fresh = run(tmp_path, "other", other)
    shutil.rmtree(tmp_path / "other-checkpoints")
    shutil.copytree(tmp_path / "first-checkpoints", tmp_path / "other-checkpoints")
    assert run(tmp_path, "other", other) == fresh


def as_trial(base: Path) -> None:
    """Make `base` the job folder of a trial: SageMaker adds the objective to a trial's hyperparameters."""
    config = base / "input" / "config"
    config.mkdir(parents=True)
    (config / "hyperparameters.json").write_text('{"_tuning_objective_metric": "validation:loss"}')


def test_a_person_continues_beside_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who may not write into /opt/ml had no checkpoint, and two trainings by hand shared one folder."""
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path / "job"))
    monkeypatch.delenv("TRAINING_JOB_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    flags = [*FLAGS, "--embedding", str(write_embedding(tmp_path / "embedding")), "--output", "model"]
    for said in (False, True):
        train.main(flags)
        assert ("resumed at epoch=" in capsys.readouterr().out) is said
    assert list((tmp_path / "model.checkpoints").glob("step-*"))
    assert not (tmp_path / "job").exists()


def test_trials_that_share_a_folder_do_not_see_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    as_trial(tmp_path)
    flags = [*FLAGS, "--embedding", str(write_embedding(tmp_path / "embedding")), "--output", str(tmp_path / "model")]
    for name in ("trial-1", "trial-10"):
        monkeypatch.setenv("TRAINING_JOB_NAME", name)
        train.main(flags)
    folders = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert folders == ["trial-1", "trial-10"]
    assert all(list((tmp_path / "checkpoints" / name).glob("step-*")) for name in folders)
    said = capsys.readouterr()
    assert "resumed" not in said.out and "skipped" not in said.err, "the same values, and yet none of the other's work"


def test_a_job_that_takes_anothers_place_goes_on_with_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training that SageMaker retries, or that continues on demand, has a new name and the same checkpoint prefix."""
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    flags = [*FLAGS, "--embedding", str(write_embedding(tmp_path / "embedding"))]
    whole = run(tmp_path, "whole", flags)
    monkeypatch.setenv("TRAINING_JOB_NAME", "pipelines-a-Train-x")
    with monkeypatch.context() as patch:
        saves = iter(range(5))

        def dying(self: Fit) -> None:
            if next(saves, None) is None:
                raise Killed
            self._save()

        patch.setattr(Fit, "_save_if_due", dying)
        with pytest.raises(Killed):
            train.main([*flags, "--output", str(tmp_path / "model")])
    monkeypatch.setenv("TRAINING_JOB_NAME", "pipelines-b-Train-y")
    train.main([*flags, "--output", str(tmp_path / "model")])
    assert "resumed at epoch=" in capsys.readouterr().out
    assert result(tmp_path / "model") == whole


def test_a_missing_embedding_names_the_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    with pytest.raises(JobError, match="channel 'embedding' is missing"):
        train.main(["--backbone", "small"])
