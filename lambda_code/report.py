"""What a function decided, as it is logged and returned."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Report:
    """One decision."""

    outcome: str
    """A word or two that programs compare, such as `left` or `started`."""
    reason: str

    def logged(self) -> dict[str, str]:
        """Prints the report as one line and returns it as the function's result."""
        record = asdict(self)
        print(json.dumps(record))
        return record
