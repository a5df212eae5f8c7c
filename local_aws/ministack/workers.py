"""Quicker cold starts of Lambda functions, with the environment variables and the clock of AWS's.

ministack gives a function every variable of the local AWS's own process, and so of the shell that started it: what its
stack has forgotten would work here. On AWS a function's clock shows UTC.

Uses these internals of version 1.5.33: in `core.lambda_runtime` `_PYTHON_WORKER_SCRIPT`, which ends with `run()`, and
`_ms_install_invoke_depth` in it, which is called when a function's own packages can be imported.
tests/contract/test_hooks.py fails for one that moved when ministack is upgraded.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

RUN: Final = "\nrun()\n"
"""How the script ends."""
PATH_IS_COMPLETE: Final = "_ms_install_invoke_depth"
_KEPT: Final = {"HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "USER", "BINVENTORY_LOCAL_AWS"}
_KEPT_PREFIXES: Final = ("AWS_", "LC_")
_QUICKLY: Final = f"""
def {PATH_IS_COMPLETE}(then={PATH_IS_COMPLETE}):
    time.tzset()  # the function may have set TZ
    then()
    read_descriptions_quickly()
"""


def start_quickly() -> None:
    """Have every Python function's worker do first what is in worker_start.py, without the variables of this process.

    Those of the function come after that.
    """
    from ministack.core import lambda_runtime

    script = lambda_runtime._PYTHON_WORKER_SCRIPT.removesuffix(RUN)
    first = Path(__file__).with_name("worker_start.py").read_text(encoding="utf-8")
    others = sorted(name for name in os.environ if name not in _KEPT and not name.startswith(_KEPT_PREFIXES))
    forget = f"\nfor _name in {others!r}:\n    os.environ.pop(_name, None)\nos.environ['TZ'] = ':UTC'\n"
    lambda_runtime._PYTHON_WORKER_SCRIPT = f"{script}\n{first}{forget}{_QUICKLY}{RUN}"
