"""What a machine is asked to do: written by `binventory train --on ec2`, read by the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from jobs.container import JobError
from stacks.vocabulary import SPLITS

STEPS: Final = ("embed", "train", "evaluate")


@dataclass(frozen=True)
class Plan:
    """The steps' flags and the S3 addresses that they read and write."""

    run: str
    shards: Mapping[str, str]  # split to prefix
    checkpoints: str  # prefix; whatever lies under it is gone on from
    models: str  # prefix for the trained model, the serving archive and the evaluation
    flags: Mapping[str, Mapping[str, str]]  # step to flag to value

    @classmethod
    def of(cls, document: Any) -> Plan:
        """The plan that a document holds. Raises JobError naming what is missing in it."""
        try:
            plan = cls(
                run=str(document["run"]),
                shards={split: _address(document["shards"][split]) for split in SPLITS},
                checkpoints=_address(document["checkpoints"]),
                models=_address(document["models"]),
                flags={step: {name: str(value) for name, value in document["flags"][step].items()} for step in STEPS},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise JobError(f"the run's plan cannot be used: {error!r} is missing or wrong in it") from error
        return plan

    def arguments(self, step: str) -> list[str]:
        """A step's command line flags."""
        return [part for name, value in sorted(self.flags[step].items()) for part in (f"--{name}", value)]


def _address(value: Any) -> str:
    """An s3:// prefix with exactly one slash at its end."""
    text = str(value)
    if not text.startswith("s3://"):
        raise JobError(f"the run's plan cannot be used: {text!r} is no address like s3://bucket/prefix/")
    return text.rstrip("/") + "/"
