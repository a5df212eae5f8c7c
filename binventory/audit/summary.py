"""The whole audit in a few numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from binventory.audit.database import JOB_FAILED, AuditDatabase, Earlier, Filters, SkuError
from binventory.audit.estimate import Finds, WrongShare, estimate_wrong_share, expected_finds
from binventory.audit.model import AuditModel

TOP_SKUS: Final = 20
SCHEMA: Final = 2


@dataclass(frozen=True)
class Summary:
    """The audit's answer."""

    model: AuditModel
    """The model that answered; where it is no better than the majority, the audit ranks and calls no record wrong."""
    source: str
    counter: str
    counted: int
    """Bins whose record was compared with its photo."""
    out_of_scope: int
    not_audited: int
    reasons: tuple[tuple[str, str, int], ...]
    """(state, reason, number) of the bins that were set aside."""
    wrong: WrongShare | None
    """None when nothing was counted, or when the model may call no record wrong."""
    listed: int
    """Bins in the filtered list."""
    finds: Finds | None
    """The wrong records that checking the listed bins is expected to find."""
    unit_error: float | None
    """Units by which all counted records together are expected to be off; None like `wrong`."""
    fewer: tuple[SkuError, ...]
    """SKUs of which fewer units are expected than recorded, the largest difference first."""
    more: tuple[SkuError, ...]
    """SKUs of which more units are expected than recorded."""
    earlier: Earlier | None = None
    """What earlier runs had done, and this one did not look at again; None for the first run."""

    @property
    def unanswered(self) -> int:
        """Bins without an answer because their transform job failed; the next run asks for them again."""
        return sum(bins for _, reason, bins in self.reasons if reason == JOB_FAILED)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        document = {**asdict(self), "model": self.model.to_json()}
        document["reasons"] = [{"state": state, "reason": reason, "bins": bins} for state, reason, bins in self.reasons]
        return {"schema": SCHEMA, "model": document.pop("model"), **document}


def summarise(
    ledger: AuditDatabase,
    *,
    model: AuditModel,
    identity: Mapping[str, str],
    filters: Filters,
    classes: int,
    seed: int = 0,
    earlier: Earlier | None = None,
) -> Summary:
    """Estimate the share of wrong records, judge every record by it, and add up.

    The share is estimated from all counted bins; the filters choose what is listed and what checking it would find.
    """
    counts = ledger.counts()
    wrong = None
    finds = None
    listed = np.fromiter((found for _, found in ledger.recorded_probabilities(filters)), dtype=np.float64)
    ledger.forget_verdicts()
    if counts["counted"] and model.calls_wrong:
        wrong = estimate_wrong_share(ledger.recorded_probabilities(), classes=classes, seed=seed)
        ledger.judge(wrong)
        finds = expected_finds(listed, wrong)
    return Summary(
        model=model,
        source=identity["source"],
        counter=identity["counter"],
        counted=counts["counted"],
        out_of_scope=counts["out_of_scope"],
        not_audited=counts["not_audited"],
        reasons=tuple(ledger.reasons()),
        wrong=wrong,
        listed=len(listed),
        finds=finds,
        unit_error=ledger.expected_unit_error() if wrong else None,
        fewer=tuple(ledger.sku_errors("fewer", TOP_SKUS)) if wrong else (),
        more=tuple(ledger.sku_errors("more", TOP_SKUS)) if wrong else (),
        earlier=earlier,
    )
