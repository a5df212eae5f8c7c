"""Quick copies of ministack's stores: they are taken on the event loop, where every request waits for them.

Uses these internals of version 1.5.33: `core.responses.AccountScopedDict` and `AccountRegionScopedDict`, which hold all
that they know in `_data`. tests/contract/test_hooks.py fails for one that moved when ministack is upgraded.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_saving: ContextVar[bool] = ContextVar("_saving", default=False)


class Pickled:
    """A copy of a store, whose entries stay pickled until somebody reads them through `_data`."""

    kind: Any
    """The class of the store."""
    pickles: dict[Any, bytes] | None
    """Each entry by its key in `_data`; None where entries were read, and may have been changed since."""

    @property
    def _data(self) -> dict[Any, Any]:
        if self.pickles is not None:
            self._read, self.pickles = {key: pickle.loads(entry) for key, entry in self.pickles.items()}, None
        return self._read


def copy_quickly() -> None:
    """Have `copy.deepcopy` pass a store through pickle, which takes a fraction of the time."""
    from ministack.core import responses

    for kind in (responses.AccountScopedDict, responses.AccountRegionScopedDict):
        kind.__deepcopy__ = _copies_of(kind)


@contextmanager
def copies_to_save() -> Iterator[None]:
    """Inside, the copies of stores are `Pickled`: most entries are as they were when they were saved last."""
    before = _saving.set(True)
    try:
        yield
    finally:
        _saving.reset(before)


def copied(state: Any, memo: dict[int, Any]) -> Any:
    """A copy that shares nothing with `state`.

    Raises:
        RuntimeError: it grew meanwhile, as from `copy.deepcopy`.
    """
    try:
        return pickle.loads(pickle.dumps(state, pickle.HIGHEST_PROTOCOL))
    except (pickle.PicklingError, AttributeError, TypeError):  # it holds a function or the like, which stays the same
        other = type(state)()
        other._data = copy.deepcopy(state._data, memo)
        return other


def _copies_of(kind: Any) -> Callable[[Any, dict[int, Any]], Any]:
    pickled: Any = type(f"Pickled{kind.__name__}", (Pickled, kind), {"kind": kind})

    def copied_for_its_use(state: Any, memo: dict[int, Any]) -> Any:
        if not _saving.get():
            return copied(state, memo)
        made = pickled.__new__(pickled)
        try:
            # One call for all entries, so that no other thread comes between two of them.
            made.pickles = dict(zip(state._data, map(pickle.dumps, state._data.values()), strict=True))
        except (pickle.PicklingError, AttributeError, TypeError):
            return copied(state, memo)
        return made

    return copied_for_its_use
