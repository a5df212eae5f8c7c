"""`binventory train`, `approve` and `reject`: from photos to an approved model."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from binventory import executions, serving
from binventory.cli import completing
from binventory.cli.idle_flags import refuse_idle
from binventory.cli.launching import DryRunFlag, TimeoutOption, YesFlag, confirm, show_next
from binventory.cli.look import EnvironmentOption, JsonFlag, print_json, stderr, stdout
from binventory.cli.pending import pending_package
from binventory.cli.screen import show
from binventory.cli.settings import names_of, settings_of
from binventory.cli.train_ec2 import Ec2Options, train_on_ec2
from binventory.cli.watch import follow, goes_on
from binventory.core.aws import Aws, connect
from binventory.core.deployed import model_package_group
from binventory.core.errors import Exit, Problem
from binventory.core.interruption import GoesOn, interruptible
from binventory.core.journal import Journal
from binventory.core.known_photos import KnownPhotos
from binventory.core.names import Names
from binventory.cost.launch import Launch, of_endpoint, of_execution
from binventory.executions.addresses import listed_photos, look_at
from binventory.executions.changes import changes
from binventory.executions.starting import check_parameters
from stacks.names import FRESH, LABELS_URI, PHOTOS_URI, version_of

_FRESH_NOTE = "Fresh: nothing is taken from an earlier execution."


class TrainingPlace(StrEnum):
    """Where a training runs."""

    SAGEMAKER = "sagemaker"
    EC2 = "ec2"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(
        "train", epilog="Example: binventory train --photos s3://aft-vbi-pds/ --set Epochs=20 --set TuningJobs=10"
    )(train)
    app.command("approve", epilog="Example: binventory approve")(approve)
    app.command("reject", epilog="Example: binventory reject --note 'counts too low'")(reject)


def train(
    context: typer.Context,
    photos: Annotated[str | None, typer.Option(metavar="S3_URI", help="Prefix with bin-images/ and metadata/.")] = None,
    labels: Annotated[str | None, typer.Option(metavar="S3_URI", help="CSV with image_id,count instead.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other pipeline parameter; repeatable.")
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="EXECUTION",
            help="Start with the parameters of this execution; `newest` is the last one.",
            autocompletion=completing.executions,
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Take nothing from an earlier execution, whether it has changed or not.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Start it and do not wait.")] = False,
    on: Annotated[
        TrainingPlace,
        typer.Option("--on", help="ec2: embed, train and evaluate on one spot machine, on shards that exist."),
    ] = TrainingPlace.SAGEMAKER,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="ec2: continue from this run's checkpoints.")
    ] = None,
    watch_run: Annotated[str | None, typer.Option("--watch", metavar="RUN", help="ec2: only watch this run.")] = None,
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    env: EnvironmentOption = "dev",
    json: JsonFlag = False,
) -> None:
    """Shows what an execution costs, asks, starts it and shows its steps; after Ctrl-C it continues."""
    from binventory.cli.parameters import check_values  # with the settings' types, which help does not wait for

    if on is TrainingPlace.EC2:
        _pipeline_only(env, photos, labels, like, fresh)
        if watch_run:
            idle = ("set_", "resume", "detach", "dry_run", "yes")
            refuse_idle(context, *idle, why="--watch shows a run that has started, and starts none")
    elif resume or watch_run:
        raise Problem(
            "--resume and --watch are for --on ec2",
            "an execution of the pipeline continues by itself",
            f"look at it with: binventory watch --env {env}",
            code=Exit.USAGE,
        )
    settings, aws = settings_of(env), connect(os.environ)
    names = Names(env, settings.project)
    given = parse_parameters(set_ or ())
    if on is TrainingPlace.EC2:
        train_on_ec2(aws, settings, Ec2Options(given, resume, watch_run, detach, dry_run, yes, json))
        return
    flags = {PHOTOS_URI: ("--photos", photos), LABELS_URI: ("--labels", labels)}
    flags[FRESH] = ("--fresh", uuid.uuid4().hex if fresh else None)
    for name, (flag, value) in flags.items():
        if value is not None and name in given:
            raise _given_twice(name, f"by {flag} and by --set {name}={given[name]}")
        given |= {name: value} if value is not None else {}
    parameters: dict[str, str | int | float] = {**(_parameters_like(aws, names, like) if like else {}), **given}
    definition = executions.definition(aws, names)
    check_parameters(definition, parameters)
    check_values(settings, definition, parameters)
    unseen = look_at(aws, definition, parameters)
    again = executions.definition_on_demand(aws, names)
    found = changes(aws, names, definition, parameters)
    notes = (*filter(None, [_FRESH_NOTE if fresh else found.note]), *unseen)
    known = KnownPhotos(found.photos) if found.photos is not None else listed_photos(aws, definition, parameters)
    launched = of_execution(definition, parameters, names=names, aws=aws, again=again, photos=known, notes=notes)
    confirm(launched, yes=yes, json=json, dry_run=dry_run)
    arn = ""
    with interruptible(lambda: goes_on(aws, names, arn)):
        arn = executions.start(aws, names, parameters)
        if json and detach:
            print_json({"execution": arn, "launch": launched.to_json()})
            return
        if not json:
            stdout.print(f"Started {arn}", soft_wrap=True)
            show_next(launched, stdout)
        if not detach:
            follow(aws, names, arn, json)


def _parameters_like(aws: Aws, names: Names, execution: str) -> dict[str, str]:
    """The parameters of an earlier execution. Its parameter `Fresh` is left out."""
    arn = executions.find(aws, names, None if execution == "newest" else execution)
    return {name: value for name, value in executions.parameters_of(aws, arn).items() if name != FRESH}


def _pipeline_only(env: str, photos: str | None, labels: str | None, like: str | None, fresh: bool) -> None:
    """Refuses flags that have no effect on a machine that trains on existing shards."""
    if photos or labels:
        raise Problem(
            "--photos and --labels are not for --on ec2",
            "a machine trains on the shards of the newest execution that has ingested",
            f"ingest them with the pipeline first: binventory train --photos ... --env {env}",
            code=Exit.USAGE,
        )
    if like or fresh:
        raise Problem(
            "--like and --fresh are not for --on ec2",
            "a machine embeds and trains anew, with the parameters of the newest execution that has ingested",
            "change them one by one, with --set; continue from a run's checkpoints with --resume RUN",
            code=Exit.USAGE,
        )


def approve(
    context: typer.Context,
    package: Annotated[
        str | None,
        typer.Argument(
            metavar="ARN",
            help="Model package. Default: the newest that is pending.",
            autocompletion=completing.packages,
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the endpoint serves it.")] = True,
    note: Annotated[str, typer.Option(help="Kept with the approval.")] = "approved with the binventory command line",
    timeout: TimeoutOption = None,
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    env: EnvironmentOption = "dev",
    json: JsonFlag = False,
) -> None:
    """Approves a model; the newest approved one serves, and from then on the endpoint bills."""
    if not wait:
        refuse_idle(context, "timeout", why="--no-wait waits for nothing")
    names, aws = names_of(env), connect(os.environ)
    arn = package or pending_package(aws, names)
    _no_newer(aws, names, arn)
    launched = _launch_of_endpoint(aws, names, arn)
    if launched:
        confirm(launched, yes=yes, json=json, dry_run=dry_run)
    elif dry_run:
        raise Problem(
            f"{arn} would be approved, and nothing would serve it",
            f"there is no stack {names.serving_stack}, so nothing would bill",
            f"deploy it first: {names.deploy}",
            code=Exit.NOT_READY,
        )
    with interruptible(lambda: _goes_on(names, arn)):
        _approve(aws, names, arn, note)
        if wait and launched:
            _wait_until_served(aws, names, arn, timeout, stderr if json else stdout)
    if json:
        print_json({"model_package": arn, "endpoint": serving.endpoint_state(aws, names) if launched else None})
        return
    stdout.print(f"Approved {arn}", soft_wrap=True)
    if launched:
        show_next(launched, stdout)
    else:
        stdout.print(f"Nothing serves it: there is no stack {names.serving_stack}.", soft_wrap=True)


def _approve(aws: Aws, names: Names, package: str, note: str) -> None:
    serving.approve(aws, package, note)
    # An endpoint that is off, with this package already, is turned on as well.
    answer = serving.request_on(aws, names, f"the approval of version {version_of(package)}")
    if answer and answer.outcome == "held":
        raise serving.not_promoted(names, answer.reason, f"repair that, then: {names.command('endpoint on')}")


def _wait_until_served(aws: Aws, names: Names, package: str, timeout: float | None, console: Console) -> None:
    journal = Journal()
    with show(journal, console), journal.step("Promote") as entry:
        for event in serving.follow_promotion(aws, names, package, timeout):
            journal.note(entry, event)
        journal.note(entry, f"endpoint {names.prefix} InService")


def _goes_on(names: Names, package: str) -> GoesOn:
    return GoesOn(
        f"Interrupted; {package} is approved, and its promotion continues",
        "CloudFormation updates the serving stack, and the endpoint bills until it is turned off",
        f"look at it: {names.command('endpoint status')}; take it back: {names.command(f'reject {package}')}",
    )


def reject(
    package: Annotated[
        str | None,
        typer.Argument(
            metavar="ARN", help="Model package. Default: the one that serves.", autocompletion=completing.packages
        ),
    ] = None,
    note: Annotated[str, typer.Option(help="Kept with the rejection.")] = "rejected with the binventory command line",
    env: EnvironmentOption = "dev",
    json: JsonFlag = False,
) -> None:
    """Rejects a model; the newest one that is still approved replaces it."""
    names, aws = names_of(env), connect(os.environ)
    arn = package or serving.endpoint_state(aws, names).package
    if not arn:
        raise Problem(
            f"The endpoint {names.prefix} names no model",
            "none has been approved yet",
            f"name the one to reject: {names.command('reject ARN')}",
            code=Exit.NOT_READY,
        )
    _require_group(aws, names, arn, "rejected")
    serving.reject(aws, arn, note)
    answer = serving.compare(aws, names)
    if json:
        print_json({"model_package": arn, "comparison": answer})
        return
    stdout.print(f"Rejected {arn}\nThe endpoint: {answer.outcome}, {answer.reason}", soft_wrap=True)


def _require_group(aws: Aws, names: Names, package: str, judged: str) -> None:
    """Refuses a package of another group, such as that of another environment."""
    group = model_package_group(aws, names)
    if f":model-package/{group}/" not in package:
        raise Problem(
            f"The model package {package} was not {judged}",
            f"the endpoint of --env {names.environment} serves packages of the group {group} only",
            "give the ARN of a version of that group, or the --env of this package",
            code=Exit.USAGE,
        )


def _no_newer(aws: Aws, names: Names, package: str) -> None:
    """Refuses an approval that would change nothing: the newest approved version of the group serves."""
    _require_group(aws, names, package, "approved")
    newer = [judged for judged in serving.newer_than(aws, names, package) if judged.status == "Approved"]
    if newer:
        raise Problem(
            f"The model package {package} was not approved",
            f"version {newer[0].version} is newer and approved, and the newest approved version serves",
            f"reject it first: {names.command(f'reject {newer[0].package}')}",
            code=Exit.USAGE,
        )


def _launch_of_endpoint(aws: Aws, names: Names, package: str) -> Launch | None:
    """The launch screen of the endpoint that an approval turns on; None where no stack would serve the model."""
    try:
        template = serving.template(aws, names)
    except Problem as problem:
        if problem.code is not Exit.NOT_READY:
            raise
        return None
    title = f"The endpoint {names.prefix}, on with version {package.rsplit('/', 1)[-1]}"
    return of_endpoint(template, title, names=names, aws=aws)


def parse_parameters(texts: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE of each --set. Raises Problem for one that is no such text, and for a name that is there twice."""
    found: dict[str, str] = {}
    for name, value in map(_parse_parameter, texts):
        if name in found:
            raise _given_twice(name, f"--set {name}={found[name]} and --set {name}={value}")
        found[name] = value
    return found


def _given_twice(name: str, where: str) -> Problem:
    return Problem(f"The pipeline parameter {name} is given twice", where, "leave one of them out", code=Exit.USAGE)


def _parse_parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise Problem(
            f"--set {text} is not understood",
            "it must be NAME=VALUE with the name of a pipeline parameter",
            "for example: --set Epochs=20",
            code=Exit.USAGE,
        )
    return name, value
