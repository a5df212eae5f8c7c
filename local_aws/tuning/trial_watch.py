"""Follows the objective that the trials of one tuning job print, and stops those that its rule selects."""

from __future__ import annotations

import threading
from functools import partial

from local_aws.core.context import Context
from local_aws.jobs.records import TRAINING
from local_aws.jobs.running import Jobs
from local_aws.jobs.training_run import TrainingRun
from local_aws.tuning.records import TRIALS, TuningRecord, objective_of
from local_aws.tuning.stopping import Hyperband, StoppingRule

CURVES = "TrialCurve"
"""Table of the losses that each trial has printed; it outlives a restart."""
# Time for a script to save its model and end by itself after its last epoch.
_OVERTIME_SECONDS = 10.0


class TrialWatch:
    """Watches the trials of one tuning job.

    Args:
        context: the local AWS.
        tuning_job: its name.
        rule: selects the trials to stop.
    """

    def __init__(self, context: Context, tuning_job: str, rule: StoppingRule) -> None:
        self._context = context
        self._record = TuningRecord(context, tuning_job)
        self._rule = rule
        self._objective = objective_of(self._record.read())
        self._lock = threading.Lock()
        self._overtime: dict[str, threading.Timer] = {}

    def follow(self, trial: str, run: TrainingRun, *, resumed: bool = False) -> None:
        """Judge every value of the objective that a trial prints; `resumed`: an earlier local AWS has begun it."""
        if resumed and run.begins_anew:
            self._forget(trial)
        run.listen(self._objective.metric, partial(self._judge, trial), partial(self._forget, trial))

    def _judge(self, trial: str, value: float) -> None:
        with self._lock:
            curves = self._curves_with(trial, value if self._objective.minimise else -value)
            place = list(curves).index(trial)
            stops = self._rule.stops(place, list(curves.values()))
        if stops:
            self._stop(trial)
        elif isinstance(self._rule, Hyperband) and self._rule.is_over(curves[trial]):
            timer = self._overtime[trial] = threading.Timer(_OVERTIME_SECONDS, self._stop, [trial])
            timer.daemon = True
            timer.start()

    def _forget(self, trial: str) -> None:
        """The trial begins anew: its values up to now are no epochs of what it does next."""
        with self._lock:
            self._context.table(CURVES).update(trial, lambda stored: stored.update(Losses=[]))
            if timer := self._overtime.pop(trial, None):
                timer.cancel()

    def _stop(self, trial: str) -> None:
        run = self._context.shared(Jobs).find(TRAINING, trial)
        if run is not None and not self._context.stopping.is_set():
            run.stop()

    def _curves_with(self, trial: str, loss: float) -> dict[str, list[float]]:
        """The curves of all trials in the order of suggestion, with a new value of one of them."""
        table = self._context.table(CURVES)
        table.insert(trial, {"Losses": []})
        table.update(trial, lambda stored: stored["Losses"].append(loss))
        names = [stored["Name"] for stored in self._record.read()[TRIALS]]
        found = {name: table.get(name) for name in names}
        return {name: curve["Losses"] if curve else [] for name, curve in found.items()}
