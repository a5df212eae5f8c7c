"""The watcher of one run: feeds the rules, keeps step losses and gradient norms for the report, warns or stops."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fitting.loop import EpochResult, StepResult
from jobs.container import JobError
from watching.rules import LayerSignal, Rule, RuleReport


@dataclass
class Curves:
    """Curves for the report."""

    steps: list[tuple[int, float]] = field(default_factory=list)
    """(step, training loss), thinned so that a long run stays a small page."""
    gradients: dict[str, list[float]] = field(default_factory=dict)
    """Mean gradient norm of each layer, by epoch."""


class RunWatcher:
    """Looks at every `every`-th step and every epoch. A rule with action `stop` ends the run with its reason."""

    def __init__(self, rules: Sequence[Rule], counts: Mapping[int, int], *, every: int = 1, speak: bool = True) -> None:
        self.rules = rules
        self.curves = Curves()
        self._every = every
        self._speak = speak
        self._sums: dict[str, float] = {}
        self._looked = 0
        self._counts = counts
        self._started = False
        self._seen = False
        """Whether gradients have been looked at: before that, the weights are the initial ones."""

    def on_step(self, result: StepResult) -> None:
        """Look at the gradients before they are used."""
        if not self._started:
            self._started = True
            for rule in self.rules:
                self._judge(rule, rule.on_start(self._counts))
        # The weights are the initial ones until a step is taken, whichever steps are looked at.
        if result.step % self._every and self._seen:
            return
        self._remember_loss(result.step, result.loss)
        layers = layer_signals(result.network, deviations=not self._seen)
        if not layers:
            return  # An overflow in fp16: the step is left out, and its gradients are gone.
        self._seen = True
        self._looked += 1
        for layer in layers:
            self._sums[layer.name] = self._sums.get(layer.name, 0.0) + layer.gradient_norm
        for rule in self.rules:
            self._judge(rule, rule.on_step(result.step, layers))

    def on_epoch(self, history: Sequence[EpochResult]) -> None:
        """Close the epoch's curves, look at the losses, and print what CloudWatch makes metrics of."""
        norms = {name: total / self._looked for name, total in self._sums.items()}
        for name, norm in norms.items():
            self.curves.gradients.setdefault(name, []).append(norm)
        self._sums, self._looked = {}, 0
        for rule in self.rules:
            self._judge(rule, rule.on_epoch(history))
        if self._speak and norms:
            # The norm over all layers, as if they were one.
            whole = math.sqrt(sum(norm**2 for norm in norms.values()))
            fired = sum(rule.triggered > 0 for rule in self.rules)
            print(f"watch epoch={history[-1].epoch} train:gradient-norm={whole:.6g} watch:fired={fired}", flush=True)

    def reports(self) -> list[RuleReport]:
        """What every rule saw."""
        return [rule.report() for rule in self.rules]

    def state(self) -> dict[str, Any]:
        """State for the checkpoint: all that the report needs, so that it is the same after a restart."""
        return {
            "rules": [rule.state() for rule in self.rules], "steps": self.curves.steps, "started": self._started,
            "seen": self._seen, "gradients": self.curves.gradients, "sums": self._sums, "looked": self._looked,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Take the state of a checkpoint."""
        for rule, saved in zip(self.rules, state["rules"], strict=True):
            rule.restore(saved)
        self.curves = Curves([(step, loss) for step, loss in state["steps"]], state["gradients"])
        self._started, self._seen = state["started"], state["seen"]
        self._sums, self._looked = state["sums"], state["looked"]

    def _judge(self, rule: Rule, problem: str | None) -> None:
        if problem is None:
            return
        rule.triggered += 1
        if rule.action == "stop":
            raise JobError(f"watch rule {rule.name} stopped the run: {problem}. {rule.recommendation}")
        if not rule.first:
            rule.first = problem
            if self._speak:
                print(f"warning: watch rule {rule.name}: {problem}. {rule.recommendation}", file=sys.stderr, flush=True)

    def _remember_loss(self, step: int, loss: float) -> None:
        if not math.isfinite(loss):
            return  # An overflow in fp16: the step is left out.
        self.curves.steps.append((step, loss))
        if len(self.curves.steps) > 2000:
            self.curves.steps = self.curves.steps[::2]


def layer_signals(network: nn.Module, *, deviations: bool) -> list[LayerSignal]:
    """Norms of every weight tensor (not biases or norms) and its gradient; of the weights also the deviation if asked.

    The deviation of initial weights shows those that are all equal.
    """
    named = [
        (name, value, value.grad)
        for name, value in network.named_parameters()
        if value.ndim > 1 and value.grad is not None
    ]
    if not named:
        return []
    weights: list[Tensor] = [value.detach() for _, value, _ in named]
    gradients = [gradient for _, _, gradient in named if gradient is not None]
    # One transfer for all the numbers: a read a layer would stall a GPU at every one.
    norms = torch.stack([*torch._foreach_norm(weights), *torch._foreach_norm(gradients)]).tolist()
    spreads = torch.stack([weight.std(correction=0) for weight in weights]).tolist() if deviations else None
    count = len(named)
    return [
        LayerSignal(
            name, norms[row], norms[count + row], math.isfinite(norms[row]) and math.isfinite(norms[count + row]),
            spreads[row] if spreads else None,
        )
        for row, (name, _, _) in enumerate(named)
    ]  # fmt: skip
