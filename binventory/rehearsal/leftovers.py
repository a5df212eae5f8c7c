"""Proof that nothing is left: everything that could bill or run, listed, in the account and on this machine."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

from binventory.aws import Aws

_JOBS_RUNNING = {"InProgress", "Stopping"}


@dataclass(frozen=True)
class Leftovers:
    """What was found of each kind. `checked` says what was looked at, so that an empty list means something."""

    found: dict[str, tuple[str, ...]]

    @property
    def none(self) -> bool:
        """Whether nothing is left."""
        return not any(self.found.values())

    @property
    def checked(self) -> str:
        """The kinds that were looked at."""
        return ", ".join(self.found)

    def __str__(self) -> str:
        return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in self.found.items() if names) or "nothing"


def in_account(aws: Aws) -> Leftovers:
    """Everything of ours that the account still holds."""
    sagemaker, events = aws.client("sagemaker"), aws.client("events")
    stacks = aws.client("cloudformation").list_stacks()["StackSummaries"]
    found = {
        "stacks": [item["StackName"] for item in stacks if item["StackStatus"] != "DELETE_COMPLETE"],
        "buckets": [item["Name"] for item in aws.client("s3").list_buckets()["Buckets"]],
        "pipelines": [item["PipelineName"] for item in sagemaker.list_pipelines()["PipelineSummaries"]],
        "endpoints": [item["EndpointName"] for item in sagemaker.list_endpoints()["Endpoints"]],
        "endpoint configs": [
            item["EndpointConfigName"] for item in sagemaker.list_endpoint_configs()["EndpointConfigs"]
        ],
        "models": [item["ModelName"] for item in sagemaker.list_models()["Models"]],
        "model package groups": [
            item["ModelPackageGroupName"]
            for item in sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]
        ],
        "running jobs": [
            *(
                item["TrainingJobName"]
                for item in sagemaker.list_training_jobs()["TrainingJobSummaries"]
                if item["TrainingJobStatus"] in _JOBS_RUNNING
            ),
            *(
                item["ProcessingJobName"]
                for item in sagemaker.list_processing_jobs()["ProcessingJobSummaries"]
                if item["ProcessingJobStatus"] in _JOBS_RUNNING
            ),
            *(
                item["TransformJobName"]
                for item in sagemaker.list_transform_jobs()["TransformJobSummaries"]
                if item["TransformJobStatus"] in _JOBS_RUNNING
            ),
            *(
                item["HyperParameterTuningJobName"]
                for item in sagemaker.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"]
                if item["HyperParameterTuningJobStatus"] in _JOBS_RUNNING
            ),
        ],
        "functions": [item["FunctionName"] for item in aws.client("lambda").list_functions()["Functions"]],
        "event rules": [item["Name"] for item in events.list_rules()["Rules"]],
        "roles": [
            item["RoleName"]
            for item in aws.client("iam").list_roles()["Roles"]
            if not item["Path"].startswith("/aws-service-role/")
        ],
        "image repositories": [
            item["repositoryName"] for item in aws.client("ecr").describe_repositories()["repositories"]
        ],
        "alarms": [item["AlarmName"] for item in aws.client("cloudwatch").describe_alarms()["MetricAlarms"]],
    }
    return Leftovers({kind: tuple(names) for kind, names in found.items()})


def on_machine(state_dir: Path, port: int) -> Leftovers:
    """Processes that belong to the local AWS in `state_dir`, and whether anything listens on its port."""
    processes = [
        f"{process.pid} {' '.join(process.info['cmdline'] or ())[:80]}"
        for process in psutil.process_iter(["cmdline", "environ"])
        if _belongs(process, str(state_dir.resolve()))
    ]
    with socket.socket() as probe:
        probe.settimeout(1)
        open_port = (str(port),) if probe.connect_ex(("127.0.0.1", port)) == 0 else ()
    return Leftovers({"processes": tuple(processes), "ports": open_port})


def _belongs(process: psutil.Process, state_dir: str) -> bool:
    """Whether a process of ours runs in the state directory; the rehearsal itself, which only names it, does not."""
    if process.pid in {psutil.Process().pid, *(parent.pid for parent in psutil.Process().parents())}:
        return False
    environment = process.info["environ"] or {}
    return any(value.startswith(state_dir) for value in environment.values()) or any(
        argument.startswith(state_dir) for argument in process.info["cmdline"] or ()
    )
