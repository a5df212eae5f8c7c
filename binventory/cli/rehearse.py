"""`binventory rehearse`: the whole system in a local AWS."""

from __future__ import annotations

import contextlib
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from binventory.cli.idle_flags import refuse_idle
from binventory.cli.look import JsonFlag, duration, flag_instead, print_json, stderr, stdout
from binventory.cli.screen import show
from binventory.cli.settings import settings_of
from binventory.core.errors import Exit, Problem
from binventory.core.interruption import GoesOn, interruptible
from binventory.core.journal import Journal
from binventory.core.names import Names
from binventory.core.outputs import check_file
from binventory.core.tools import REPOSITORY
from binventory.rehearsal.defaults import DEFAULT_BACKBONE, DEFAULT_PHOTOS, DEFAULT_WEIGHTS
from stacks.backbones import BACKBONES, published_weights

if TYPE_CHECKING:
    from binventory.rehearsal.result import Options, Result

_OF_A_NEW_ONE = (
    "photos", "photos_count", "backbone", "weights", "keep", "reclaim", "enforce_iam", "report", "state_dir",
)  # fmt: skip
_WEIGHTS = ("packaged", "torchvision", "none")
_EXAMPLES = """
Examples:

  binventory rehearse                        photos rendered on the spot

  binventory rehearse --photos ~/bins        real ones, laid out like the public bucket

  binventory rehearse --reclaim              training is interrupted as spot capacity is

  binventory rehearse --keep                 stays up; ends with --end DIR

  binventory rehearse --resume DIR           continues a kept one after a restart of this computer
"""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("rehearse", epilog=_EXAMPLES)(rehearse)


def rehearse(
    context: typer.Context,
    photos: Annotated[
        Path | None,
        typer.Option(
            help="Folder with bin-images/ and metadata/ (and labels.csv, if there is one). Default: rendered."
        ),
    ] = None,
    photos_count: Annotated[int, typer.Option(min=60, max=99_999, help="How many photos to render.")] = DEFAULT_PHOTOS,
    backbone: Annotated[str, typer.Option(help="The network below the head.")] = DEFAULT_BACKBONE,
    weights: Annotated[
        str, typer.Option(help="Its weights: packaged, torchvision (downloaded, or in torch's cache) or none (random).")
    ] = DEFAULT_WEIGHTS,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything up and print how to use and end it.")] = False,
    reclaim: Annotated[bool, typer.Option("--reclaim", help="Interrupt training once, as spot does.")] = False,
    enforce_iam: Annotated[
        bool, typer.Option("--enforce-iam", help="Give every job, function and endpoint only its role's permissions.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the pipeline's run as an HTML page, also when it fails.")
    ] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Where state and logs go. Default: a new folder.")] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Start the local AWS of this folder again, after its process or computer ended."
        ),
    ] = None,
    end: Annotated[Path | None, typer.Option(metavar="DIR", help="End the rehearsal kept in this folder.")] = None,
    json: JsonFlag = False,
) -> None:
    """Deploys, trains, serves, counts and destroys in a local AWS: no account, no Docker, no bill.

    Takes one to three minutes on two cores. Exits with 1 and the failing job's log when anything fails.
    """
    # With the local AWS and everything else: help and completion do not wait for that.
    from binventory.cli.summary import print_result
    from binventory.rehearsal import ending, folder, run
    from binventory.rehearsal.result import Options, Result

    if end is not None:
        refuse_idle(context, "resume", *_OF_A_NEW_ONE, why="--end ends a kept rehearsal, and starts none")
        ending.end(end.resolve())
        if json:
            print_json({"ended": end.resolve()})
        else:
            stdout.print(f"Ended: no process, port or file of {end} is left.", soft_wrap=True)
        return
    if resume is not None:
        refuse_idle(context, *_OF_A_NEW_ONE, why="--resume starts the local AWS of a kept rehearsal again, as it was")
        exports = folder.resume(resume.resolve())
        if json:
            print_json({"kept": exports, "state_dir": str(resume.resolve())})
        else:
            _print_exports(exports, resume)
        return
    if photos is not None:
        refuse_idle(context, "photos_count", why="--photos names photos, so none are rendered")
    _check_network(backbone, weights)
    if report is not None:
        check_file(report, "--report")
    options = Options(
        names=Names("dev", settings_of("dev").project),
        repository=REPOSITORY,
        state_dir=(state_dir or _new_state_dir()).resolve(),
        photos=photos.resolve() if photos is not None else None,
        photos_count=photos_count,
        backbone=backbone,
        weights=weights,
        keep=keep,
        reclaim=reclaim,
        enforce_iam=enforce_iam,
        report=report.resolve() if report is not None else None,
    )
    journal = Journal()
    console = stderr if json else stdout
    result = Result()
    try:
        with interruptible(lambda: _ended(options)), show(journal, console):
            run.rehearse(options, journal, result)
    except Problem as found:
        problem = _with_logs(found, options.state_dir / folder.LOGS)
        if json:
            print_json({**_found(options, journal, result), "problem": problem.to_json()})
        raise problem from found
    finally:
        if state_dir is None:
            with contextlib.suppress(OSError):  # it has files or is gone, but for a rehearsal that was refused
                options.state_dir.rmdir()
    if json:
        print_json(_found(options, journal, result))
        return
    print_result(result, journal, stdout)
    if keep:
        _print_kept(result, options.state_dir)
    stdout.print(f"\nRehearsed in {duration(journal.now())}.")


