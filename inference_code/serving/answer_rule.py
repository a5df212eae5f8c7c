"""Which count is answered, given the probabilities of all counts: one rule for training, evaluation and endpoint.

The rule travels with the model, in model.json and serving.json.

most-probable: the count with the largest probability, which is right most often.
median: the count that the true one is as likely to exceed as to fall short of, which is off by the fewest items.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST_PROBABLE: Final = "most-probable"
MEDIAN: Final = "median"
ANSWERS: Final = (MEDIAN, MOST_PROBABLE)


def answered(probabilities: NDArray[np.float64], rule: str) -> NDArray[np.int64]:
    """[...] class index of the answer, for probabilities [..., k] of ascending counts; the smaller one of equals.

    `rule` is one of ANSWERS.
    """
    if rule == MOST_PROBABLE:
        return np.asarray(probabilities.argmax(axis=-1), dtype=np.int64)
    below = probabilities[..., :-1].cumsum(axis=-1) < 0.5
    return np.asarray(below.sum(axis=-1), dtype=np.int64)
