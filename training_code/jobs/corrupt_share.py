"""Whether more of a job's input is damaged than its settings allow."""

from __future__ import annotations

from fractions import Fraction


def exceeds(damaged: int, total: int, share: float) -> bool:
    """Whether `damaged` of `total` are more than `share` (0 to 1) of them.

    The share counts as it is written: 0.58 of 50 are 29, and not the 28.999... of binary fractions.
    """
    return damaged > Fraction(repr(share)) * total