def _check_network(backbone: str, weights: str) -> None:
    """Refuses a network that the pipeline would refuse once everything is deployed. Raises Problem."""
    for flag, value, known in (("--backbone", backbone, BACKBONES), ("--weights", weights, _WEIGHTS)):
        if value not in known:
            raise Problem(
                f"{flag} {value} is not possible",
                f"it must be one of {', '.join(known)}",
                flag_instead(flag, value, known),
                code=Exit.USAGE,
            )
    published = published_weights(backbone)
    if weights != "none" and weights != published:
        instead = f"--weights {published}, or " if published else ""
        raise Problem(
            f"{'No package has' if weights == 'packaged' else 'torchvision has no'} weights for backbone {backbone}",
            f"its ImageNet weights are {published}" if published else "nobody publishes ImageNet weights of it",
            f"add {instead}--weights none for random ones",
            code=Exit.USAGE,
        )


def _with_logs(problem: Problem, logs: Path) -> Problem:
    """The problem of a rehearsal that has begun, with the folder of its logs: nothing else of it is left."""
    if problem.code in {Exit.USAGE, Exit.INTERRUPTED} or not logs.is_dir():
        return problem
    cure = f"{problem.cure}; the logs are in {logs}"
    return Problem(problem.what, problem.why, cure, code=problem.code, log=problem.log)


def _ended(options: Options) -> GoesOn:
    return GoesOn(
        "Interrupted; the rehearsal has ended",
        f"its local AWS was stopped with all its jobs, nothing of it runs or bills; logs are in {options.state_dir}",
        "rehearse again: binventory rehearse",
    )


def _found(options: Options, journal: Journal, result: Result) -> dict[str, Any]:
    """The results for --json, also of a rehearsal that failed."""
    steps = [
        {"name": entry.name, "state": entry.state, "seconds": entry.seconds(journal.now())}
        for entry in journal.snapshot()
    ]
    return {"steps": steps, **result.to_json(), "state_dir": str(options.state_dir)}


def _print_kept(result: Result, state_dir: Path) -> None:
    _print_exports(result.kept, state_dir)
    stdout.print("\nThen, for example:\n")
    stdout.print("  binventory endpoint status")
    stdout.print(f"  aws sagemaker list-pipeline-executions --pipeline-name {result.execution.split('/')[-3]}")
    stdout.print("  npx cdk diff")


def _print_exports(exports: dict[str, str], state_dir: Path) -> None:
    from binventory.rehearsal.folder import EXPORTS, FORGET

    place = shlex.quote(str(state_dir))
    stdout.print("\nThe local AWS stays up. To use it with boto3, the aws CLI or cdk:\n")
    stdout.print(FORGET, soft_wrap=True)
    for name, value in exports.items():
        stdout.print(f"export {name}={shlex.quote(value)}", soft_wrap=True)
    stdout.print(f"\nThe same in one line: source {shlex.quote(str(state_dir / EXPORTS))}", soft_wrap=True)
    stdout.print(f"\nEnd it with: binventory rehearse --end {place}", soft_wrap=True)
    stdout.print(f"If this computer or the local AWS ended: binventory rehearse --resume {place}", soft_wrap=True)


def _new_state_dir() -> Path:
    """A new folder in the checkout (ignored by git), short enough for socket paths."""
    parent = REPOSITORY / ".rehearsal"
    try:
        parent.mkdir(exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="run-", dir=parent))
    except OSError as error:
        raise Problem(
            "The checkout cannot hold the state of a rehearsal",
            f"{parent}: {error.strerror}",
            "name a folder elsewhere: binventory rehearse --state-dir DIR",
            code=Exit.USAGE,
        ) from error
