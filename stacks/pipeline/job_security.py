"""The security of a job: the key of its volume and results, its network, and the source of its packages.

All of it is empty by default; `security.customer_keys` and `network.mode` set it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stacks.settings.instances import has_own_disk
from stacks.shared.assets import WHEELS
from stacks.shared.job_network import JobNetwork


@dataclass(frozen=True)
class JobSecurity:
    """Adds key and network to the requests of jobs."""

    data_key: str | None = None
    """ARN of the customer key."""
    network: JobNetwork | None = None

    def volume(self, instance_type: str) -> dict[str, str]:
        """The key of a volume; none where a local disk takes its place, for which SageMaker refuses one."""
        if self.data_key is None or has_own_disk(instance_type):
            return {}
        return {"VolumeKmsKeyId": self.data_key}

    def results(self) -> dict[str, str]:
        """The key of a job's output."""
        return {} if self.data_key is None else {"KmsKeyId": self.data_key}

    def of_training(self) -> dict[str, Any]:
        """The network of a training job. Its container is isolated and does not even reach S3: SageMaker downloads the
        inputs and uploads the outputs, outside the container."""
        if self.network is None:
            return {}
        return {"VpcConfig": self.network.vpc_config, "EnableNetworkIsolation": True}

    def of_processing(self) -> dict[str, Any]:
        """The network of a processing job. Ingest and Evaluate call AWS's APIs, so they cannot be isolated."""
        if self.network is None:
            return {}
        config = {
            "EnableInterContainerTrafficEncryption": True,
            "EnableNetworkIsolation": False,
            "VpcConfig": self.network.vpc_config,
        }
        return {"NetworkConfig": config}

    def packages(self, code: str) -> dict[str, str]:
        """In a network, lets pip take only the wheels that lie beside the code in this folder of the container."""
        return {} if self.network is None else {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"{code}/{WHEELS}"}
