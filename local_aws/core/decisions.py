"""A log of the requests that each role's policies allowed: it shows which rights a role uses."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "decisions.jsonl"
# These keys differ in each execution, and no policy names them.
_IRRELEVANT = frozenset({"s3:continuation-token", "s3:max-keys", "s3:delimiter"})


@dataclass(frozen=True)
class Decision:
    """One request that a role's policies allowed."""

    role: str
    """Name of the role, without its path."""
    action: str
    resource: str
    keys: Mapping[str, str | list[str]]
    """The request's condition keys, in lower case."""


class DecisionLog:
    """Appends each different decision once to a file of JSON lines. Safe to share between threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def write(self, principal_arn: str, action: str, resource: str, keys: Mapping[str, str | list[str]]) -> None:
        """Add a decision about `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`."""
        role = principal_arn.split("/")[-2]
        named = {key: value for key, value in sorted(keys.items()) if key not in _IRRELEVANT}
        line = json.dumps(asdict(Decision(role, action, resource, named)), sort_keys=True)
        with self._lock:
            if line not in self._seen:
                self._seen.add(line)
                with self._path.open("a") as file:
                    file.write(f"{line}\n")


def read(path: Path) -> Iterator[Decision]:
    """The decisions in a file, oldest first."""
    with path.open() as file:
        for line in file:
            yield Decision(**json.loads(line))
