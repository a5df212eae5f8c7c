"""The command line `binventory`: one file a command group, thin on top of functions that can be imported."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import typer
from botocore.exceptions import BotoCoreError, ClientError

from binventory.cli import (
    audit,
    cost,
    count,
    doctor,
    endpoint,
    leftovers,
    rehearse,
    render,
    review,
    spent,
    stop,
    train,
    watch,
)
from binventory.cli.help_look import tidy_help
from binventory.cli.look import print_problem, stderr
from binventory.core.aws import error_code, error_message
from binventory.core.errors import Exit, Problem

app = typer.Typer(
    name="binventory",
    help="Counts the items in a warehouse bin from its photo: train, serve and rehearse.",
    epilog="""
Examples:

  binventory rehearse                  all of it, in a local AWS

  binventory cost                      what an environment would cost

  binventory audit s3://bucket/bins/   bins that disagree, worst first

Exit codes: 0 done, 1 the work failed, 2 wrong usage, 3 something not ready, 130 interrupted or declined.
""",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
tidy_help()
for group in (rehearse, render, doctor, review, train, watch, stop, endpoint, count, audit, cost, spent, leftovers):
    group.register(app)


def main() -> None:
    """Entry point: runs a command and turns every expected failure into three lines and an exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run())


def run(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    try:
        result = app(args=arguments, standalone_mode=False)
        return int(result) if isinstance(result, int) else Exit.OK
    except Problem as problem:
        print_problem(problem)
        return problem.code
    except ClientError as error:
        print_problem(_from_aws(error))
        return Exit.FAILED
    except BotoCoreError as error:
        print_problem(Problem("AWS was not reached", str(error), "check region, credentials and network"))
        return Exit.NOT_READY
    except typer.Exit as exit_:
        return exit_.exit_code
    except (KeyboardInterrupt, typer.Abort):
        stderr.print("Interrupted; nothing of this command is left running.")
        return Exit.INTERRUPTED
    except Exception as error:
        # Wrong flags and values. Typer vendors click, so its exceptions are recognised by their methods.
        if not (hasattr(error, "show") and hasattr(error, "exit_code")):
            raise
        error.show()
        return Exit.USAGE


def _from_aws(error: ClientError) -> Problem:
    return Problem(
        f"AWS refused {error.operation_name}",
        f"{error_code(error)}: {error_message(error)}",
        "check that these credentials may do this, and that the stacks are deployed",
    )


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
