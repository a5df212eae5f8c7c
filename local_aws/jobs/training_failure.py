"""Why a training job failed: what its machine wrote, or how its log ends where it wrote no reason."""

from __future__ import annotations

from local_aws.core.logs import LogStream
from local_aws.jobs.machine import JobMachine

MAX_REASON = 1024
_TOOLKIT = "sagemaker-training-toolkit"
# The toolkit copies the script's line that names a Python error. A script that a signal ended has printed none.
_NO_MESSAGE = 'ErrorMessage ""'
_LINES = 4
_MAX_LINES = 500


def training_failure(machine: JobMachine, stream: LogStream, status: int) -> str:
    """FailureReason of a machine: what it wrote to output/failure, and its exit status.

    AWS leaves the reason empty where the job wrote none. Here it says how the log ends, and in which stream.
    """
    end = f", exit code: {status}"
    said = machine.read_text("output/failure", MAX_REASON)
    if not said:
        said = _end_of(stream)
    elif _NO_MESSAGE in said:
        said = said.replace(_NO_MESSAGE, f"{_NO_MESSAGE}: {_end_of(stream)}", 1)
    head = "AlgorithmError: "
    return f"{head}{said[: MAX_REASON - len(head) - len(end)]}{end}"


def _end_of(stream: LogStream) -> str:
    lines = stream.ending()
    # The toolkit reports a failure at the end, in its own words: what the script printed stands before.
    reported = next((place for place, line in enumerate(lines) if f"{_TOOLKIT} ERROR" in line), len(lines))
    printed = [line for line in lines[:reported] if _TOOLKIT not in line][-_LINES:]
    if not printed:
        return f"the job wrote no reason; see log stream {stream.name}"
    return f"the job wrote no reason; log stream {stream.name} ends with: {chr(10).join(printed)[-_MAX_LINES:]}"
