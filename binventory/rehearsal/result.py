"""The options of a rehearsal, and its results."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from binventory import executions, serving
from binventory.core.names import Names
from binventory.executions.watching import Transition
from binventory.rehearsal import source
from binventory.rehearsal.agreement import Agreement
from binventory.rehearsal.auditing import Audited
from binventory.rehearsal.defaults import DEFAULT_BACKBONE, DEFAULT_PHOTOS, DEFAULT_WEIGHTS
from stacks.names import ACCURACY_THRESHOLD, BACKBONE, EPOCHS, LABELS_URI, LIMIT_PER_CLASS, PHOTOS_URI, VIEWS, WEIGHTS

_TIE = 0.01
# Of a head on features, a second or two a trial. They give --reclaim something to interrupt.
_EPOCHS = 40
# Photos from a folder may be too few to count well, but the rehearsal must reach the endpoint: its gate lets every
# model pass. On AWS the threshold in settings/ holds a bad model back.
_THRESHOLD = 0.0


@dataclass(frozen=True)
class Options:
    """The options of a rehearsal."""

    repository: Path
    state_dir: Path
    names: Names
    photos: Path | None = None  # None renders `photos_count` of them
    photos_count: int = DEFAULT_PHOTOS
    keep: bool = False
    reclaim: bool = False
    enforce_iam: bool = False
    report: Path | None = None  # where the execution's page is written
    backbone: str = DEFAULT_BACKBONE
    weights: str = DEFAULT_WEIGHTS

    def parameters(self, found: source.Source) -> dict[str, str | int | float]:
        """The pipeline parameters of a rehearsal; everything else keeps its default from settings/."""
        return {
            PHOTOS_URI: found.photos_uri,
            LABELS_URI: found.labels_uri,
            LIMIT_PER_CLASS: 0,
            BACKBONE: self.backbone,
            WEIGHTS: self.weights,
            # A view costs as much as the photo itself and gains little.
            VIEWS: 0,
            EPOCHS: _EPOCHS,
            ACCURACY_THRESHOLD: _THRESHOLD,
        }


@dataclass(frozen=True)
class CountedTestPhoto:
    """One test photo: its recorded quantity and the endpoint's answer."""

    image_id: str
    recorded: int
    answer: serving.EndpointAnswer

    def differs_from(self, likely: int) -> bool:
        """Whether another answer's likeliest count contradicts this one; where two counts tie, either may win."""
        shares = self.answer.probabilities
        return max(shares.values()) - shares[likely] > _TIE


@dataclass
class Result:
    """The results; filled step by step, so that a failed rehearsal shows what it has."""

    source: source.Source | None = None
    execution: str = ""
    trials: tuple[executions.Trial, ...] = ()
    evaluation: dict[str, Any] = field(default_factory=dict)
    package: str = ""
    transitions: tuple[Transition, ...] = ()
    counted: tuple[CountedTestPhoto, ...] = ()
    agreement: Agreement | None = None
    audited: tuple[Audited, ...] = ()
    checked: str = ""
    kept: dict[str, str] = field(default_factory=dict)  # exports of a kept local AWS

    @property
    def accuracy(self) -> float | None:
        """Accuracy on the test split."""
        metric = self.evaluation.get("multiclass_classification_metrics", {}).get("accuracy", {})
        return float(metric["value"]) if "value" in metric else None

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        return asdict(self)
