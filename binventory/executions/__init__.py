"""Pipeline executions: start one, follow it, and explain it when it fails."""

from binventory.executions.execution import (
    RUNNING,
    STEPS,
    Execution,
    ExecutionStep,
    ReusedResult,
    follow,
    look,
    named,
    parameters_of,
)
from binventory.executions.failure import explain, reason
from binventory.executions.jobs import Trial, best_of, job_log, log_tail, number_in, output, read_json, trials
from binventory.executions.starting import continued, definition, definition_on_demand, find, newest, start

__all__ = [
    "RUNNING", "STEPS", "Execution", "ExecutionStep", "ReusedResult", "Trial", "best_of", "continued",
    "definition", "definition_on_demand", "explain", "find", "follow", "job_log", "log_tail", "look", "named", "newest",
    "number_in", "output",
    "parameters_of", "read_json", "reason", "start", "trials",
]  # fmt: skip
