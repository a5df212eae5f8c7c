"""Several processes of one job train the model that a single process with the same global batch trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

import train
from fitting.ranks import Ranks
from fitting.sampling import Sampling, lane_range
from jobs.container import JobError
from local_aws.core.host import free_port
from tests.listed import write_shard
from tests.training_data import SMALL_INPUT, write_embedding, write_split
from tests.training_processes import TrainProcess

FLAGS = ("--backbone", "small", "--epochs", "3", "--batch-size", "16", "--dropout", "0", "--lr", "0.05")


def start(folder: Path, rank: int, size: int, port: int, flags: Sequence[str]) -> TrainProcess:
    """One machine of a SageMaker job of `size` machines."""
    hosts = [f"algo-{number + 1}" for number in range(size)]
    environment = {
        "SAGEMAKER_BASE_DIR": str(folder / f"machine{rank}"), "SM_HOSTS": json.dumps(hosts),
        "SM_CURRENT_HOST": hosts[rank], "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    return TrainProcess(folder, f"rank{rank}", flags, environment)


def train_on(folder: Path, size: int, flags: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """Train on `size` local processes; tensors and metrics of the one model, and what each process printed."""
    port = free_port()
    processes = [start(folder, rank, size, port, flags) for rank in range(size)]
    assert [process.wait() for process in processes] == [0] * size, [process.errors for process in processes]
    models = list(folder.glob("machine*/model/model.safetensors"))
    assert [path.parent.parent.name for path in models] == ["machine0"], "one model, from the first machine"
    metrics = json.loads((models[0].parent / "metrics.json").read_text())
    return load_file(models[0]), metrics, [process.printed for process in processes]


def alone(folder: Path, lanes: int, flags: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """The same global batches, in one process that reads every lane itself."""
    real = Ranks.sampling

    def all_lanes(self: Ranks, samples: int, batch_size: int, seed: int, _lanes: int | None = None) -> Sampling:
        return real(self, samples, batch_size, seed, lanes)

    monkeypatch.setattr(Ranks, "sampling", all_lanes)
    train.main([*flags, "--output", str(folder / "alone"), "--checkpoints", str(folder / "alone-checkpoints")])
    return load_file(folder / "alone" / "model.safetensors")


def test_four_processes_train_the_head_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 61 and 21 divide by nothing: lanes of unequal length, and batches that cannot be shared evenly.
    embedding = write_embedding(tmp_path / "embedding", train=61, validation=21, views=1)
    flags = [*FLAGS, "--embedding", str(embedding)]
    tensors, metrics, printed = train_on(tmp_path, 4, flags)
    expected = alone(tmp_path, 4, flags, monkeypatch)
    for name, value in expected.items():
        torch.testing.assert_close(tensors[name], value, rtol=1e-4, atol=1e-5)
    history = json.loads((tmp_path / "alone" / "metrics.json").read_text())["history"]
    assert [epoch["epoch"] for epoch in metrics["history"]] == [0, 1, 2]
    for ours, theirs in zip(metrics["history"], history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert "epoch=" in printed[0] and not any("epoch=" in out for out in printed[1:]), "the first machine reports"


def test_two_processes_fine_tune_the_network_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where photos of one of them cannot be read."""
    write_split(tmp_path, "train", 21, shards=2)
    write_split(tmp_path, "validation", 7, first=900)
    bad = [(name, b"none", {"id": name, "count": 1}) for name in ("bad0", "bad1")]
    write_shard(tmp_path / "train" / "train-99999.tar", bad)
    flags = [
        *FLAGS, "--strategy", "full", "--weights", "none", *SMALL_INPUT, "--epochs", "2", "--optimiser", "sgd",
        "--max-corrupt-share", "0.5", "--train", str(tmp_path / "train"), "--validation", str(tmp_path / "validation"),
    ]  # fmt: skip
    tensors, _, _ = train_on(tmp_path, 2, flags)
    for name, value in alone(tmp_path, 2, flags, monkeypatch).items():
        torch.testing.assert_close(tensors[name], value, rtol=1e-3, atol=1e-5)


def test_a_rank_that_dies_ends_the_job_quickly(tmp_path: Path) -> None:
    embedding = write_embedding(tmp_path / "embedding")
    flags = [*FLAGS, "--epochs", "9999", "--embedding", str(embedding)]
    port = free_port()
    processes = [start(tmp_path, rank, 2, port, flags) for rank in range(2)]
    processes[0].wait_for_lines(1)
    processes[1].kill()
    killed = time.monotonic()
    assert processes[0].wait(60) == 1
    processes[1].wait()
    # Not a claim of speed: the default timeout it must not wait for is minutes.
    assert time.monotonic() - killed < 30
    assert "Traceback" in processes[0].errors
    assert (tmp_path / "machine0" / "output" / "failure").read_text()


