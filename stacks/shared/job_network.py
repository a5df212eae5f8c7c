"""The network that jobs and the endpoint run in."""

from __future__ import annotations

from dataclasses import dataclass

from stacks.settings.network import NetworkSettings


@dataclass(frozen=True)
class JobNetwork:
    """Ids of the subnets and security groups; they may be CDK tokens."""

    subnet_ids: tuple[str, ...]
    security_group_ids: tuple[str, ...]

    @property
    def vpc_config(self) -> dict[str, list[str]]:
        """The VpcConfig of SageMaker's requests."""
        return {"SecurityGroupIds": list(self.security_group_ids), "Subnets": list(self.subnet_ids)}


def existing_network(given: NetworkSettings) -> JobNetwork | None:
    """The existing network that the settings name, if they name one."""
    return JobNetwork(given.subnet_ids, given.security_group_ids) if given.mode == "existing" else None
