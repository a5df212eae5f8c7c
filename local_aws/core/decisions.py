"""Which requests the policies of which role let through: what a role's rights are used for, written down."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "decisions.jsonl"
# S3 lists by a prefix that has an execution in it and a page's token; only what policies name matters.
_IRRELEVANT = frozenset({"s3:continuation-token", "s3:max-keys", "s3:delimiter"})


@dataclass(frozen=True)
class Decision:
    """One request that a role's own policies allowed."""

    role: str
    """Name of the role, without its path."""
    action: str
    resource: str
    keys: Mapping[str, str]
    """The request's condition keys, in lower case."""


class DecisionLog:
    """Appends each different decision once to a file of JSON lines. Safe between threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def write(self, principal_arn: str, action: str, resource: str, keys: Mapping[str, str]) -> None:
        """Adds a decision about `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`."""
        role = principal_arn.split("/")[-2]
        named = {key: value for key, value in sorted(keys.items()) if key not in _IRRELEVANT}
        line = json.dumps(asdict(Decision(role, action, resource, named)), sort_keys=True)
        with self._lock:
            if line not in self._seen:
                self._seen.add(line)
                with self._path.open("a") as file:
                    file.write(f"{line}\n")


def read(path: Path) -> Iterator[Decision]:
    """The decisions of a file, in the order in which they were made."""
    with path.open() as file:
        for line in file:
            yield Decision(**json.loads(line))
