"""The models that benchmarks compare: random features, the recipe of the published reports, and this project's."""

from __future__ import annotations

from typing import Final

from benchmarks.counting.models import Recipe

_PACKAGED: Final = ("--backbone", "efficientnet_lite0", "--weights", "packaged", "--precision", "fp32")
_HEAD: Final = ("--backbone", "efficientnet_lite0")
_SOFTMAX: Final = (*_HEAD, "--head", "softmax", "--answer", "most-probable")
RANDOM: Final = Recipe(
    "random features", ("--backbone", "efficientnet_lite0", "--weights", "none", "--features", "last", "--fit", "crop"),
    _SOFTMAX, "most-probable",
)  # fmt: skip
REPORTS: Final = Recipe(
    "recipe of the reports", (*_PACKAGED, "--features", "last", "--fit", "crop"), _SOFTMAX, "most-probable"
)
FROZEN: Final = Recipe("ours, frozen", _PACKAGED, _HEAD, "median")
FINE_TUNED: Final = Recipe("ours, fine-tuned", (), (*_HEAD, "--weights", "packaged"), "median")
