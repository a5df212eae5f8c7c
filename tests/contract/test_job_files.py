"""The paths of objects in a job's folders, and how its output is packed; without a job."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws.core.objects import relative_path
from local_aws.jobs.artifacts import files_of, pack

NAME = st.text("ab-.1", min_size=1, max_size=4).filter(lambda name: name.strip("."))
PATH = st.lists(NAME, min_size=1, max_size=3).map("/".join)


@given(PATH, PATH)
def test_a_folder_and_its_name_give_the_same_layout(folder: str, path: str) -> None:
    key = f"{folder}/{path}"
    assert relative_path(f"{folder}/", key) == relative_path(folder, key) == path
    assert relative_path(key, key) == key.rsplit("/", 1)[-1]
    assert relative_path("", key) == key


@pytest.mark.parametrize(
    ("prefix", "key", "path"),
    [
        ("data/train", "data/train-2/1.jpg", "train-2/1.jpg"),
        ("data/tr", "data/train/1.jpg", "train/1.jpg"),
        ("checkpoints/job-1", "checkpoints/job-10/last", "job-10/last"),
        ("model.tar.gz", "model.tar.gz", "model.tar.gz"),
    ],
)
def test_prefixes_are_plain_text(prefix: str, key: str, path: str) -> None:
    assert relative_path(prefix, key) == path


def test_archives_of_equal_files_are_equal_bytes(tmp_path: Path) -> None:
    archives = []
    for number, names in enumerate((["b", "a/c"], ["a/c", "b"])):
        folder = tmp_path / str(number)
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
        archive = tmp_path / f"{number}.tar.gz"
        pack(files_of([folder]), archive)
        archives.append(archive.read_bytes())
    assert archives[0] == archives[1]
    with tarfile.open(tmp_path / "0.tar.gz") as tar:
        assert tar.getnames() == ["a/c", "b"]


def test_where_two_machines_wrote_the_same_file_the_first_ones_counts(tmp_path: Path) -> None:
    for machine in ("algo-1", "algo-2"):
        (tmp_path / machine).mkdir()
        (tmp_path / machine / "model").write_text(machine)
        (tmp_path / machine / machine).write_text("own")
    found = files_of([tmp_path / "algo-1", tmp_path / "algo-2"])
    assert found["model"].read_text() == "algo-1"
    assert sorted(found) == ["algo-1", "algo-2", "model"]
