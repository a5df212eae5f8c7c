"""The trials of a tuning job as a table and pictures: the objective against each hyperparameter.

Reads the job by its name, so it works on AWS and on the local AWS alike (AWS_ENDPOINT_URL).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from jobs.container import JobError, run_job, write_json
from jobs.settings import parse_settings, setting
from watching.line_chart import Line, chart
from watching.report import page

EXAMPLES = """examples:
  python tuning_report.py --job tune-abc123 --output tuning
"""


@dataclass(frozen=True)
class TuningReportSettings:
    """Which job, and where the report goes."""

    job: str = setting("name of the tuning job")
    output: Path = setting("folder for tuning.json and tuning.html")


@dataclass(frozen=True)
class Trial:
    """One training job of a search. `objective` is None where it ended without a value."""

    name: str
    status: str
    hyperparameters: dict[str, str]
    objective: float | None
    seconds: float | None


def main(arguments: list[str] | None = None) -> None:
    """Write the report. Raises JobError where the job cannot be read."""
    settings = parse_settings(TuningReportSettings, arguments, __doc__ or "", EXAMPLES)
    trials = read_trials(settings.job)
    settings.output.mkdir(parents=True, exist_ok=True)
    write_json(settings.output / "tuning.json", [asdict(trial) for trial in trials])
    (settings.output / "tuning.html").write_text(render(settings.job, trials), encoding="utf-8")
    print(f"{len(trials)} trials written to {settings.output / 'tuning.html'}")


def read_trials(job: str) -> list[Trial]:
    """The trials of a tuning job, best first, those without an objective last."""
    try:
        pages = boto3.client("sagemaker").get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
        found = [entry for page in pages.paginate(HyperParameterTuningJobName=job)
                 for entry in page["TrainingJobSummaries"]]  # fmt: skip
    except (BotoCoreError, ClientError) as error:
        raise JobError(f"tuning job {job} cannot be read: {error}") from error
    trials = [
        Trial(
            entry["TrainingJobName"], entry["TrainingJobStatus"], dict(entry["TunedHyperParameters"]),
            entry.get("FinalHyperParameterTuningJobObjectiveMetric", {}).get("Value"),
            (entry["TrainingEndTime"] - entry["TrainingStartTime"]).total_seconds()
            if "TrainingEndTime" in entry and "TrainingStartTime" in entry else None,
        )
        for entry in found
    ]  # fmt: skip
    return sorted(trials, key=lambda trial: (trial.objective is None, trial.objective or 0.0))


def render(job: str, trials: Sequence[Trial]) -> str:
    """The page: self-contained, best trial first."""
    names = sorted({name for trial in trials for name in trial.hyperparameters})
    head = "".join(f"<th>{escape(name)}</th>" for name in ("trial", "status", *names, "objective", "seconds"))
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(trial, names)) + "</tr>" for trial in trials
    )
    charts = "".join(_picture(name, trials) for name in names)
    body = (
        f"<h1>Tuning job {escape(job)}</h1><div class='charts'>{charts}</div>"
        f"<div class='table'><table><tr>{head}</tr>{rows}</table></div>"
    )
    return page(f"Tuning {job}", body)


def _cells(trial: Trial, names: Sequence[str]) -> list[str]:
    objective = "" if trial.objective is None else f"{trial.objective:.5g}"
    seconds = "" if trial.seconds is None else f"{trial.seconds:.0f}"
    return [trial.name, trial.status, *(trial.hyperparameters.get(name, "") for name in names), objective, seconds]


def _picture(name: str, trials: Sequence[Trial]) -> str:
    """Objective against one hyperparameter; on a logarithmic axis where all its values are positive numbers."""
    points = []
    for trial in trials:
        try:
            points.append((float(trial.hyperparameters[name].strip('"')), trial.objective))
        except (KeyError, ValueError):
            continue
    measured = [(value, objective) for value, objective in points if objective is not None]
    log = bool(measured) and all(value > 0 for value, _ in measured)
    return chart(f"Objective against {name}", [Line("trials", measured)], x_label=name, log_x=log, dots=True)


if __name__ == "__main__":
    sys.exit(run_job(main))
