"""`binventory review`: stops a deployment that would lose data, or that SageMaker would refuse."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from binventory.assembly.templates import read_stacks, resources
from binventory.cli.idle_flags import is_typed
from binventory.cli.look import JsonFlag, print_json, stdout
from binventory.core.errors import Exit, Problem
from binventory.deployment.review import CONVERTED, SCALED, Loss, losses, refused


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("review", epilog="Example: npx cdk diff 2>&1 | binventory review -")(review)


def review(
    context: typer.Context,
    diff: Annotated[Path, typer.Argument(metavar="DIFF", help="Output of `cdk diff`; - for standard input.")],
    allow_replacement: Annotated[
        bool, typer.Option("--allow-replacement", help="Show what would be lost, and let it pass.")
    ] = False,
    assembly: Annotated[
        Path, typer.Option(metavar="CDK_OUT", help="Synthesized output of the diff: says which stacks scale.")
    ] = Path("cdk.out"),
    json: JsonFlag = False,
) -> None:
    """Finds buckets, keys and registries that a deployment would replace or remove, and changes of the endpoint that
    SageMaker would refuse while it is on; exits 1 if there are any."""
    if is_typed(context, "assembly") and not _is_assembly(assembly):
        raise Problem(
            f"{assembly} is no cloud assembly",
            "it has no manifest.json, so it does not say which stacks scale",
            "synthesize it: npx cdk synth --output DIR; without --assembly every stack is taken to scale",
            code=Exit.USAGE,
        )
    text = _read(diff)
    found, stopped = losses(text), refused(text, _scaling_stacks(assembly))
    if json:
        print_json([*found, *stopped])
    else:
        for loss in [*found, *stopped]:
            stdout.print(f"{loss.verdict}: {loss.type} {loss.resource} in {loss.stack}", soft_wrap=True)
    if found and not allow_replacement:
        raise Problem(
            f"{len(found)} stateful resource{'s' * (len(found) > 1)} would be lost",
            ", ".join(f"{loss.resource} ({loss.verdict})" for loss in found),
            "undo the change, or deploy with --allow-replacement (label `allow-replacement` on the pull request)",
            code=Exit.FAILED,
        )
    if stopped and not allow_replacement:
        raise _stopped_by(stopped)
    if not json and not found and not stopped:
        stdout.print("No stateful resource is replaced or removed.")


def _stopped_by(refusals: Sequence[Loss]) -> Problem:
    off = (
        "binventory endpoint off, review with --allow-replacement (label `allow-replacement` on the pull request), "
        "deploy, binventory endpoint on, with the --env of these stacks"
    )
    if any(loss.verdict == CONVERTED for loss in refusals):
        return Problem(
            "SageMaker would refuse another serving.mode while the endpoint is on",
            "it makes no endpoint serverless that has instances, and none synchronous that is asynchronous; "
            "CloudFormation would roll back",
            off,
            code=Exit.FAILED,
        )
    return Problem(
        "SageMaker would refuse another instance type while autoscaling scales the endpoint",
        "CloudFormation cannot end the scaling before it updates the endpoint, and would roll back",
        f"{off}; or without a break: docs/serving.md",
        code=Exit.FAILED,
    )


def _scaling_stacks(assembly: Path) -> set[str] | None:
    """The stacks that scale an endpoint, by their id; None without a synthesized output."""
    if not _is_assembly(assembly):
        return None
    return {stack.id for stack in read_stacks(assembly) if resources(stack.template, SCALED)}


def _is_assembly(folder: Path) -> bool:
    return (folder / "manifest.json").is_file()


def _read(path: Path) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(
            f"{'Standard input' if str(path) == '-' else path} cannot be read",
            (error.strerror if isinstance(error, OSError) else None) or str(error),
            "write it: npx cdk diff 2>&1 | tee cdk.diff",
            code=Exit.USAGE,
        ) from error
