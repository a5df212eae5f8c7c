"""How far the model of an audit can be trusted, read from the evaluation of its model package."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from binventory.pages.document import percent

MAX_EVALUATION_BYTES: Final = 16 * 1024 * 1024
_MAJORITY: Final = "always the majority"


class EvaluationError(ValueError):
    """A document is no evaluation.json that says how far its model can be trusted."""


@dataclass(frozen=True)
class Trust:
    """A model against always-the-majority, on photos that neither training nor tuning has seen; shares from 0 to 1."""

    photos: int
    accuracy: float
    accuracy_low: float | None
    """95% interval, like `accuracy_high`; None where the photos come from too few blocks of ids."""
    accuracy_high: float | None
    within_one: float
    majority_accuracy: float
    """Of always answering the quantity that is most frequent in training, on the same photos."""
    majority_within_one: float
    calibration_error: float
    """Mean distance between the probability of the most probable count and how often it is right."""
    beats_shares: bool
    """Whether its log loss is below that of the shares of the counts with 95% confidence."""
    planted: float
    """Share of the records that a test made wrong, and share of all records that it then looked at."""
    found: float
    """Share of the planted errors among those, by this model's ranking; by chance it is `planted`."""

    @property
    def beats_majority(self) -> bool:
        """Whether the model knows more than how often each quantity occurs; otherwise it calls no record wrong."""
        return self.beats_shares and self.accuracy > self.majority_accuracy

    @property
    def verdict(self) -> str:
        """The first sentence that people read."""
        if self.beats_majority:
            return "The model is better than always answering the most frequent quantity."
        if self.accuracy <= self.majority_accuracy:
            shown = "The model is not better than always answering the most frequent quantity"
        else:
            shown = "The model is not shown to know more than how often each quantity occurs"
        return f"{shown}: no record is called wrong."

    @property
    def sentences(self) -> tuple[str, ...]:
        """The figures in words."""
        return (
            f"On {self.photos:,} held-out photos it is right for {percent(self.accuracy)}{self._interval} and within "
            f"one for {percent(self.within_one)}; always the most frequent quantity: {percent(self.majority_accuracy)} "
            f"and {percent(self.majority_within_one)}.",
            f"Its probabilities are off by {percent(self.calibration_error)} on average.",
            f"With {percent(self.planted)} of the held-out records made wrong, the first {percent(self.planted)} of "
            f"its list holds {percent(self.found)} of them; by chance {percent(self.planted)}.",
        )

    @property
    def _interval(self) -> str:
        if self.accuracy_low is None or self.accuracy_high is None:
            return ""
        return f" ({percent(self.accuracy_low)} to {percent(self.accuracy_high)})"

    def to_json(self) -> dict[str, Any]:
        """As JSON, with the verdict first."""
        return {"beats_majority": self.beats_majority, **asdict(self)}


def trust_of(document: bytes) -> Trust:
    """From the bytes of an evaluation.json. Raises EvaluationError."""
    try:
        evaluation = json.loads(document)["binventory"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EvaluationError("it is no evaluation.json of this project") from error
    if not isinstance(evaluation, dict) or "trust" not in evaluation:
        raise EvaluationError("it was written by an earlier version, which did not plant wrong records")
    try:
        model, trust = evaluation["model"], evaluation["trust"]
        majority = evaluation["baselines"][_MAJORITY]
        found = Trust(
            photos=int(evaluation["photos"]),
            accuracy=float(model["accuracy"]["value"]),
            accuracy_low=_bound(model["accuracy"]["low"]),
            accuracy_high=_bound(model["accuracy"]["high"]),
            within_one=float(model["within_one"]["value"]),
            majority_accuracy=float(majority["accuracy"]["value"]),
            majority_within_one=float(majority["within_one"]["value"]),
            calibration_error=float(model["calibration_error"]["value"]),
            beats_shares=trust["beats_shares"] is True,
            planted=float(trust["planted"]),
            found=float(trust["found"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise EvaluationError(f"a figure is missing or no number: {error}") from error
    if not all(0 <= share <= 1 for share in (found.accuracy, found.majority_accuracy, found.planted, found.found)):
        raise EvaluationError("a share is not between 0 and 1")
    return found


def _bound(value: Any) -> float | None:
    return None if value is None else float(value)
