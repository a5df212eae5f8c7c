"""The rights of root, which the server gives up once it has read the model.

SageMaker expects containers to run as root: to another user it may give files that this one cannot read
(https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html). Photos of strangers need no root.
"""

from __future__ import annotations

import os
from typing import Final

NOBODY: Final = 65534
"""User and group of no file."""
_FIRST: Final = 1


def give_up_root() -> str:
    """Become the user nobody, for good and in all threads; returns why this process stays what it is, or "".

    Only the first process of a container does so. Any other may have been started by hand, on a computer where that
    user cannot read the program.
    """
    if os.geteuid() != 0:
        return f"user {os.geteuid()} is not root"
    if os.getpid() != _FIRST:
        return "this is not the first process of a container"
    try:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    except OSError as error:
        return f"the container does not let root become another user: {error.strerror}"
    return ""
