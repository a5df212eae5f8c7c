"""The command line `binventory`: one file a command group, thin on top of functions that can be imported."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
import traceback
from types import FrameType
from typing import Annotated

import typer

from binventory.cli import failures, volume
from binventory.cli.commands import Interrupted, LazyGroup
from binventory.cli.help_look import tidy_help
from binventory.cli.look import print_problem, stderr
from binventory.cli.typed_values import refuse_unusable
from binventory.cli.volume import QuietFlag, VerboseFlag
from binventory.core.errors import Exit

app = typer.Typer(
    name="binventory",
    cls=LazyGroup,
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
refuse_unusable()


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"binventory {version('binventory')}")
        raise typer.Exit


@app.callback()
def every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
) -> None:
    """Flags of all commands; quiet and verbose may also stand after the command."""


def main() -> None:
    """Entry point: runs a command and turns every failure into three lines and an exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    # A terminal that is closed ends its commands; `nohup` has asked for the contrary.
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _hang_up)
    _prepare_streams()
    code = run()
    # What is still buffered may find its pipe closed or its disk full; Python would print that without a cause.
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        problem = failures.problem_of(OSError(error.errno, error.strerror, "standard output"))
        print_problem(problem)
        code = problem.code
    sys.exit(code)


def _prepare_streams() -> None:
    """Makes results printable everywhere: a stream may be closed (`>&-`), and its encoding may lack a character.

    What cannot be encoded is written as `\\xe9`; JSON is ASCII in any case. A file name of another encoding than
    the terminal's would otherwise end the command after its work, with nothing printed.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def run(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    volume.reset()
    try:
        result = app(args=arguments, standalone_mode=False)
        return int(result) if isinstance(result, int) else Exit.OK
    except typer.Exit as exit_:
        return exit_.exit_code
    except (Interrupted, KeyboardInterrupt, typer.Abort):
        stderr.print("Interrupted; nothing of this command is left running.")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return Exit.FAILED  # `binventory cost | head`: the reader has seen enough
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]  # the help, in typer's look
            return Exit.USAGE
        if volume.volume.verbose:
            traceback.print_exc()
        problem = failures.problem_of(error)
        print_problem(problem)
        return problem.code
    finally:
        volume.reset()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _hang_up(number: int, frame: FrameType | None) -> None:
    """As Ctrl-C, but without a terminal: what is printed to it would fail, and a job may still have to be stopped."""
    for stream in (1, 2):
        with contextlib.suppress(OSError):  # it was closed before
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    raise KeyboardInterrupt
