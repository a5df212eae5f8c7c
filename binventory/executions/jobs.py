"""The jobs behind the steps: trials, logs and outputs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from botocore.exceptions import ClientError

from binventory.core.aws import Aws, error_code
from binventory.core.objects import read_at
from binventory.executions.execution import ExecutionStep

LOG_GROUPS = {"TrainingJob": "/aws/sagemaker/TrainingJobs", "ProcessingJob": "/aws/sagemaker/ProcessingJobs"}
_LATEST_LINES = 1000
_OF_EXECUTION = re.compile(r"pipelines-[0-9a-z]+-")
# From this loss on decimals are not shown.
_DIVERGED = 10_000


@dataclass(frozen=True)
class Trial:
    """One training job of the tuning job."""

    job: str
    status: str
    objective: float | None
    """None where it has none yet, or SageMaker has not used it: a trial that failed may have printed one."""
    hyperparameters: Mapping[str, str]

    @property
    def loss(self) -> str:
        """The objective as text: empty without one, short where a trial has diverged."""
        if self.objective is None:
            return ""
        return f"{self.objective:.4f}" if abs(self.objective) < _DIVERGED else f"{self.objective:.2g}"

    def tried(self, name: str) -> str:
        """A tuned value for people: whole numbers as they are, others with three digits; "" where it was not tuned."""
        text = self.hyperparameters.get(name, "").strip('"')  # SageMaker quotes the value of a categorical one
        number = number_in(text)
        return text if number is None or text.isdecimal() else f"{number:.3g}"


def number_in(text: str) -> float | None:
    """The number that a hyperparameter's text is; None for other text."""
    try:
        return float(text.strip('"'))
    except ValueError:
        return None


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The first trial with the smallest objective; None where none has one."""
    scored = [(trial.objective, trial) for trial in trials if trial.objective is not None]
    return min(scored, key=itemgetter(0), default=(None, None))[1]


def trials(aws: Aws, tuning_job: str) -> tuple[Trial, ...]:
    """The trials of a tuning job, oldest first."""
    pages = (
        aws.client("sagemaker")
        .get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
        .paginate(HyperParameterTuningJobName=tuning_job, SortBy="CreationTime", SortOrder="Ascending")
    )
    return tuple(
        Trial(
            raw["TrainingJobName"],
            raw["TrainingJobStatus"],
            None
            if raw.get("ObjectiveStatus") == "Failed"
            else raw.get("FinalHyperParameterTuningJobObjectiveMetric", {}).get("Value"),
            raw.get("TunedHyperParameters", {}),
        )
        for page in pages
        for raw in page["TrainingJobSummaries"]
    )


def log_tail(aws: Aws, step: ExecutionStep, lines: int = 40) -> tuple[str, ...]:
    """The last log lines of the step's job; of its first failed trial when the step is a tuning job."""
    kind, job = step.kind, step.job
    if kind == "TuningJob":
        failed = [trial for trial in trials(aws, job) if trial.status == "Failed"]
        if not failed:
            return ()
        kind, job = "TrainingJob", failed[0].job
    if kind not in LOG_GROUPS:
        return ()
    return job_log(aws, kind, job)[-lines:]


def job_log(aws: Aws, kind: str, job: str, *, lines: int = _LATEST_LINES) -> tuple[str, ...]:
    """What a training or processing job has logged so far; empty before the first line.

    lines: of each instance the last so many; CloudWatch gives at most 10,000 at once.
    """
    logs, group = aws.client("logs"), LOG_GROUPS[kind]
    messages: list[str] = []
    for stream in _streams(logs, group, job):
        reply = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=False, limit=lines)
        messages.extend(event["message"].rstrip("\n") for event in reply["events"])
    return tuple(messages)


def _streams(logs: Any, group: str, job: str) -> list[str]:
    """The job's log streams, one an instance.

    SageMaker has written the names of jobs in small letters into ARNs, and as they are into those of streams. So the
    streams are listed by the part that has small letters only, `pipelines-<execution>-`.
    """
    small = _OF_EXECUTION.match(job)
    pages = logs.get_paginator("describe_log_streams").paginate(
        logGroupName=group, logStreamNamePrefix=small[0] if small else f"{job}/"
    )
    try:
        names = [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
    except ClientError as error:
        if error_code(error) == "ResourceNotFoundException":
            return []
        raise
    return [name for name in names if name.lower().startswith(f"{job}/".lower())]


def output(aws: Aws, step: ExecutionStep, name: str) -> str | None:
    """S3 address of an output of a processing step, without a slash at its end; None where it has no such output."""
    job = aws.client("sagemaker").describe_processing_job(ProcessingJobName=step.job)
    outputs = job.get("ProcessingOutputConfig", {}).get("Outputs", [])
    return next((str(one["S3Output"]["S3Uri"]).rstrip("/") for one in outputs if one["OutputName"] == name), None)


def read_json(aws: Aws, uri: str) -> Any:
    """The JSON document at an s3:// URI."""
    return json.loads(read_at(aws.client("s3"), uri))
