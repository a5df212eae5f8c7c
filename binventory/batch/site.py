"""Where an environment's transform jobs run: role, machines and network, from the serving stack's outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from binventory import serving
from binventory.core.aws import Aws
from binventory.core.errors import Exit, Problem
from binventory.core.names import DEPLOYMENT_TAG, Names
from stacks.names import of_one_line


@dataclass(frozen=True)
class Site:
    """The settings of an environment's transform jobs."""

    names: Names
    role: str
    """ARN that the model acts as: it reads photos and writes answers."""
    output: str
    """`s3://bucket/prefix/` for manifests and answers."""
    instance_type: str
    instance_count: int
    readable: tuple[str, ...]
    """Prefixes whose photos the role may read."""
    package: str
    """ARN of the model package that counts."""
    digest: str = ""
    """Of the package's archive; the container refuses any other. Empty for a package without one."""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    key: str = ""
    """ARN of the customer's key for answers and volumes; "": AWS's own keys."""
    stack_tags: Mapping[str, str] = field(default_factory=dict)
    """Tags of the serving stack, with those that settings add."""

    @property
    def tags(self) -> dict[str, str]:
        """Tags of each job: those of the stack, which do not reach what SageMaker makes. The budget counts by one."""
        names = self.names
        own = {DEPLOYMENT_TAG: names.prefix, "environment": names.environment, "project": names.project}
        return dict(sorted({**self.stack_tags, **own}.items()))

    def require_readable(self, uri: str) -> None:
        """Raises a Problem for photos that the role may not read, before anything is started."""
        if any(uri.startswith(prefix) for prefix in self.readable):
            return
        raise Problem(
            f"Transform jobs of {self.names.prefix} may not read {uri}",
            f"their role reads {', '.join(self.readable)}",
            "add the prefix to batch.photos_uris in settings, and deploy the serving stack",
            code=Exit.NOT_READY,
        )


def find_site(aws: Aws, names: Names) -> Site:
    """The site of an environment, with the package its endpoint serves, else the newest approved one.

    Raises Problem when the stack is not deployed or no model has been approved.
    """
    outputs, stack_tags = serving.outputs_and_tags(aws, names)
    if "BatchRoleArn" not in outputs:
        raise Problem(
            f"The stack {names.serving_stack} knows no transform jobs",
            "it was deployed by an older version",
            f"deploy it again: {names.deploy}",
            code=Exit.NOT_READY,
        )
    endpoint = serving.endpoint_state(aws, names)
    # The stack keeps the package that it served last, which may have been rejected since the endpoint was turned off.
    package = endpoint.package if endpoint.switched_on else ""
    package = package or serving.latest_package(aws, names, status="Approved")
    return Site(
        names=names,
        role=outputs["BatchRoleArn"],
        output=outputs["BatchOutputUri"],
        instance_type=outputs["BatchInstanceType"],
        instance_count=int(outputs["BatchInstanceCount"]),
        readable=of_one_line(outputs["BatchPhotosUris"]),
        package=package,
        digest=serving.describe_package(aws, package).digest,
        subnets=tuple(outputs.get("BatchSubnetIds", "").split()),
        security_groups=tuple(outputs.get("BatchSecurityGroupIds", "").split()),
        key=outputs.get("BatchKeyArn", ""),
        stack_tags=stack_tags,
    )
