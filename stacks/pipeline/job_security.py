"""What is around a job: the key of its volume and results, its network, and where its packages come from.

Everything here is empty by default; `security.customer_keys` and `network.mode` fill it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stacks.settings.instances import Processor, processor_of
from stacks.shared.assets import WHEELS
from stacks.shared.job_network import JobNetwork


@dataclass(frozen=True)
class JobSecurity:
    """Members that the jobs' requests get on top."""

    data_key: str | None = None
    """ARN of the customer key."""
    network: JobNetwork | None = None

    def volume(self, instance_type: str) -> dict[str, str]:
        """The key of a volume. GPU types have disks of their own, which their hardware encrypts; SageMaker takes no
        key for those."""
        if self.data_key is None or processor_of(instance_type) is Processor.GPU:
            return {}
        return {"VolumeKmsKeyId": self.data_key}

    def results(self) -> dict[str, str]:
        """The key of what a job writes."""
        return {} if self.data_key is None else {"KmsKeyId": self.data_key}

    def of_training(self) -> dict[str, Any]:
        """The network of a training job. Its container then reaches nothing, S3 included: SageMaker brings and fetches
        everything, from outside the container."""
        if self.network is None:
            return {}
        return {"VpcConfig": self.network.vpc_config, "EnableNetworkIsolation": True}

    def of_processing(self) -> dict[str, Any]:
        """The network of a processing job. Both read by AWS's APIs, so neither can be isolated from its network."""
        if self.network is None:
            return {}
        config = {
            "EnableInterContainerTrafficEncryption": True,
            "EnableNetworkIsolation": False,
            "VpcConfig": self.network.vpc_config,
        }
        return {"NetworkConfig": config}

    def packages(self, code: str) -> dict[str, str]:
        """Has pip take packages from the wheels beside the code in this folder of the container, and only there."""
        return {} if self.network is None else {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"{code}/{WHEELS}"}
