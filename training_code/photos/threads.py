"""How many threads decode photos."""

from __future__ import annotations

import os
from typing import Final

from serving.cores import usable_cpus

_LEAST: Final = 2
_MOST: Final = 16
"""More wait for each other: one thread puts what they have decoded into batches."""


def decoding_threads(asked: int = 0) -> int:
    """Threads that decode photos: `asked`, or (0) one a processor that this process may use, from 2 to 16.

    The processes of a job on one machine share its processors. The batches are the same with any number of threads.
    """
    if asked:
        return asked
    own = usable_cpus() // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return min(max(own, _LEAST), _MOST)
