"""The processes of one training job: this one's rank, shared sums and gradients, and its device."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, distributed, nn

from fitting.sampling import Sampling
from jobs.container import JobError

if TYPE_CHECKING:
    from fitting.checkpoints import Snapshot

DEFAULT_PORT: Final = "29400"
_LAUNCH: Final = "start the processes with torchrun, which sets it, or unset RANK to train in one process"
# How long a rank waits for a slow one. A rank that has ended is noticed at once by its closed connection.
PATIENCE: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class Ranks:
    """This process among `size` of one job. A single process needs no process group and starts none."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def is_first(self) -> bool:
        """Whether this process reports, saves and writes the model."""
        return self.rank == 0

    def sampling(self, samples: int, batch_size: int, seed: int, lanes: int | None = None) -> Sampling:
        """The plan of this process. More lanes than processes repeat a larger job's order in a smaller one."""
        lanes = lanes or self.size
        if min(samples, batch_size) < lanes:
            raise JobError(
                f"{samples} training photos in batches of {batch_size} cannot be shared by {lanes} processes; raise "
                "batch-size or use fewer machines"
            )
        return Sampling(samples, batch_size, seed, lanes, tuple(range(self.rank, lanes, self.size)))

    def on_device(self, tensor: Tensor) -> Tensor:
        """The tensor where the network is."""
        return tensor.to(self.device, non_blocking=True)

    def seed(self, value: int) -> None:
        """Begin the random numbers of this process's device anew.

        On a CPU of that alone: for each device that is absent, PyTorch would write down the stack of calls.
        """
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(value)
        else:
            torch.manual_seed(value)

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with its gradients averaged over the ranks."""
        if self.size == 1:
            return network
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(network)

    def total(self, sums: Tensor) -> list[float]:
        """The element-wise sum over the ranks of a float64 vector."""
        if self.size > 1:
            sums = sums.to(self.device)
            distributed.all_reduce(sums)
        values: list[float] = sums.tolist()
        return values

    def gather(self, value: float) -> list[float]:
        """Every rank's value, on every rank."""
        values = [value]
        if self.size > 1:
            gathered: list[float | None] = [None] * self.size
            distributed.all_gather_object(gathered, value)
            values = [other for other in gathered if other is not None]
        return values

    def share(self, snapshot: Snapshot | None) -> Snapshot | None:
        """The first rank's object, on every rank."""
        if self.size == 1:
            return snapshot
        box = [snapshot]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def align(self, network: nn.Module) -> None:
        """Give every rank the first one's buffers: batch statistics differ between ranks while they train."""
        if self.size > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, src=0)

    def require_same(self, fingerprint: str) -> None:
        """Raise JobError where the ranks have not the same settings and data, of which this is the fingerprint."""
        if self.size == 1:
            return
        values: list[str | None] = [None] * self.size
        distributed.all_gather_object(values, fingerprint)
        odd = [rank for rank, other in enumerate(values) if other != values[0]]
        if odd:
            raise JobError(
                f"the settings or the data differ between machine 0 and machine {odd[0]}: give every machine the same "
                "settings and all of the data (S3DataDistributionType FullyReplicated); each reads its own part"
            )


@contextlib.contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """This process among those of its job, joined for as long as the context lasts.

    torchrun says who is who by RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; a SageMaker job on several machines by
    SM_HOSTS and SM_CURRENT_HOST, one process a machine. Alone, nothing is joined.

    Raises JobError where a machine has fewer GPUs than processes, or where one of the variables is missing or wrong.
    """
    found = _place()
    if found is None:
        yield Ranks(device=_device(0))
        return
    rank, size = found
    device = _device(number_of("LOCAL_RANK", default=0))
    _require_address()
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", rank=rank, world_size=size, timeout=PATIENCE
    )
    yield Ranks(rank, size, device)
    # Not in a finally: a rank that failed must drop its connections at once, not wait for the others.
    distributed.destroy_process_group()


def several_gpus_without_launcher() -> int:
    """The GPUs of this machine where one process each is wanted and torchrun has not started them; else 0."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return gpus if gpus > 1 and "RANK" not in os.environ else 0


def hosts_of_job() -> tuple[list[str], int]:
    """The machines of the SageMaker job and the place of this one among them.

    Raises JobError where SM_HOSTS and SM_CURRENT_HOST do not say it: the machine would do the part of another.
    """
    text, current = os.environ.get("SM_HOSTS"), os.environ.get("SM_CURRENT_HOST")
    if text is None and current is None:
        return ["localhost"], 0
    cure = "SageMaker sets both on each machine of a job; set neither to train on this machine alone"
    try:
        hosts = json.loads(text or "null")
    except ValueError:
        hosts = None
    if not isinstance(hosts, list) or not hosts or not all(isinstance(host, str) for host in hosts):
        said = "missing" if text is None else repr(text)
        raise JobError(f'SM_HOSTS must be a list of machines such as ["algo-1", "algo-2"], it is {said}: {cure}')
    hosts.sort()
    if current is None and len(hosts) == 1:
        return hosts, 0
    if current not in hosts:
        said = "missing" if current is None else repr(current)
        raise JobError(f"SM_CURRENT_HOST must be one of SM_HOSTS ({', '.join(hosts)}), it is {said}: {cure}")
    return hosts, hosts.index(current)


def number_of(name: str, *, default: int | None = None) -> int:
    """A whole number from 0 on that torchrun sets as an environment variable. Raises JobError for anything else."""
    text = os.environ.get(name, "" if default is None else str(default))
    if not (text.isascii() and text.isdigit()):
        said = repr(text) if name in os.environ else "missing"
        raise JobError(f"{name} must be a number, it is {said}: {_LAUNCH}")
    return int(text)


def _launched() -> tuple[int, int] | None:
    """Rank and number of the processes that torchrun has started."""
    rank, size = number_of("RANK"), number_of("WORLD_SIZE")
    if rank >= size:
        raise JobError(f"RANK {rank} must be below WORLD_SIZE, which is {size}: {_LAUNCH}")
    return (rank, size) if size > 1 else None


def _require_address() -> None:
    """Raises JobError where the first process has no address, at which the others meet."""
    if lacking := [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]:
        raise JobError(f"RANK is set without {' and '.join(lacking)}: {_LAUNCH}")
    number_of("MASTER_PORT")


def _place() -> tuple[int, int] | None:
    if "RANK" in os.environ:
        return _launched()
    hosts, place = hosts_of_job()
    if len(hosts) == 1:
        return None
    os.environ.setdefault("MASTER_ADDR", hosts[0])
    os.environ.setdefault("MASTER_PORT", DEFAULT_PORT)
    return place, len(hosts)


def _device(local_rank: int) -> torch.device:
    """The device of this process. Raises JobError in every process of a machine that has fewer GPUs than processes."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    gpus = torch.cuda.device_count()
    processes = max(local_rank + 1, number_of("LOCAL_WORLD_SIZE", default=1))
    if processes > gpus:
        raise JobError(
            f"{processes} processes were started on a machine with {gpus} {'GPU' if gpus == 1 else 'GPUs'}: start one "
            f"a GPU (torchrun --nproc-per-node={gpus}), or set CUDA_VISIBLE_DEVICES= to train on the processors"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
