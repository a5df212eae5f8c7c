"""Quick copies of ministack's states: they are taken on the event loop, where every request waits for them.

Uses these internals of version 1.5.33: `core.responses.AccountScopedDict` and `AccountRegionScopedDict`, which hold all
that they know in `_data`. tests/contract/test_hooks.py fails for one that moved when ministack is upgraded.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any


def copy_quickly() -> None:
    """Have `copy.deepcopy` pass a state through pickle, which takes a fraction of the time."""
    from ministack.core import responses

    for kind in (responses.AccountScopedDict, responses.AccountRegionScopedDict):
        kind.__deepcopy__ = copied


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
