"""`make test-aws`: says what the check costs, asks, runs it, and shows what was found; see docs/first-deploy.md.

Exit codes are those of the command line: 0 done, 1 something failed, 3 the account is not ready, 130 declined.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

import typer
from botocore.exceptions import ClientError

from binventory.cli.launching import confirm
from binventory.cli.look import print_problem, stdout, table
from binventory.cli.screen import show
from binventory.core.aws import error_code, error_message
from binventory.core.errors import Exit, Problem
from binventory.core.journal import Journal, duration
from binventory.core.names import Names
from binventory.cost.launch import Launch
from binventory.rehearsal.result import Options
from tests.account.check import AccountCheck
from tests.account.options import PHOTOS
from tests.account.probes import Finding

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def main(arguments: list[str] | None = None) -> int:
    """Runs the check, and returns its exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    parser = argparse.ArgumentParser(prog="make test-aws ARGS=...", description=__doc__)
    parser.add_argument("--yes", action="store_true", help="start without asking; the price is shown all the same")
    parser.add_argument("--dry-run", action="store_true", help="look at the account, show the price, start nothing")
    parser.add_argument("--at-most", type=float, default=2.0, metavar="USD", help="refuse a higher price (default 2)")
    parser.add_argument("--project", default="bincheck", help="first part of every name (default %(default)s)")
    parser.add_argument(
        "--stacks-only", action="store_true", help="no job and no endpoint: deploy, change a setting, destroy"
    )
    parser.add_argument("--clean", action="store_true", help="only remove what an interrupted check has left")
    parser.add_argument(
        "--state-dir", type=Path, default=REPOSITORY / "build" / "test-aws", help="for assembly and logs"
    )
    given = parser.parse_args(arguments)
    options = Options(
        REPOSITORY, given.state_dir.resolve(), photos_count=PHOTOS, names=Names("dev", project=given.project)
    )
    try:
        _run(options, given)
    except Problem as problem:
        print_problem(problem)
        return problem.code
    except ClientError as error:
        print_problem(
            Problem(
                f"AWS refused {error.operation_name}",
                f"{error_code(error)}: {error_message(error)}",
                "see docs/first-deploy.md; what was made is removed: make test-aws ARGS=--clean",
            )
        )
        return Exit.FAILED
    except typer.Exit as declined:
        return declined.exit_code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return Exit.OK


def _run(options: Options, given: argparse.Namespace) -> None:
    journal = Journal()
    check = AccountCheck(options, journal, stacks_only=given.stacks_only)
    if given.clean:
        with show(journal, stdout):
            check.clean()
        return
    with show(journal, stdout):
        launch = check.prepare()
    _refuse_dear(launch, given.at_most)
    confirm(launch, yes=given.yes, dry_run=given.dry_run)
    journal = check.journal = Journal()
    try:
        with show(journal, stdout):
            check.run()
    finally:
        _print(check.findings)
    stdout.print(f"Checked in {duration(journal.now())}.")


def _refuse_dear(launch: Launch, limit: float) -> None:
    if launch.worst is None or launch.worst > limit:
        worst = "unknown" if launch.worst is None else f"${launch.worst:.2f}"
        raise Problem(
            f"The check may cost more than ${limit:.2f}",
            f"at worst it is {worst}",
            "choose cheaper machines with BINVENTORY_ variables, or allow it: make test-aws ARGS='--at-most 5'",
            code=Exit.USAGE,
        )


def _print(findings: list[Finding]) -> None:
    if not findings:
        return
    shown = table("", "question", "answer")
    for finding in findings:
        shown.add_row("good" if finding.good else "BAD", finding.question, finding.answer)
    stdout.print()
    stdout.print(shown)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
