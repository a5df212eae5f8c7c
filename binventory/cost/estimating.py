"""Prices that a region's table lacks, estimated from its EC2 prices; each is marked as an estimate where it is shown.

AWS prices an ml.* instance as a fixed multiple of its EC2 type, and the sizes of a family as multiples of each other.
So a price of us-east-1, times what a known EC2 type costs more in the region, is close: of the rows of ap-south-1 and
eu-west-1 that were read from AWS, instances differ by less than 3%, storage by less than 8%. Nothing is estimated from
another estimate, and a GPU type only from EC2 prices of its family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

# The EC2 type that stands for a family, by the first letter of the family.
_STANDS_FOR: Final = {"m": "m5.2xlarge", "t": "m5.2xlarge", "c": "c5.4xlarge"}
_UNITS_LIKE: Final = "m5.2xlarge"

Values = Mapping[str, Any]


@dataclass(frozen=True)
class EstimatedPrice:
    """A price, and how it was estimated."""

    dollars: float
    how: str


def estimate(values: Values, reference: Values, group: str, name: str) -> EstimatedPrice | None:
    """The price of `name` in the region of `values`; None where too little is known.

    reference: the values of us-east-1. group: `instance_hour`, `ec2_hour`, or "" for a price by unit.
    """
    there = reference.get(group, {}).get(name) if group else reference.get(name)
    if not isinstance(there, int | float):
        return None
    base = _base(values, reference, name.removeprefix("ml.")) if group else _UNITS_LIKE
    ratio = _ratio(values, reference, base)
    if ratio is None:
        return None
    return EstimatedPrice(float(f"{there * ratio:.4g}"), f"us-east-1's, times what EC2's {base} costs more here")


def _base(values: Values, reference: Values, ec2_type: str) -> str:
    """The EC2 type to compare by: the same one, another size of its family, or the one that stands for the family."""
    family = ec2_type.partition(".")[0]
    sizes = sorted(name for name in values.get("ec2_hour", {}) if name.partition(".")[0] == family)
    known = (name for name in (ec2_type, *sizes) if _ratio(values, reference, name) is not None)
    return next(known, _STANDS_FOR.get(ec2_type[:1], ""))


def _ratio(values: Values, reference: Values, ec2_type: str) -> float | None:
    here, there = (table.get("ec2_hour", {}).get(ec2_type) for table in (values, reference))
    return here / there if here and there else None
