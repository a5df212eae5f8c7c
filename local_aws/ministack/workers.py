"""Quicker cold starts of Lambda functions.

Uses these internals of version 1.5.33: in `core.lambda_runtime` `_PYTHON_WORKER_SCRIPT`, which ends with `run()`, and
`_ms_install_invoke_depth` in it, which is called when a function's own packages can be imported.
tests/contract/test_hooks.py fails for one that moved when ministack is upgraded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

RUN: Final = "\nrun()\n"
"""How the script ends."""
PATH_IS_COMPLETE: Final = "_ms_install_invoke_depth"
_QUICKLY: Final = f"""
def {PATH_IS_COMPLETE}(then={PATH_IS_COMPLETE}):
    then()
    read_descriptions_quickly()
"""


def start_quickly() -> None:
    """Have every Python function's worker do first what is in worker_start.py."""
    from ministack.core import lambda_runtime

    script = lambda_runtime._PYTHON_WORKER_SCRIPT.removesuffix(RUN)
    first = Path(__file__).with_name("worker_start.py").read_text(encoding="utf-8")
    lambda_runtime._PYTHON_WORKER_SCRIPT = f"{script}\n{first}{_QUICKLY}{RUN}"
