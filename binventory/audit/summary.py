"""The whole audit in a few numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Final

import numpy as np

from binventory.audit.database import AuditDatabase, Filters, SkuError
from binventory.audit.estimate import Finds, WrongShare, estimate_wrong_share, expected_finds

TOP_SKUS: Final = 20
SCHEMA: Final = 1


@dataclass(frozen=True)
class Summary:
    """The audit's answer."""

    source: str
    counter: str
    counted: int
    """Bins whose record was compared with its photo."""
    out_of_scope: int
    not_audited: int
    reasons: tuple[tuple[str, str, int], ...]
    """(state, reason, number) of the bins that were set aside."""
    wrong: WrongShare | None
    """None when nothing was counted."""
    listed: int
    """Bins in the filtered list."""
    finds: Finds | None
    """The wrong records that checking the listed bins is expected to find."""
    unit_error: float
    """Units by which all counted records together are expected to be off."""
    skus: tuple[SkuError, ...]
    """SKUs with the largest expected unit error."""

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        document = asdict(self)
        document["reasons"] = [{"state": state, "reason": reason, "bins": bins} for state, reason, bins in self.reasons]
        return {"schema": SCHEMA, **document}


def summarise(
    ledger: AuditDatabase, *, identity: Mapping[str, str], filters: Filters, classes: int, seed: int = 0
) -> Summary:
    """Estimate the share of wrong records, judge every record by it, and add up.

    The share is estimated from all counted bins; the filters choose what is listed and what checking it would find.
    """
    counts = ledger.counts()
    wrong = None
    finds = None
    if counts["counted"]:
        wrong = estimate_wrong_share(ledger.recorded_probabilities(), classes=classes, seed=seed)
        ledger.judge(wrong)
        listed = (probability for _, probability in ledger.recorded_probabilities(filters))
        finds = expected_finds(np.fromiter(listed, dtype=np.float64), wrong)
    return Summary(
        source=identity["source"],
        counter=identity["counter"],
        counted=counts["counted"],
        out_of_scope=counts["out_of_scope"],
        not_audited=counts["not_audited"],
        reasons=tuple(ledger.reasons()),
        wrong=wrong,
        listed=finds.inspections if finds else 0,
        finds=finds,
        unit_error=ledger.expected_unit_error(),
        skus=tuple(islice(ledger.sku_errors(TOP_SKUS), TOP_SKUS)),
    )
