"""How many threads decode photos."""

from __future__ import annotations

from typing import Final

from fitting.ranks import number_of
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
    own = usable_cpus() // max(1, number_of("LOCAL_WORLD_SIZE", default=1))
    return min(max(own, _LEAST), _MOST)
