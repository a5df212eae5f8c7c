"""The folders of jobs, by paths that a shell command of a job may name."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws.core import plain_path as module
from local_aws.core.plain_path import plain_path, remove_plain_path


@pytest.fixture(autouse=True)
def links(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the links."""
    folder = tmp_path_factory.mktemp("links")
    monkeypatch.setattr(module, "_LINKS", folder)
    return folder


@given(name=st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_a_shell_takes_it_for_one_word_and_it_leads_to_the_folder(name: str) -> None:
    folder = Path("/somewhere") / name
    plain = plain_path(folder)
    assert shlex.split(str(plain)) == [str(plain)]
    assert plain == folder or os.readlink(plain) == str(folder)
    remove_plain_path(folder)
    assert not plain.is_symlink()


def test_a_folder_keeps_its_link(tmp_path: Path) -> None:
    folder, other = tmp_path / "it's here", tmp_path / "it's there"
    plain = plain_path(folder)
    assert plain_path(folder) == plain != plain_path(other)
    remove_plain_path(folder)
    remove_plain_path(folder)  # again: there is nothing to remove
    assert plain_path(folder) == plain


def test_a_plain_folder_has_no_link(tmp_path: Path, links: Path) -> None:
    assert plain_path(tmp_path / "bins") == tmp_path / "bins"
    remove_plain_path(tmp_path / "bins")
    assert os.listdir(links) == []


def test_what_somebody_else_has_put_there_is_not_followed(tmp_path: Path) -> None:
    """`/tmp` is everybody's: jobs would write where another user wants it."""
    folder = tmp_path / "it's here"
    plain = plain_path(folder)
    plain.unlink()
    plain.symlink_to(tmp_path)
    with pytest.raises(FileExistsError, match=f"{plain} is in the way .* remove it"):
        plain_path(folder)
    remove_plain_path(folder)
    assert plain.is_symlink(), "it is not removed either"
