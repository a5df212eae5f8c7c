"""Model archives that a job opens: hostile ones write nothing outside, links and devices are refused."""

from __future__ import annotations

import contextlib
import io
import tarfile
from pathlib import Path

import pytest

from jobs.archive import open_archive
from jobs.container import JobError


@pytest.mark.parametrize("name", ["../escape", "/absolute"])
def test_a_hostile_archive_writes_nothing_outside(name: str, tmp_path: Path) -> None:
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    folder = tmp_path / "in" / "side"
    # Refused, or unpacked inside: both are safe.
    with contextlib.suppress(JobError):
        open_archive(archive, folder)
    assert not list(tmp_path.glob("escape")) and not (tmp_path / "in" / "escape").exists()
    assert not Path("/absolute").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_an_archive_with_links_or_devices_is_refused(kind: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("model.json")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(JobError, match="is no plain file"):
        open_archive(archive, tmp_path / "out")
