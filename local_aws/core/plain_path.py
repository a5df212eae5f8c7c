"""A path without spaces and quotes, for folders that the shell commands of jobs name.

Where a job cannot have its own `/opt/ml`, the path of the folder that stands in for it takes the place of
`/opt/ml` in the job's command. In `bash -c "cd /opt/ml/processing/code"` a shell would split it at a space.
"""

from __future__ import annotations

import os
import re
from hashlib import blake2b
from pathlib import Path

_PLAIN = re.compile(r"[A-Za-z0-9_/.,:@%+-]+")
_LINKS = Path("/tmp")


def plain_path(folder: Path) -> Path:
    """The absolute path `folder`, or that of a link to it where a shell would read `folder` as several words.

    A folder always has the same link, so that a restart finds the files that jobs have named. Raises `FileExistsError`
    if something else is there.
    """
    link = _link(folder)
    if link is None:
        return folder
    try:
        link.symlink_to(folder)
    except FileExistsError:
        if not _is_ours(link, folder):
            raise FileExistsError(f"{link} is in the way of the files of jobs: remove it, and start again") from None
    return link


def remove_plain_path(folder: Path) -> None:
    """Remove the folder's link, if it has one."""
    link = _link(folder)
    if link is not None and _is_ours(link, folder):
        link.unlink()


def _link(folder: Path) -> Path | None:
    """Where the folder's link is; None for a folder that needs none."""
    if _PLAIN.fullmatch(str(folder)):
        return None
    digest = blake2b(os.fsencode(folder), digest_size=8).hexdigest()
    return _LINKS / f"local-aws-{os.getuid()}-{digest}"


def _is_ours(link: Path, folder: Path) -> bool:
    """Whether this user has made the link; `/tmp` is everybody's."""
    return link.is_symlink() and link.lstat().st_uid == os.getuid() and os.readlink(link) == str(folder)