def test_a_rank_ends_without_taking_its_interpreter_down(tmp_path: Path) -> None:
    """Threads of gloo may outlive the process group: one that drops a tensor then aborts the process, at times."""
    aborts_at_teardown = """
        import os
        class Abort:
            def __del__(self, abort=os.abort):
                abort()
        kept_to_the_end = Abort()
    """
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(aborts_at_teardown))
    embedding = write_embedding(tmp_path / "embedding")
    folders = [str(tmp_path), *sys.path]
    done = subprocess.run(
        [sys.executable, str(train.__file__), *FLAGS, "--epochs", "1", "--embedding", str(embedding),
         "--output", str(tmp_path / "model"), "--checkpoints", str(tmp_path / "checkpoints")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "best epoch" in done.stdout


def test_machines_that_read_different_data_are_refused(tmp_path: Path) -> None:
    port = free_port()
    processes = []
    for rank in range(2):
        embedding = write_embedding(tmp_path / f"embedding{rank}", train=60 + rank)
        processes.append(start(tmp_path, rank, 2, port, [*FLAGS, "--embedding", str(embedding)]))
    assert [process.wait(60) for process in processes] == [1, 1]
    assert "FullyReplicated" in (tmp_path / "machine0" / "output" / "failure").read_text()


@given(
    samples=st.integers(4, 300), batch_size=st.integers(4, 64), lanes=st.integers(1, 4), epoch=st.integers(0, 3),
    seed=st.integers(0, 2**31),
)  # fmt: skip
def test_an_epoch_takes_every_sample_once_on_any_rank(
    samples: int, batch_size: int, lanes: int, epoch: int, seed: int
) -> None:
    one = Sampling(samples, batch_size, seed, lanes, tuple(range(lanes))).epoch(epoch)
    assert sorted(row for plan in one for lane in plan.rows for row in lane) == list(range(samples))
    assert all(0 < sum(map(len, plan.rows)) == plan.total for plan in one)
    # A lane's share of a batch is rounded, so a global batch can exceed the asked size by less than a sample a lane.
    assert all(plan.total < batch_size + lanes for plan in one)
    for lane in range(lanes):
        mine = Sampling(samples, batch_size, seed, lanes, (lane,)).epoch(epoch)
        assert [plan.rows[0] for plan in mine] == [plan.rows[lane] for plan in one]
        assert [plan.total for plan in mine] == [plan.total for plan in one]
        assert {row for plan in mine for row in plan.rows[0]} == set(lane_range(samples, lanes, lane))


def test_more_processes_than_photos_a_step_are_refused() -> None:
    with pytest.raises(JobError, match="cannot be shared by 4 processes"):
        Ranks(0, 4).sampling(100, 3, 0)


def test_a_process_begins_its_random_numbers_as_pytorch_does() -> None:
    Ranks().seed(7)
    found = torch.rand(5)
    torch.manual_seed(7)
    assert torch.equal(found, torch.rand(5))


TORCHRUN = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29400"}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "0"}, "WORLD_SIZE must be a number, it is missing: start the processes with torchrun"),
        (TORCHRUN | {"WORLD_SIZE": "two"}, "WORLD_SIZE must be a number, it is 'two'"),
        (TORCHRUN | {"RANK": ""}, "RANK must be a number, it is ''"),
        (TORCHRUN | {"RANK": "2"}, "RANK 2 must be below WORLD_SIZE, which is 2"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "RANK is set without MASTER_ADDR and MASTER_PORT"),
        (TORCHRUN | {"MASTER_PORT": "http"}, "MASTER_PORT must be a number"),
        (TORCHRUN | {"LOCAL_RANK": "x"}, "LOCAL_RANK must be a number"),
        (
            {"SM_HOSTS": '["algo-1", "algo-2"]', "SM_CURRENT_HOST": "algo-3"},
            r"one of SM_HOSTS \(algo-1, algo-2\), it is",
        ),
        ({"SM_HOSTS": '["algo-1", "algo-2"]'}, "SM_CURRENT_HOST must be one of .* it is missing: SageMaker sets both"),
        ({"SM_HOSTS": "algo-1", "SM_CURRENT_HOST": "algo-1"}, "SM_HOSTS must be a list of machines .* it is 'algo-1'"),
        ({"SM_HOSTS": "[]"}, "SM_HOSTS must be a list of machines"),
        ({"SM_CURRENT_HOST": "algo-2"}, "SM_HOSTS must be a list of machines .* it is missing"),
    ],
)
def test_variables_that_do_not_say_who_this_process_is_are_named(
    variables: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(JobError, match=message):
        train.main(["--embedding", str(write_embedding(tmp_path / "embedding"))])


def test_a_machine_with_several_gpus_says_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It starts a process on each, and none of them would find the others."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    monkeypatch.setenv("SM_HOSTS", '["algo-1", "algo-2"]')
    assert train.launch([]) == 1
    assert "SM_CURRENT_HOST must be one of SM_HOSTS" in (tmp_path / "output" / "failure").read_text()
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("rank", ["0", "2"])
def test_more_processes_than_gpus_on_a_machine_are_refused(
    rank: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By each of them: the first would wait for the others until its patience ends."""
    launched = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "3"}
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(JobError, match=r"3 processes .* with 2 GPUs: start one a GPU \(torchrun --nproc-per-node=2\)"):
        train.main(["--embedding", str(write_embedding(tmp_path / "embedding"))])
