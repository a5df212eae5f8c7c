"""How much a command says: --quiet takes away progress and hints, --verbose adds AWS calls and tracebacks."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from typing import Annotated

import typer

_LOGGER = "binventory"


@dataclass
class Volume:
    """The choice of this run. Results and errors are printed in any case."""

    quiet: bool = False
    verbose: bool = False


volume = Volume()


def reset() -> None:
    """As before the flags were read: programs and tests run several command lines in one process."""
    volume.quiet = volume.verbose = False
    logging.getLogger(_LOGGER).handlers.clear()
    logging.getLogger(_LOGGER).setLevel(logging.NOTSET)


def _quietly(chosen: bool) -> bool:
    volume.quiet = volume.quiet or chosen
    return chosen


def _verbosely(chosen: bool) -> bool:
    if chosen and not volume.verbose:
        volume.verbose = True
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logging.getLogger(_LOGGER).addHandler(handler)
        logging.getLogger(_LOGGER).setLevel(logging.DEBUG)
    return chosen


QuietFlag = Annotated[
    bool,
    typer.Option("--quiet", "-q", callback=_quietly, help="Only results and errors: no progress, no hints."),
]
VerboseFlag = Annotated[
    bool,
    typer.Option("--verbose", "-v", callback=_verbosely, help="Also each call of AWS, and tracebacks of errors."),
]
