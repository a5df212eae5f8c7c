"""The drift monitor: compares the endpoint's answers with the evaluation of the served model, on a schedule.

The answers are read from the endpoint's log, where the server writes every count and confidence with its model package
as embedded metrics: exact, and without extra cost. The result is published as metrics, for an alarm and the dashboard.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import boto3

from budget_guard import current_budget
from drift import Answers, AnswerTally, Shift, baseline_of, confidence_shift, count_shift
from functions.aws import read_object
from functions.interface import FunctionReport, read_environment
from promotion.serving_stack import ServingStack
from stacks.environments import DriftMonitorEnvironment

NAMESPACE = "Binventory/Monitoring"
# Enough to find any drift that matters, and few enough to read before the function's timeout.
MOST_PHOTOS = 240_000
SLICES = 24
COUNTS, CONFIDENCES, PACKAGE = "PredictedCount", "Confidence", "ModelPackage"


@dataclass(frozen=True)
class Look(FunctionReport):
    """The result of one look: `drift`, `no drift`, `too few photos` or `off`, with its numbers."""

    photos: int = 0
    count_shift: float | None = None
    confidence_shift: float | None = None


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Looks once.

    Raises:
        RuntimeError: the model package carries no evaluation to compare with.
        botocore.exceptions.ClientError: a request failed; the function's error alarm notifies people.
    """
    variables = read_environment(DriftMonitorEnvironment)
    published = {"SpentUsd": current_budget(variables.account, variables.budget).spent}
    stack = ServingStack(variables.serving_stack).look()
    if stack is None or not stack.serves:
        _publish(variables.endpoint, published)
        return Look("off", "the endpoint is off").logged()
    package = stack.package
    evaluation = _evaluation(package)
    tally = _answers(package, variables)
    published |= {
        "Photos": float(tally.photos),
        "TestAccuracy": float(evaluation["multiclass_classification_metrics"]["accuracy"]["value"]),
    }
    least = variables.minimum_photos
    if tally.photos < least:
        _publish(variables.endpoint, published)
        reason = f"{tally.photos} photos in the window, {least} are needed"
        return Look("too few photos", reason, tally.photos).logged()
    look, found = _compare(_baseline(evaluation, package, variables.count_shares), tally.answers(), variables)
    _publish(variables.endpoint, published | found)
    return look.logged()


def _compare(baseline: Answers, live: Answers, variables: DriftMonitorEnvironment) -> tuple[Look, dict[str, float]]:
    counts = count_shift(baseline, live, variables.count_shift_threshold)
    confidence = confidence_shift(baseline, live, variables.confidence_shift_threshold)
    drifted = counts.found or confidence.found
    means = f"{live.confidence.mean:.3f} against {baseline.confidence.mean:.3f}"
    reason = (
        f"counts {_shares(live)} against {_shares(baseline)} on the test split: PSI {_said(counts)}; "
        f"mean confidence {means}: moved {_said(confidence)}"
    )
    look = Look(
        "drift" if drifted else "no drift", reason, live.photos, round(counts.size, 4), round(confidence.size, 4)
    )
    return look, {"CountShift": counts.size, "ConfidenceShift": confidence.size, "Drift": float(drifted)}


def _shares(answers: Answers) -> str:
    return " ".join(f"{count}:{share:.0%}" for count, share in sorted(answers.shares.items()))


def _said(shift: Shift) -> str:
    return f"{shift.size:.3f} (threshold {shift.threshold:g}, luck up to {shift.by_luck:.3f})"


def _evaluation(package: str) -> dict[str, Any]:
    """The evaluation that the pipeline registered as the drift baseline of the model package."""
    described = boto3.client("sagemaker").describe_model_package(ModelPackageName=package)
    try:
        uri = described["DriftCheckBaselines"]["ModelQuality"]["Statistics"]["S3Uri"]
    except KeyError:
        raise RuntimeError(f"{package} carries no drift baseline: register it by the pipeline") from None
    document: dict[str, Any] = json.loads(read_object(uri))
    return document


def _baseline(evaluation: dict[str, Any], package: str, shares: Mapping[str, float]) -> Answers:
    try:
        return baseline_of(evaluation, {int(count): share for count, share in shares.items()} or None)
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise RuntimeError(
            f"the evaluation of {package} lacks the baseline for drift ({error!r}): train again, or "
            "correct monitoring.count_shares"
        ) from error


def _answers(package: str, variables: DriftMonitorEnvironment) -> AnswerTally:
    """The endpoint's answers with this model in the window: all, or evenly spread samples of a busy window."""
    now = time.time()
    width = variables.window_seconds / SLICES
    whole = AnswerTally()
    for slice_ in range(SLICES, 0, -1):
        enough = whole.photos + MOST_PHOTOS // SLICES
        for line in _lines(variables.endpoint_logs, now - slice_ * width, now - (slice_ - 1) * width):
            counts, confidences = line.get(COUNTS, ()), line.get(CONFIDENCES, ())
            if line.get(PACKAGE) == package and len(counts) == len(confidences):
                whole.add([round(count) for count in counts], confidences)
            if whole.photos >= enough:
                break
    return whole


def _lines(log_group: str, start: float, end: float) -> Iterator[dict[str, Any]]:
    """The server's log lines with counts, from `start` to before `end`, in seconds since 1970."""
    pages = boto3.client("logs").get_paginator("filter_log_events").paginate(
        logGroupName=log_group,
        startTime=int(start * 1000),
        endTime=int(end * 1000) - 1,
        filterPattern=f'"{COUNTS}"',
    )  # fmt: skip
    for page in pages:
        for event in page["events"]:
            try:
                line = json.loads(event["message"])
            except ValueError:
                continue  # a line of the container, not of the server
            if isinstance(line, dict):
                yield line


def _publish(endpoint: str, values: Mapping[str, float]) -> None:
    dimensions = [{"Name": "Endpoint", "Value": endpoint}]
    boto3.client("cloudwatch").put_metric_data(
        Namespace=NAMESPACE,
        MetricData=[{"MetricName": name, "Value": value, "Dimensions": dimensions} for name, value in values.items()],
    )
