"""The end of a local AWS ends its jobs; the next start continues them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
from botocore.exceptions import ClientError

from local_aws.server import LocalAws
from tests.contract.conftest import ClientFactory, connect
from tests.contract.jobs import BUCKET, finished_training, log_lines, text_of, training_request, until
from tests.contract.tunings import finished_tuning, trials_of, tuning_request

# Waits for a file that the test writes after the restart; keeps count of its starts in its checkpoints.
PATIENT = """
    import os, pathlib, subprocess, time
    starts = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"], "checkpoints", os.environ["TRAINING_JOB_NAME"])
    count = int(starts.read_text()) + 1 if starts.exists() else 1
    starts.write_text(str(count))
    subprocess.Popen(["sleep", "300"], start_new_session=True, stdout=-3, stderr=-3)
    print(f"start {count}")
    while not os.path.exists(os.environ["GO"]):
        time.sleep(0.2)
    print(f"validation:loss={count}")
"""
SPOT: dict[str, Any] = {
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 200, "MaxWaitTimeInSeconds": 300},
}


def printed(client: ClientFactory, name: str, line: str) -> bool:
    try:
        return line in log_lines(client, "/aws/sagemaker/TrainingJobs", name)
    except ClientError:
        return False


def checkpointed(client: ClientFactory, name: str) -> bool:
    try:
        return text_of(client, f"s3://{BUCKET}/checkpoints/{name}") == "1"
    except ClientError:
        return False


def marked(state_dir: Path) -> list[int]:
    """Processes of this local AWS that still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("BINVENTORY_LOCAL_AWS") == str(state_dir):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_jobs_end_with_a_killed_local_aws_and_go_on_with_the_next(state_dir: Path) -> None:
    aws = LocalAws(state_dir)
    aws.start()
    client = connect(aws)
    client("s3").create_bucket(Bucket=BUCKET)
    checkpoints = {"S3Uri": f"s3://{BUCKET}/checkpoints/"}
    go = state_dir.parent / "go"
    environment = {"GO": str(go)}
    job = training_request(client, "patient", PATIENT, CheckpointConfig=checkpoints, Environment=environment, **SPOT)
    client("sagemaker").create_training_job(**job)
    limits = {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1}
    tuning = tuning_request(client, "search", PATIENT, ResourceLimits=limits)
    tuning["TrainingJobDefinition"] |= {"CheckpointConfig": checkpoints, "Environment": environment}
    client("sagemaker").create_hyper_parameter_tuning_job(**tuning)
    until(lambda: printed(client, "patient", "start 1"))
    until(lambda: checkpointed(client, "patient"))
    until(lambda: trials_of(client, "search"))
    first = trials_of(client, "search")[0]["TrainingJobName"]
    server = next(pid for pid in aws.processes() if "--state-dir" in psutil.Process(pid).cmdline())
    os.kill(server, signal.SIGKILL)
    until(lambda: marked(state_dir) in ([], [server]))
    aws.stop()
    assert marked(state_dir) == []

    with LocalAws(state_dir) as again:
        client = connect(again)
        go.touch()
        trained = finished_training(client, "patient")
        assert trained["TrainingJobStatus"] == "Completed", trained.get("FailureReason")
        transitions = [transition["Status"] for transition in trained["SecondaryStatusTransitions"]]
        assert transitions[2:5] == ["Training", "Interrupted", "Starting"], transitions
        assert printed(client, "patient", "start 2")
        searched = finished_tuning(client, "search")
        assert searched["HyperParameterTuningJobStatus"] == "Completed", searched.get("FailureReason")
        assert searched["TrainingJobStatusCounters"]["Completed"] == 2
        assert first in [trial["TrainingJobName"] for trial in trials_of(client, "search")]
    assert marked(state_dir) == []
