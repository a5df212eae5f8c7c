"""Parts of benchmarks/accuracy.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
RUNTIME: Final = (REPOSITORY / "training_code", REPOSITORY / "inference_code")
# The run-time folders import their modules flat, as they do inside their containers.
sys.path[:0] = [str(folder) for folder in RUNTIME if str(folder) not in sys.path]
