"""The JSON in which ministack saves the state of a service, made again only of the entries that have changed.

An entry that is pickled to the same bytes is the same, and so is its JSON.

Uses this internal of version 1.5.33: `core.persistence._json_default`, which makes an object of a store, whose last
member is the object of its entries. tests/contract/test_hooks.py fails if it moved when ministack is upgraded.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from local_aws.ministack.copies import Pickled


@dataclass(frozen=True)
class _Store:
    kind: Any
    pickles: Mapping[Any, bytes]
    members: Mapping[Any, str]
    """The JSON of each entry, as a member of the object of its store."""

    @property
    def json(self) -> str:
        head, tail = _around_entries(self.kind)
        return f"{head}{', '.join(self.members.values())}{tail}"


@dataclass(frozen=True)
class _Other:
    json: str


@dataclass(frozen=True)
class Document:
    """The state of a service, encoded in parts."""

    version: int
    """Of the format of its service's states."""
    parts: Mapping[str, _Store | _Other]
    """By name; one part under "" where a state is no object of parts."""

    def text(self) -> bytes:
        """What its service's file holds."""
        whole = self.parts.get("")
        members = (f"{json.dumps(name)}: {part.json}" for name, part in self.parts.items())
        payload = f"{{{', '.join(members)}}}" if whole is None else whole.json
        return f'{{"__ministack_format__": {self.version}, "payload": {payload}}}'.encode()


class StateJson:
    """Encodes states, and remembers what it has encoded; for one thread at a time."""

    def __init__(self) -> None:
        self._last: dict[str, Document] = {}

    def document(self, service: str, version: int, state: Any) -> Document:
        """A service's state in this version of its format; the object of the last call where nothing has changed."""
        in_parts = isinstance(state, dict) and all(isinstance(name, str) and name for name in state)
        last = self._last.get(service)
        before = last.parts if last else {}
        parts = {name: _part(one, before.get(name)) for name, one in (state if in_parts else {"": state}).items()}
        same = list(parts) == list(before) and all(part is before[name] for name, part in parts.items())
        if last is None or last.version != version or not same:
            last = self._last[service] = Document(version, parts)
        return last


def _part(value: Any, before: _Store | _Other | None) -> _Store | _Other:
    """A part of a state; `before` itself where nothing has changed."""
    if not isinstance(value, Pickled) or value.pickles is None:
        other = _Other(_dumps(value))
        return before if isinstance(before, _Other) and before == other else other
    kind, pickles = value.kind, value.pickles
    if not isinstance(before, _Store) or before.kind is not kind:
        before = _Store(kind, {}, {})
    elif list(pickles.items()) == list(before.pickles.items()):
        return before
    known, texts = before.pickles, before.members
    same = {key for key, pickled in pickles.items() if known.get(key) == pickled}
    members = {key: texts[key] if key in same else _member(kind, key, pickled) for key, pickled in pickles.items()}
    return _Store(kind, pickles, members)


@cache
def _around_entries(kind: Any) -> tuple[str, str]:
    """What the JSON of a store of this kind has before and after its entries."""
    before, empty, after = _dumps(kind()).rpartition("{}")
    if not empty:
        raise RuntimeError(f"ministack no longer saves {kind.__name__} as an object of its entries")
    return f"{before}{{", f"}}{after}"


def _member(kind: Any, key: Any, pickled: bytes) -> str:
    """A pickled entry as a member of the object of its store."""
    head, tail = _around_entries(kind)
    store = kind()
    store._data[key] = pickle.loads(pickled)
    return _dumps(store)[len(head) : -len(tail)]


def _dumps(value: Any) -> str:
    from ministack.core import persistence

    return json.dumps(value, default=persistence._json_default)
