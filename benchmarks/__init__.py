"""Benchmarks: one runnable file for each claim. Both sides of a comparison run side by side, and ratios are printed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
RUNTIME: Final = (REPOSITORY / "training_code", REPOSITORY / "inference_code", REPOSITORY)
"""PYTHONPATH of the scripts of training_code."""
# The run-time folders import their modules flat, as they do inside their containers.
sys.path[:0] = [str(folder) for folder in (*RUNTIME, REPOSITORY / "lambda_code") if str(folder) not in sys.path]


def some_of(every: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """An argument's type: names of parts, separated by commas; others are refused."""

    def parts(text: str) -> tuple[str, ...]:
        wanted = tuple(text.split(","))
        if unknown := set(wanted) - set(every):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} is none of {', '.join(every)}")
        return wanted

    return parts
