"""The files of ministack's states: encoded entry by entry, they are what ministack itself would write."""

from __future__ import annotations

import copy
import errno
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws.ministack.copies import copies_to_save, copy_quickly
from local_aws.ministack.saving import Saver
from local_aws.ministack.state_json import StateJson

KINDS = ("AccountScopedDict", "AccountRegionScopedDict")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=3), some, max_size=3),
    max_leaves=5,
)
KEYS = st.text(max_size=3) | st.tuples(st.text(max_size=2), st.integers())
STATES = st.dictionaries(st.text(max_size=3), st.dictionaries(KEYS, VALUES, max_size=4), max_size=3)


@pytest.fixture(scope="module", autouse=True)
def quick_copies() -> Iterator[None]:
    """As in the process of a local AWS."""
    from ministack.core import responses

    with pytest.MonkeyPatch.context() as patch:
        for kind in KINDS:
            patch.setattr(getattr(responses, kind), "__deepcopy__", None, raising=False)
        copy_quickly()
        yield


def as_ministack_writes(state: Any) -> bytes:
    from ministack.core import persistence

    document = {"__ministack_format__": 3, "payload": state}
    return json.dumps(document, default=persistence._json_default).encode()


def filled(kind: str, entries: dict[Any, Any]) -> Any:
    from ministack.core import responses

    store = getattr(responses, kind)()
    for key, value in entries.items():
        store[key] = value
    return store


def taken(state: Any) -> Any:
    """The state as a service's `get_state` copies it for a save."""
    with copies_to_save():
        return copy.deepcopy(state)


@given(states=st.lists(STATES, min_size=1, max_size=5), kind=st.sampled_from(KINDS))
def test_a_file_has_the_bytes_that_ministack_would_write(states: list[Any], kind: str) -> None:
    """Whatever was encoded before: entries come, change, go, and come back elsewhere."""
    encoder = StateJson()
    for entries in states + states[::-1]:
        state: dict[str, Any] = {name: filled(kind, one) for name, one in entries.items()} | {"counter": len(entries)}
        assert encoder.document("service", 3, taken(state)).text() == as_ministack_writes(state)


@pytest.mark.parametrize("state", [{}, [], None, {"": {}}, {1: "one"}, {"one": 1, "": 2}], ids=repr)
def test_a_state_that_is_no_object_of_stores_is_encoded_as_a_whole(state: Any) -> None:
    assert StateJson().document("service", 3, state).text() == as_ministack_writes(state)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_that_has_not_changed_is_known_by_it(kind: str) -> None:
    encoder = StateJson()
    state = {"entries": filled(kind, {"one": [1], "two": [2]}), "plain": [1], "none": filled(kind, {})}
    first = encoder.document("service", 3, taken(state))
    assert encoder.document("service", 3, taken(state)) is first
    assert encoder.document("other", 3, taken(state)) is not first
    changes: tuple[Callable[[], Any], ...] = (
        lambda: state["entries"]["one"].append(2),
        lambda: state["entries"].update({"three": 3}),
        lambda: state["entries"].update({"one": state["entries"].pop("one")}),  # the order is a change
        lambda: state["plain"].append(2),
        lambda: state.pop("none"),
    )
    for change in changes:
        change()
        document = encoder.document("service", 3, taken(state))
        assert document is not first
        assert document.text() == as_ministack_writes(state)
        first = document
    assert encoder.document("service", 4, taken(state)) is not first


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_service_changes_in_its_copy_is_what_is_saved(kind: str) -> None:
    """Some leave out of the copy what a restart must not find, such as the id of a container."""
    live = filled(kind, {"one": {"kept": 1, "_container_id": 2}})
    state = taken({"instances": live})
    for instance in state["instances"].values():
        del instance["_container_id"]
    expected = {"instances": filled(kind, {"one": {"kept": 1}})}
    assert StateJson().document("service", 3, state).text() == as_ministack_writes(expected)
    assert live["one"] == {"kept": 1, "_container_id": 2}


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_with_something_that_cannot_be_pickled_is_copied_all_the_same(kind: str) -> None:
    live = filled(kind, {"one": {"kept": [1]}, "two": lambda: None})
    state = taken({"instances": live})
    live["one"]["kept"].append(2)
    assert state["instances"]["one"] == {"kept": [1]}
    assert state["instances"]["two"] is live["two"]


def test_a_change_that_a_full_disk_refused_is_written_by_the_next_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when nothing has changed since."""
    from ministack.core import persistence

    monkeypatch.setattr(persistence, "STATE_DIR", str(tmp_path))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    saver = Saver()
    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space"):
            saver.save("items", lambda: {"number": 1})
    assert not (tmp_path / "items.json").exists()
    saver.save("items", lambda: {"number": 1})
    assert json.loads((tmp_path / "items.json").read_text())["payload"] == {"number": 1}
