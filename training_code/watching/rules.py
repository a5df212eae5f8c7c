"""Rules that watch a training run, as SageMaker Debugger's did: each checks one property and names the cure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from fitting.loop import EpochResult
from jobs.container import JobError
from stacks.watch_rules import WatchAction, WatchRule, WatchTextError, changes_in


@dataclass(frozen=True)
class LayerSignal:
    """One weight tensor at one step."""

    name: str
    weight_norm: float
    gradient_norm: float
    finite: bool
    """Whether every weight and gradient is a finite number."""
    weight_deviation: float | None = None
    """Measured where weights are initial ones: it takes as long as all the norms."""


@dataclass(frozen=True)
class RuleReport:
    """One line of the watch report."""

    rule: str
    checks: str
    threshold: float
    action: str
    data_points: int
    triggered: int
    first: str
    recommendation: str


class Rule:
    """Counts what it looked at and how often it fired. Subclasses override the moments they look at."""

    name: ClassVar[WatchRule]
    checks: ClassVar[str]
    recommendation: ClassVar[str]
    default: ClassVar[float]

    def __init__(self, threshold: float, action: str) -> None:
        self.threshold = threshold
        self.action = action
        self.data_points = 0
        self.triggered = 0
        self.first = ""
        self.run = 0
        """Consecutive observations that were bad; what rules with patience count."""

    def on_start(self, counts: Mapping[int, int]) -> str | None:
        """Photos of each class of the training split. Returns what is wrong, if anything."""
        return None

    def on_step(self, step: int, layers: Sequence[LayerSignal]) -> str | None:
        """The weights and gradients of a step. Returns what is wrong, if anything."""
        return None

    def on_epoch(self, history: Sequence[EpochResult]) -> str | None:
        """The epochs so far. Returns what is wrong, if anything."""
        return None

    def report(self) -> RuleReport:
        """What the rule saw, in words."""
        return RuleReport(
            self.name, self.checks.format(threshold=self.threshold), self.threshold, self.action, self.data_points,
            self.triggered, self.first, self.recommendation,
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """State for the checkpoint."""
        return {"points": self.data_points, "triggered": self.triggered, "first": self.first, "run": self.run}

    def restore(self, state: dict[str, Any]) -> None:
        """Take the state of a checkpoint."""
        self.data_points, self.triggered = state["points"], state["triggered"]
        self.first, self.run = state["first"], state["run"]


class VanishingGradient(Rule):
    """Weights that no longer learn."""

    name = WatchRule.VANISHING_GRADIENT
    checks = "a layer's gradient norm stays below {threshold:g} for 5 steps"
    recommendation = "Use a larger learning rate, ReLU or normalisation, or look for features that are all zero."
    default = 1e-7
    patience: ClassVar[int] = 5

    def on_step(self, step: int, layers: Sequence[LayerSignal]) -> str | None:
        """A layer whose gradient is next to nothing, several steps in a row."""
        self.data_points += 1
        flat = [layer for layer in layers if layer.finite and layer.gradient_norm < self.threshold]
        self.run = self.run + 1 if flat else 0
        if self.run < self.patience:
            return None
        return f"the gradient of {flat[0].name} is {flat[0].gradient_norm:.3g} at step {step}"


class ExplodingTensor(Rule):
    """Numbers that leave the range in which training works."""

    name = WatchRule.EXPLODING_TENSOR
    checks = "a weight or gradient is not finite, or a layer's gradient norm is above {threshold:g}"
    recommendation = "Lower the learning rate, warm up longer, or look at the photos of the step."
    default = 1e4

    def on_step(self, step: int, layers: Sequence[LayerSignal]) -> str | None:
        """A layer with infinite, undefined or huge values."""
        self.data_points += 1
        for layer in layers:
            if not layer.finite and math.isfinite(layer.gradient_norm):
                return f"a weight of {layer.name} is no finite number at step {step}"
            if not layer.finite or layer.gradient_norm > self.threshold:
                return f"the gradient of {layer.name} has norm {layer.gradient_norm:.3g} at step {step}"
        return None


class PoorInitialisation(Rule):
    """Initial weights that are symmetric or badly scaled."""

    name = WatchRule.POOR_INITIALISATION
    checks = "at the first step a layer's weights are all equal, or relative gradients differ over {threshold:g} times"
    recommendation = "Initialise randomly, scaled by the layer's inputs; check the weights that were given."
    default = 1e6

    def on_step(self, step: int, layers: Sequence[LayerSignal]) -> str | None:
        """The first step only: symmetric layers, and layers that would learn at wildly different paces."""
        if self.data_points:
            return None
        self.data_points = 1
        for layer in layers:
            if layer.weight_deviation == 0:
                return f"all weights of {layer.name} are equal"
        paces = [layer.gradient_norm / layer.weight_norm for layer in layers if layer.gradient_norm > 0]
        if paces and max(paces) > self.threshold * min(paces):
            return f"relative gradients of the layers range from {min(paces):.3g} to {max(paces):.3g}"
        return None


class Overfit(Rule):
    """The network learns the training photos instead of counting."""

    name = WatchRule.OVERFIT
    checks = "validation loss exceeds training loss by more than {threshold:g} of it for 3 epochs"
    recommendation = "Add photos or views, raise dropout or weight-decay, or train fewer epochs."
    default = 0.5
    patience: ClassVar[int] = 3

    def on_epoch(self, history: Sequence[EpochResult]) -> str | None:
        """The gap between the losses, several epochs in a row."""
        self.data_points += 1
        last = history[-1]
        gap = (last.validation_loss - last.train_loss) / max(last.train_loss, 1e-9)
        self.run = self.run + 1 if gap > self.threshold else 0
        if self.run < self.patience:
            return None
        return f"validation loss {last.validation_loss:.3g} against {last.train_loss:.3g} in training"


class Overtraining(Rule):
    """Epochs without improvement, which cost time and money."""

    name = WatchRule.OVERTRAINING
    checks = "the best validation loss is {threshold:g} epochs old"
    recommendation = "Train fewer epochs, or set patience to end by itself."
    default = 10

    def on_epoch(self, history: Sequence[EpochResult]) -> str | None:
        """How long ago the best epoch was."""
        self.data_points += 1
        # The epoch that is kept: any number is less than one that is none.
        best = min(history, key=lambda result: (not math.isfinite(result.validation_loss), result.validation_loss))
        waited = history[-1].epoch - best.epoch
        if waited < self.threshold:
            return None
        return f"the best epoch was {best.epoch}, {waited} epochs ago"


class LossNotDecreasing(Rule):
    """A training loss that does not fall."""

    name = WatchRule.LOSS_NOT_DECREASING
    checks = "training loss fell by less than {threshold:g} of it in 5 epochs"
    recommendation = "Change the learning rate (higher if the loss crawls, lower if it jumps) and check the labels."
    default = 0.001
    window: ClassVar[int] = 5

    def on_epoch(self, history: Sequence[EpochResult]) -> str | None:
        """The loss now and a window ago."""
        self.data_points += 1
        if len(history) <= self.window:
            return None
        before, now = history[-1 - self.window].train_loss, history[-1].train_loss
        if now <= before * (1 - self.threshold):
            return None
        return f"training loss {now:.4g}, {self.window} epochs ago {before:.4g}"


class ClassImbalance(Rule):
    """Counts that are too rare to be learned."""

    name = WatchRule.CLASS_IMBALANCE
    checks = "the commonest count has more than {threshold:g} times the photos of the rarest"
    recommendation = "Collect photos of the rare counts, or limit photos a class in ingest."
    default = 10

    def on_start(self, counts: Mapping[int, int]) -> str | None:
        """The photos of each class."""
        self.data_points += 1
        rare, common = min(counts, key=lambda count: counts[count]), max(counts, key=lambda count: counts[count])
        if counts[common] <= self.threshold * counts[rare]:
            return None
        return f"{counts[common]} photos of count {common}, {counts[rare]} of count {rare}"


RULES: Final[tuple[type[Rule], ...]] = (
    VanishingGradient, ExplodingTensor, PoorInitialisation, Overfit, Overtraining, LossNotDecreasing, ClassImbalance,
)  # fmt: skip


def parse_rules(text: str) -> list[Rule]:
    """The rules that `watch` asks for: `default`, `off`, or `rule=action[:threshold],...` over the defaults.

    Raises JobError naming the part that cannot be read and what is allowed.
    """
    try:
        changes = changes_in(text)
    except WatchTextError as error:
        raise JobError(f"--watch is {error}") from None
    rules = []
    for rule in RULES:
        change = changes.get(rule.name)
        action = change.action if change else WatchAction.WARN
        threshold = change.threshold if change and change.threshold is not None else rule.default
        if action is not WatchAction.OFF:
            rules.append(rule(threshold, action))
    return rules
