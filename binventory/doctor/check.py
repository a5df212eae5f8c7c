"""One check of the doctor, and how a check that asks AWS ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from botocore.exceptions import ClientError

from binventory.core.aws import DENIED, error_code, error_message
from binventory.core.errors import Problem
from binventory.core.unreached import unreached

_COMMAND = "binventory doctor"
State = Literal["good", "missing", "unknown"]


@dataclass(frozen=True)
class Check:
    """One check and its result."""

    name: str
    state: State
    found: str
    cure: str = ""


def asked(name: str, ask: Callable[[], Check]) -> Check:
    """A check that calls AWS; its state is unknown where the caller may not ask."""
    try:
        return ask()
    except ClientError as error:
        denied = error_code(error) in DENIED
        cure = f"ask for the permission to do this, or somebody who has it to run: {_COMMAND}" if denied else ""
        return Check(name, "unknown", error_message(error), cure)
    except Problem as problem:
        return Check(name, "unknown", problem.what, problem.cure)
    except Exception as error:
        found = unreached(error, os.environ)
        if found is None:
            raise
        return Check(name, "missing", found.why, found.cure)
