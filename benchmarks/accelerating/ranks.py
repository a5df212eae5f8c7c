"""Two processes with nccl, started by torchrun, against two with gloo on the CPU: the same global batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks import RUNTIME
from benchmarks.accelerating.jobs import NO_GPU, finish, start
from benchmarks.claims import claim
from binventory.core.processors import usable_cpus
from local_aws.core.host import free_port

_SIZE: Final = 2
MOST_APART: Final = 0.02
"""Most by which the updates may differ: they are sums of the same numbers in other orders, over some steps."""


def two_ranks(folder: Path, start_values: dict[str, Tensor], flags: Sequence[str]) -> None:
    """Weights after a short fine-tuning, on two ranks with nccl and with gloo, and what that differs by."""
    for norms in ("frozen", "train"):
        asked = [*flags, "--batch-norm", norms]
        found = {name: _trained(folder / f"{norms}-{name}", asked, gpu=name == "nccl") for name in ("gloo", "nccl")}
        # On a GPU norms in train mode use the statistics of both ranks, on a CPU each its own: no figure to compare.
        if norms == "frozen":
            share = update_difference(start_values, found["gloo"], found["nccl"])
            claim("gpu_nccl_share_from_gloo", share, at_most=MOST_APART)
        finite = all(bool(torch.isfinite(value).all()) for value in found["nccl"].values())
        claim(f"gpu_nccl_ends_norms_{norms}", float(finite), at_least=1)


def update_difference(start_values: dict[str, Tensor], ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Norm of the difference between two trainings, as a share of how far the first has moved the weights."""
    names = [name for name, value in ours.items() if value.is_floating_point() and name in start_values]
    apart = sum(float((ours[name] - theirs[name]).double().square().sum()) for name in names)
    moved = sum(float((ours[name] - start_values[name]).double().square().sum()) for name in names)
    return float((apart / moved) ** 0.5)


def _trained(folder: Path, flags: Sequence[str], *, gpu: bool) -> dict[str, Tensor]:
    port, logs, processes = free_port(), [], []
    gpus = torch.cuda.device_count() if gpu else 0
    nodes = 1 if gpus >= _SIZE else _SIZE
    for node in range(nodes):
        place = folder / f"machine{node}"
        logs.append(place / "train.log")
        processes.append(start(
            ["-m", "torch.distributed.run", f"--nnodes={nodes}", f"--node-rank={node}",
             f"--nproc-per-node={_SIZE // nodes}", "--master-addr=127.0.0.1", f"--master-port={port}",
             str(RUNTIME[0] / "train.py"), *flags],
            logs[-1], {**_place(place, node), **({} if gpu else NO_GPU)},
        ))  # fmt: skip
    finish(*processes, logs=logs)
    return load_file(folder / "machine0" / "model" / "model.safetensors")


def _place(folder: Path, node: int) -> dict[str, str]:
    """nccl refuses two ranks of one machine on one GPU: each rank names another machine."""
    return {"SAGEMAKER_BASE_DIR": str(folder), "NCCL_HOSTID": f"machine{node}", "NCCL_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": str(max(1, usable_cpus() // _SIZE))}  # fmt: skip
