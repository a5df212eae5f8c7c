"""`binventory train --on ec2`: shows the price, starts the run, follows its steps and registers the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from binventory import executions
from binventory.cli.launching import confirm, show_next
from binventory.cli.look import print_json, stderr, stdout
from binventory.cli.screen import show
from binventory.core.aws import Aws
from binventory.core.errors import Exit, Problem
from binventory.core.interruption import GoesOn, interruptible
from binventory.core.journal import Journal
from binventory.core.known_photos import KnownPhotos
from binventory.core.names import Names
from binventory.cost.jobs import input_size_of
from binventory.ec2 import plan as plans
from binventory.ec2 import price, runs
from binventory.ec2.plan import Place

if TYPE_CHECKING:
    from stacks.settings import Settings

_ENDED_WELL = "succeeded"


@dataclass(frozen=True)
class Ec2Options:
    """The flags of the command line."""

    values: Mapping[str, str | int | float]
    resume: str | None  # the run to continue from its checkpoints
    watch: str | None  # the run that is only watched
    detach: bool
    dry_run: bool
    yes: bool
    json: bool


def train_on_ec2(aws: Aws, settings: Settings, asked: Ec2Options) -> None:
    """Starts or resumes a run and follows it to its end; after Ctrl-C it continues.

    Raises:
        Problem: the stack is not deployed, a machine works on the run already, spot has none, or the run ended early.
    """
    from binventory.cli.parameters import check_values

    if asked.resume and asked.values:
        raise Problem(
            "--set and --resume do not go together",
            "checkpoints fit the values they were made with",
            "leave one of them out",
            code=Exit.USAGE,
        )
    names = Names(settings.environment, settings.project)
    where = plans.place(aws, names)
    if asked.watch:
        _follow(aws, names, where, runs.read_plan(aws, names, where, asked.watch), asked.json)
        return
    plan = _plan(aws, names, where, asked)
    run = str(plan["run"])
    definition = executions.definition(aws, names)
    check_values(settings, definition, asked.values)
    photos = KnownPhotos(plans.photos_of(aws, plan))
    values = plans.values_of(aws, definition, plan)
    launched = price.launch(aws, names, where, run, values, photos, input_size_of(definition))
    confirm(launched, yes=asked.yes, json=asked.json, dry_run=asked.dry_run)
    with interruptible(lambda: _goes_on(names, where, run)):
        runs.write_plan(aws, where, plan)
        machine = runs.start(aws, names, where, run)
        if not asked.json:
            stdout.print(f"Started {machine} on {run}", soft_wrap=True)
            show_next(launched, stdout)
        elif asked.detach:
            print_json({"run": run, "machine": machine, "launch": launched.to_json()})
        if not asked.detach:
            _follow(aws, names, where, plan, asked.json)


def _plan(aws: Aws, names: Names, where: Place, asked: Ec2Options) -> dict[str, Any]:
    if asked.resume is None:
        return plans.make(aws, names, where, plans.new_run(), asked.values)
    plan = runs.read_plan(aws, names, where, asked.resume)
    if machine := runs.machine_of(aws, asked.resume):
        raise Problem(
            f"The run {asked.resume} is still at work",
            f"{machine} works on it, and two would overwrite each other's checkpoints",
            f"look at it: {names.command(f'train --on ec2 --watch {asked.resume}')}",
            code=Exit.USAGE,
        )
    return plan


def _follow(aws: Aws, names: Names, where: Place, plan: Mapping[str, Any], json: bool) -> None:
    run = str(plan["run"])
    journal = Journal()
    journal.plan(*runs.STEPS)
    with show(journal, stderr if json else stdout), interruptible(lambda: _goes_on(names, where, run)):
        at = ""
        for status in runs.follow(aws, where, run, every=1 if aws.is_local else 10):
            if status.step in runs.STEPS and status.step != at:
                if at:
                    journal.end(journal.entry(at), "done")
                at = status.step
                journal.begin(journal.entry(at))
        if at:
            journal.end(journal.entry(at), "done" if status.state == _ENDED_WELL else "failed")
        journal.skip_waiting()
    if status.state != _ENDED_WELL:
        raise runs.explain(aws, names, where, run, status)
    _finish(aws, names, where, plan, json)


def _goes_on(names: Names, where: Place, run: str) -> GoesOn:
    stop, watch = names.command(f"stop {run}"), names.command(f"train --on ec2 --watch {run}")
    return GoesOn(
        f"Interrupted; the run {run} continues",
        f"its machine works on it and bills until it ends, {where.max_minutes} minutes after its start at the latest",
        f"stop it: {stop}; follow it again: {watch}",
    )


def _finish(aws: Aws, names: Names, where: Place, plan: Mapping[str, Any], json: bool) -> None:
    """Registers a model that passes the gate. Raises Problem with the reason otherwise."""
    run = str(plan["run"])
    found = runs.evaluation(aws, where, run)
    gate = found["binventory"]["gate"]
    if not gate["passed"]:
        raise Problem(
            f"The gate refused the model of {run}",
            "; ".join(gate["reasons"]) or "it is not good enough",
            f"its evaluation: {where.models(run)}/evaluation/evaluation.html",
        )
    package = runs.registered(aws, names, where, run) or runs.register(aws, names, where, plan)
    accuracy = found["multiclass_classification_metrics"]["accuracy"]["value"]
    if json:
        print_json({"run": run, "model_package": package, "accuracy": accuracy})
        return
    stdout.print(f"\nAccuracy on the test split {accuracy:.3f}\nRegistered {package}", soft_wrap=True)
    stdout.print(f"Serve it: {names.command(f'approve {package}')}", soft_wrap=True)
