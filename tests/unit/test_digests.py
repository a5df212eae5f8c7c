"""A sealed document is read as it was sealed, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digests import DamagedFile, read_sealed, seal, sha256_of, unseal

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.text(min_size=1).filter(lambda key: key != "sha256"), VALUES, max_size=4)


@given(DOCUMENTS)
def test_what_is_sealed_is_read_and_equal_documents_are_equal_bytes(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]
) -> None:
    path = tmp_path_factory.mktemp("sealed") / "a.json"
    path.write_bytes(seal(document))
    assert read_sealed(path) == document
    assert seal(dict(reversed(document.items()))) == path.read_bytes()
    assert seal(json.loads(path.read_bytes())) == path.read_bytes()


@given(DOCUMENTS, st.integers(0, 2**20), st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, object], place: int, bit: int
) -> None:
    path = tmp_path_factory.mktemp("sealed") / "a.json"
    content = bytearray(seal(document))
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        assert read_sealed(path) == document
    except DamagedFile as error:
        assert "a.json" in str(error)


def test_numbers_as_keys_are_the_text_that_json_makes_of_them() -> None:
    assert unseal(json.loads(seal({"counts": {10: 1, 9: 2}})), "x") == {"counts": {"10": 1, "9": 2}}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"a": 1}', "[" * 100_000, "\xff"])
def test_what_was_never_sealed_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content, encoding="latin-1")
    with pytest.raises(DamagedFile, match=r"a\.json"):
        read_sealed(tmp_path / "a.json")


def test_the_digest_of_a_file_is_that_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
