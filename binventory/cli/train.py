"""`binventory train` and `approve`: from photos to an approved model."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from binventory import pipeline, serving
from binventory.aws import Aws, connect
from binventory.cli.look import EnvironmentOption, JsonFlag, print_json, stderr, stdout
from binventory.cli.screen import show
from binventory.errors import Exit, Problem
from binventory.journal import Journal
from binventory.names import Names
from binventory.watching import StepWatcher

_PANEL = "Train and serve"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(
        "train",
        epilog="Example: binventory train --photos s3://aft-vbi-pds/ --set Epochs=20 --set TuningJobs=10",
        rich_help_panel=_PANEL,
    )(train)
    app.command("watch", epilog="Example: binventory watch", rich_help_panel=_PANEL)(watch)
    app.command("approve", epilog="Example: binventory approve", rich_help_panel=_PANEL)(approve)


def train(
    photos: Annotated[str | None, typer.Option(metavar="S3_URI", help="Prefix with bin-images/ and metadata/.")] = None,
    labels: Annotated[str | None, typer.Option(metavar="S3_URI", help="CSV with image_id,count instead.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other pipeline parameter; repeatable.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Start it and do not wait.")] = False,
    env: EnvironmentOption = "dev",
    json: JsonFlag = False,
) -> None:
    """Starts the pipeline and shows its steps until it has ended; interrupting this leaves the pipeline running."""
    names, aws = Names(env), connect(os.environ)
    parameters: dict[str, str | int | float] = dict(parse_parameter(text) for text in set_ or ())
    if photos is not None:
        parameters["PhotosUri"] = photos
    if labels is not None:
        parameters["LabelsUri"] = labels
    arn = pipeline.start(aws, names, parameters)
    if detach:
        print_json({"execution": arn}) if json else stdout.print(arn, soft_wrap=True)
        return
    _follow(aws, arn, json)


def watch(
    execution: Annotated[
        str | None, typer.Argument(metavar="[ARN]", help="Pipeline execution. Default: the newest.")
    ] = None,
    env: EnvironmentOption = "dev",
    json: JsonFlag = False,
) -> None:
    """Shows a pipeline execution until it has ended; interrupting this leaves it running."""
    aws = connect(os.environ)
    _follow(aws, execution or pipeline.newest(aws, Names(env)), json)


def _follow(aws: Aws, arn: str, json: bool) -> None:
    journal = Journal()
    journal.plan(*pipeline.STEPS)
    watcher = StepWatcher(aws, journal)
    with show(journal, stderr if json else stdout):
        for execution in pipeline.follow(aws, arn, every=1 if aws.is_local else 10):
            watcher.update(execution)
        journal.skip_waiting()
    if execution.status != "Succeeded":
        raise pipeline.explain(aws, execution)
    package = execution.step("Register")
    registered = package.detail if package else ""
    if json:
        print_json({"execution": arn, "model_package": registered, "trials": watcher.trials})
        return
    stdout.print(f"\nRegistered {registered}\nServe it: binventory approve {registered}", soft_wrap=True)


def approve(
    package: Annotated[
        str | None, typer.Argument(metavar="[ARN]", help="Model package. Default: the newest that is pending.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the endpoint serves it.")] = True,
    note: Annotated[str, typer.Option(help="Kept with the approval.")] = "approved with the binventory command line",
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for the endpoint.")] = 1800,
    env: EnvironmentOption = "dev",
    json: JsonFlag = False,
) -> None:
    """Approves a model; the promotion function then updates the serving stack and the endpoint."""
    names, aws = Names(env), connect(os.environ)
    arn = package or serving.latest_package(aws, names)
    serving.approve(aws, arn, note)
    console = stderr if json else stdout
    if wait:
        journal = Journal()
        with show(journal, console), journal.step("Promote") as entry:
            for event in serving.follow_promotion(aws, names, arn, timeout=timeout):
                journal.note(entry, event)
            journal.note(entry, f"endpoint {names.prefix} InService")
    if json:
        print_json({"model_package": arn, "endpoint": serving.endpoint_state(aws, names)})
        return
    stdout.print(f"Approved {arn}", soft_wrap=True)


def parse_parameter(text: str) -> tuple[str, str]:
    """NAME=VALUE of --set."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise Problem(
            f"--set {text} is not understood",
            "it must be NAME=VALUE with the name of a pipeline parameter",
            "for example: --set Epochs=20",
            code=Exit.USAGE,
        )
    return name, value
