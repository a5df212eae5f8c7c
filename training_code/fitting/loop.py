"""The training loop, for a head on features and for a whole network on photos alike.

Exact resume: everything random is a function of (seed, epoch, step), everything else is in the snapshot, so a run
that was killed anywhere and resumed ends with the same bits as one that was not.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fitting.averaging import WeightAverage
from fitting.checkpoints import CheckpointFolder, Snapshot
from fitting.objectives import OBJECTIVES, cross_entropy, regularised
from fitting.optimiser import Optimiser, Schedule
from fitting.precision import MixedPrecision
from fitting.ranks import Ranks
from fitting.sampling import StepPlan, lane_range, stream_seed
from jobs.container import JobError, StopSignal
from serving.answer_rule import MOST_PROBABLE, answered
from stacks.vocabulary import CLASSES

_STEP_STREAM = 0x57E9
_NOISE = torch.float64


class Source(Protocol):
    """A split that can be trained on or measured."""

    @property
    def ids(self) -> Sequence[str]:
        """Photo ids by row."""
        ...

    def __len__(self) -> int: ...

    def batches(self, plans: Sequence[StepPlan], epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and counts (1..5) of each planned step of an epoch."""
        ...

    def in_order(self, rows: range, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and counts of some rows, each once, as they are served."""
        ...


@dataclass(frozen=True)
class FitSettings:
    """How long and how to train."""

    epochs: int
    batch_size: int
    seed: int
    loss: str = "cross-entropy"
    patience: int = 0
    """Epochs without a better validation loss before training ends; 0: never."""
    label_smoothing: float = 0.0
    squared_error: float = 0.0
    """What is added to the loss that is minimised, see `regularised`."""
    average: float = 0.0
    """Decay of the average of the weights that is measured and kept; 0: the weights themselves."""
    clip: float = 0.0
    """Norm to which longer gradients are shortened; 0: never."""
    answer: str = MOST_PROBABLE
    """The rule by which a count is answered, for accuracy and RMSE."""


@dataclass(frozen=True)
class EpochResult:
    """One epoch's numbers, over all ranks.

    A loss is the mean cross-entropy, whatever was minimised, so that trials with different losses can be compared.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    validation_rmse: float

    def line(self, word: str = "epoch") -> str:
        """The line SageMaker's regular expressions read; one string, so that no other output can split it."""
        return (
            f"{word}={self.epoch} train:loss={self.train_loss:.6g} train:accuracy={self.train_accuracy:.6g} "
            f"validation:loss={self.validation_loss:.6g} validation:accuracy={self.validation_accuracy:.6g} "
            f"validation:rmse={self.validation_rmse:.6g}"
        )


@dataclass(frozen=True)
class StepResult:
    """One step, as the watch rules see it: the cross-entropy over all ranks, gradients still on the network."""

    epoch: int
    step: int
    """Counted from 0 over the whole run."""
    rate: float
    loss: float
    network: nn.Module
    waited: float = 0.0
    """Seconds this rank waited for the batch."""


class Watcher(Protocol):
    """Looks at a run while it goes; may raise JobError to end it. Its state travels in the checkpoint."""

    def on_step(self, result: StepResult) -> None:
        """After the gradients of a step, before the update."""
        ...

    def on_epoch(self, history: Sequence[EpochResult]) -> None:
        """After an epoch's measurement; the last of `history` is new."""
        ...

    def state(self) -> dict[str, Any]:
        """What must survive a restart, as plain values."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Take the state of a checkpoint."""
        ...


@dataclass
class _Progress:
    """Where the run stands. `sums`: loss, hits and samples of the epoch so far."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    history: list[EpochResult] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = -1

    @property
    def best_result(self) -> EpochResult:
        return self.history[self.best_epoch]


@dataclass(frozen=True)
class Outcome:
    """A finished run: the network holds the weights of `best`."""

    best: EpochResult
    history: tuple[EpochResult, ...]
    steps: int
    resumed_at: int
    """The step this process started from; 0 for a run that was never interrupted."""


class StoppedBySignal(JobError):
    """SIGTERM came; the run was saved first."""


class Fit:
    """One run. `network` maps a source's inputs to logits."""

    def __init__(
        self, network: nn.Module, optimiser: Optimiser, schedule: Schedule, settings: FitSettings, *,
        train: Source, validation: Source, checkpoints: CheckpointFolder, ranks: Ranks,
        watchers: Sequence[Watcher] = (), stop: StopSignal | None = None, lanes: int | None = None,
        precision: MixedPrecision | None = None, start: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """`start` prepares the network of a run that continues no checkpoint."""
        self.network = network
        self.optimiser = optimiser
        self.schedule = schedule
        self.settings = settings
        self.train = train
        self.validation = validation
        self.checkpoints = checkpoints
        self.ranks = ranks
        self.watchers = watchers
        self.stop = stop
        self.sampling = ranks.sampling(len(train), settings.batch_size, settings.seed, lanes)
        self.objective = regularised(
            OBJECTIVES[settings.loss], label_smoothing=settings.label_smoothing, squared_error=settings.squared_error
        )
        self.average: WeightAverage | None = None
        self.start = start
        self.precision = precision or MixedPrecision.of("auto", ranks.device)
        self.progress = _Progress()

    def run(self) -> Outcome:
        """Train to the end, from the newest checkpoint if there is one. Raises JobError where the run cannot go on."""
        self._start_or_resume()
        wrapped = self.ranks.wrap(self.network)
        resumed_at = self.progress.step
        while self.progress.epoch < self.settings.epochs and not self._out_of_patience():
            self._train_epoch(wrapped)
            self._finish_epoch()
        done = self.progress
        if done.step and self.precision.in_a_row >= done.step:
            raise JobError(f"the numbers of every step overflowed in fp16; {self.precision.cure}or lower lr")
        if not math.isfinite(done.best_result.validation_loss):
            raise JobError("the validation loss of every epoch is no finite number; lower lr, or look at the photos")
        self.network.load_state_dict(done.best)
        return Outcome(done.best_result, tuple(done.history), done.step, resumed_at)

    def _train_epoch(self, wrapped: nn.Module) -> None:
        self.network.train()
        progress = self.progress
        plans = self.sampling.epoch(progress.epoch)[progress.step_in_epoch :]
        asked = time.monotonic()
        for plan, (inputs, counts) in zip(plans, self.train.batches(plans, progress.epoch), strict=True):
            self._train_step(wrapped, plan, inputs, counts, time.monotonic() - asked)
            progress.step += 1
            progress.step_in_epoch += 1
            self._save_if_due()
            asked = time.monotonic()

    def _train_step(self, wrapped: nn.Module, plan: StepPlan, inputs: Tensor, counts: Tensor, waited: float) -> None:
        progress = self.progress
        # One stream of random numbers a step and rank: dropout does not depend on what ran before.
        self.ranks.seed(stream_seed(self.settings.seed, _STEP_STREAM, progress.step, self.ranks.rank))
        rate = self.schedule.rate(progress.step)
        self.precision.remember(self.network)
        targets = self.ranks.on_device(counts - CLASSES[0])
        with self.precision.autocast():
            logits = wrapped(self.ranks.on_device(inputs)).float()
        losses = self.objective(logits, targets)
        # Gradients are averaged over ranks; scaled so, the average is the gradient of the global batch's mean loss.
        loss = losses.sum() * (self.ranks.size / plan.total)
        self.precision.scaled(loss).backward()
        hits = (self._answered(logits) == targets).sum()
        measured = cross_entropy(logits.detach(), targets)
        # A photo that cannot be read is left out of its batch, and of every mean.
        read = torch.full((), len(targets), dtype=_NOISE, device=measured.device)
        sums = self.ranks.total(torch.stack([measured.to(_NOISE).sum(), hits.to(_NOISE), read]))
        mean = sums[0] / max(1.0, sums[2])
        # The gradients are of a mean over the planned photos: only now every rank knows how many were read.
        problem = self.precision.unscale(self.network, loss=mean, factor=plan.total / max(1.0, sums[2]))
        if problem:
            self._refuse(plan, rate, problem)
        for watcher in self.watchers:
            watcher.on_step(StepResult(progress.epoch, progress.step, rate, mean, self.network, waited))
        if self.settings.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.optimiser.step(rate)
        if self.average is not None:
            self.average.update(self.network)
        if math.isfinite(mean):
            progress.sums = [before + new for before, new in zip(progress.sums, sums, strict=True)]

    def _refuse(self, plan: StepPlan, rate: float, problem: str) -> None:
        rows = [row for lane in plan.rows for row in lane]
        shown = ", ".join(self.train.ids[row] for row in rows[:20]) + (", ..." if len(rows) > 20 else "")
        raise JobError(
            f"{problem} at epoch {self.progress.epoch} step {self.progress.step} with learning rate "
            f"{rate:.3g}; {self.precision.cure}lower lr, or look at the photos of this batch: {shown}"
        )

    def _finish_epoch(self) -> None:
        progress = self.progress
        loss, hits, samples = progress.sums
        if not samples and self.precision.left_out:
            raise JobError(
                f"the loss overflowed in every step of epoch {progress.epoch}; {self.precision.cure}or lower lr"
            )
        if not samples:
            raise JobError("no photo of the training split can be read; ingest again")
        with self.average.installed(self.network) if self.average else contextlib.nullcontext():
            result = EpochResult(progress.epoch, loss / samples, hits / samples, *self._measure())
            progress.history.append(result)
            # The first epoch always counts: with a loss that is not finite there would be no weights to keep.
            if progress.best_epoch < 0 or _is_better(result, progress.best_result):
                progress.best_epoch = result.epoch
                progress.best = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        progress.epoch, progress.step_in_epoch, progress.sums = progress.epoch + 1, 0, [0.0, 0.0, 0.0]
        if self.ranks.is_first:
            print(result.line(), flush=True)
            if left_out := self.precision.left_out:
                print(f"{left_out} of {self.sampling.steps} steps of the epoch were left out, since their numbers "
                      f"overflow in fp16; the loss scale is {self.precision.scale:g}", flush=True)  # fmt: skip
        self.precision.left_out = 0
        for watcher in self.watchers:
            watcher.on_epoch(progress.history)
        if self.checkpoints.due_after_epoch:
            self._save()

    @torch.no_grad()
    def _measure(self) -> tuple[float, float, float]:
        """Loss, accuracy and RMSE of the validation split; every rank takes its lane, every readable photo counts once.

        Raises JobError where none can be read.
        """
        self.network.eval()
        self.ranks.align(self.network)
        sums = torch.zeros(4, dtype=_NOISE)
        rows = lane_range(len(self.validation), self.ranks.size, self.ranks.rank)
        for inputs, counts in self.validation.in_order(rows, size=256):
            targets = self.ranks.on_device(counts - CLASSES[0])
            with self.precision.autocast():
                logits = self.network(self.ranks.on_device(inputs)).float()
            error = (self._answered(logits) - targets).to(_NOISE)
            loss = cross_entropy(logits, targets).to(_NOISE)
            sums[:3] += torch.stack([loss.sum(), (error == 0).sum(), (error**2).sum()]).cpu()
            sums[3] += len(counts)
        loss_sum, hits, squares, count = self.ranks.total(sums)
        if not count:
            raise JobError("no photo of the validation split can be read; ingest again")
        return loss_sum / count, hits / count, math.sqrt(squares / count)

    def _answered(self, logits: Tensor) -> Tensor:
        """Class index [N] of the answers to logits [N, k], on their device."""
        shares = logits.detach().double().softmax(dim=1).cpu().numpy()
        return torch.from_numpy(answered(shares, self.settings.answer)).to(logits.device)

    def _out_of_patience(self) -> bool:
        waited = self.progress.epoch - 1 - self.progress.best_epoch
        return 0 < self.settings.patience <= waited and bool(self.progress.history)

    def _save_if_due(self) -> None:
        stopping = self.stop is not None and self.stop.received
        if stopping or self.checkpoints.due:
            self._save()
        if stopping:
            raise StoppedBySignal(f"stopped by SIGTERM at step {self.progress.step}; a restart continues from there")

    def _save(self) -> None:
        if not self.ranks.is_first:
            return
        progress = self.progress
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"optimiser.{name}": value for name, value in self.optimiser.state.items()}
        tensors |= {f"best.{name}": value for name, value in progress.best.items()}
        if self.average is not None:
            tensors |= {f"average.{name}": value for name, value in self.average.values.items()}
        values = {
            "epoch": progress.epoch, "step_in_epoch": progress.step_in_epoch, "step": progress.step,
            "sums": progress.sums, "best_epoch": progress.best_epoch,
            "history": [asdict(result) for result in progress.history],
            "watchers": [watcher.state() for watcher in self.watchers], "loss_scale": self.precision.state(),
            "averaged_steps": self.average.steps if self.average else 0,
        }  # fmt: skip
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        self.checkpoints.save(progress.step, Snapshot(plain, values))

    def _start_or_resume(self) -> None:
        snapshot = self.ranks.share(self.checkpoints.latest() if self.ranks.is_first else None)
        if snapshot is None:
            self.start()
        if self.settings.average:
            self.average = WeightAverage(self.network, self.settings.average)
        if snapshot is not None:
            self._restore(snapshot)

    def _restore(self, snapshot: Snapshot) -> None:
        values = snapshot.values

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): t for name, t in snapshot.tensors.items() if name.startswith(prefix)}

        self.network.load_state_dict(part("network."))
        self.optimiser.load(part("optimiser."))
        self.progress = _Progress(
            values["epoch"], values["step_in_epoch"], values["step"], values["sums"],
            [EpochResult(**result) for result in values["history"]], part("best."), values["best_epoch"],
        )  # fmt: skip
        if self.average is not None:
            self.average.restore(part("average."), values["averaged_steps"])
        self.precision.restore(values["loss_scale"])
        for watcher, state in zip(self.watchers, values["watchers"], strict=True):
            watcher.restore(state)
        if self.ranks.is_first:
            print(f"resumed at epoch={self.progress.epoch} step={self.progress.step}", flush=True)


def _is_better(new: EpochResult, best: EpochResult) -> bool:
    """Whether an epoch's validation loss is the least so far; any number is less than one that is none."""
    return math.isfinite(new.validation_loss) and not best.validation_loss <= new.validation_loss
