"""The container contract of a training job: the files in each machine's `/opt/ml`, and how it starts."""

from __future__ import annotations

from pathlib import Path

from local_aws.core.protocol import Document
from local_aws.images import toolkit
from local_aws.images.container import ContainerSpec, rebase_inside
from local_aws.images.toolkit import MASTER_ADDRESS, MASTER_PORT
from local_aws.jobs.channels import DataSource, Downloader
from local_aws.jobs.machine import NETWORK_INTERFACE, JobMachine

TOOLKIT = Path(toolkit.__file__)
_TRAINING_MODULE = "sagemaker_pytorch_container.training:main"
_GROUP = "homogeneousCluster"


def instance_count(job: Document) -> int:
    """The number of machines in a training job's request."""
    groups = job["ResourceConfig"].get("InstanceGroups")
    return sum(group["InstanceCount"] for group in groups) if groups else int(job["ResourceConfig"]["InstanceCount"])


def write_configuration(job: Document, machine: JobMachine, machines: list[JobMachine]) -> None:
    """Make the folders and write hyperparameters.json, resourceconfig.json and inputdataconfig.json."""
    for folder in ("input/data", "model", "output/data", "code", "checkpoints"):
        (machine.root / folder).mkdir(parents=True, exist_ok=True)
    parameters = job.get("HyperParameters", {})
    machine.write_config(
        "input/config/hyperparameters.json",
        {name: rebase_inside(text, machine.root) for name, text in parameters.items()},
    )
    machine.write_config("input/config/resourceconfig.json", _resource_config(job, machine, machines))
    machine.write_config(
        "input/config/inputdataconfig.json",
        {channel["ChannelName"]: _channel_config(job, channel) for channel in job.get("InputDataConfig", [])},
    )


def _resource_config(job: Document, machine: JobMachine, machines: list[JobMachine]) -> Document:
    names = [other.name for other in machines]
    resources = job["ResourceConfig"]
    groups = resources.get("InstanceGroups") or [
        {
            "InstanceGroupName": _GROUP,
            "InstanceType": resources["InstanceType"],
            "InstanceCount": resources["InstanceCount"],
        }
    ]
    described: list[Document] = []
    for group in groups:
        start = sum(len(other["hosts"]) for other in described)
        hosts = names[start : start + group["InstanceCount"]]
        described.append(
            {
                "instance_group_name": group["InstanceGroupName"],
                "instance_type": group["InstanceType"],
                "hosts": hosts,
            }
        )
    group = next(item for item in described if machine.name in item["hosts"])
    return {
        "current_host": machine.name,
        "current_instance_type": group["instance_type"],
        "current_group_name": group["instance_group_name"],
        "hosts": names,
        "instance_groups": described,
        "network_interface_name": NETWORK_INTERFACE,
    }


def _channel_config(job: Document, channel: Document) -> Document:
    source = channel["DataSource"].get("S3DataSource", {})
    config = {
        "TrainingInputMode": channel.get("InputMode", job["AlgorithmSpecification"]["TrainingInputMode"]),
        "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
        "RecordWrapperType": channel.get("RecordWrapperType", "None"),
    }
    if "ContentType" in channel:
        config["ContentType"] = channel["ContentType"]
    return config


def download_channels(job: Document, machine: JobMachine, count: int, downloader: Downloader) -> None:
    """Download every channel of a machine; raises `DataError`.

    FastFile channels are downloaded like File channels: a job sees the same files.
    """
    for channel in job.get("InputDataConfig", []):
        source = channel["DataSource"]["S3DataSource"]
        downloader.fetch(
            DataSource(source["S3Uri"], source["S3DataType"], source.get("S3DataDistributionType") == "ShardedByS3Key"),
            machine.root / "input" / "data" / channel["ChannelName"],
            role=job["RoleArn"],
            machine=machine.index,
            machines=count,
        )


def container_spec(
    job: Document, machine: JobMachine, *, threads: int, master_port: int, environment: dict[str, str]
) -> ContainerSpec:
    """How the job starts on one machine: by its entry point, or in script mode by AWS's toolkit.

    Args:
        job: the stored training job.
        machine: the machine.
        threads: the machine's share of processors.
        master_port: a free port for the first machine's rendezvous.
        environment: variables with which the job reaches the local AWS.
    """
    algorithm = job["AlgorithmSpecification"]
    given = {name: rebase_inside(text, machine.root) for name, text in job.get("Environment", {}).items()}
    variables = {
        **environment,
        "TRAINING_JOB_NAME": job["TrainingJobName"],
        "TRAINING_JOB_ARN": job["TrainingJobArn"],
        "SAGEMAKER_TRAINING_MODULE": _TRAINING_MODULE,
        MASTER_ADDRESS: "127.0.0.1",
        MASTER_PORT: str(master_port),
        **given,
    }
    entrypoint = algorithm.get("ContainerEntrypoint")
    command = (
        [rebase_inside(part, machine.root) for part in [*entrypoint, *algorithm.get("ContainerArguments", [])]]
        if entrypoint
        else [str(machine.executables / "python"), str(TOOLKIT)]
    )
    return ContainerSpec(command, machine.environment(variables, threads), machine.root, machine.root)
