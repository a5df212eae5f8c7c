"""`make test-aws`: the whole system in the account, or at the endpoint, that the AWS_* variables name."""

from __future__ import annotations

import sys
from pathlib import Path

# The broken model is packed with the serving image's own code, which imports its modules flat.
_INFERENCE_CODE = str(Path(__file__).resolve().parents[2] / "inference_code")
if _INFERENCE_CODE not in sys.path:
    sys.path.insert(0, _INFERENCE_CODE)
