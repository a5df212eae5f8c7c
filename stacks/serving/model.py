"""The served model."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker

from stacks.serving.generated_names import logical_id
from stacks.shared.job_network import JobNetwork
from stacks.shared.stack import BinventoryStack
from stacks.vocabulary import CLASSES


@dataclass(frozen=True)
class ServedPackage:
    """A model package and what it must hold; both may be tokens."""

    arn: str
    digest: str
    """Of its archive; empty for any."""


def served_model(
    stack: BinventoryStack, *, role: iam.IRole, served: ServedPackage, endpoint_name: str, network: JobNetwork | None
) -> sagemaker.CfnModel:
    """The SageMaker model of a model package.

    The container reads package, digest, endpoint and classes from its environment.
    """
    return sagemaker.CfnModel(
        stack,
        logical_id(stack.settings.prefix, "model"),
        execution_role_arn=role.role_arn,
        # The container needs no network: requests carry photos, not addresses. SageMaker does not isolate serverless
        # endpoints; their container makes no calls either, and its role can read model artefacts only.
        enable_network_isolation=stack.settings.serving.mode != "serverless",
        vpc_config=_vpc_config(network),
        containers=[
            sagemaker.CfnModel.ContainerDefinitionProperty(
                model_package_name=served.arn,
                # The container names package and endpoint in its answers and metrics.
                environment={
                    "MODEL_PACKAGE_ARN": served.arn,
                    # The container refuses any other archive, so what was approved is what serves.
                    "BINVENTORY_MODEL_DIGEST": served.digest,
                    "BINVENTORY_ENDPOINT": endpoint_name,
                    # The container refuses a model with other classes, so callers never get one.
                    "BINVENTORY_CLASSES": ",".join(map(str, CLASSES)),
                },
            )
        ],
    )


def _vpc_config(network: JobNetwork | None) -> sagemaker.CfnModel.VpcConfigProperty | None:
    if network is None:
        return None
    return sagemaker.CfnModel.VpcConfigProperty(
        subnets=list(network.subnet_ids), security_group_ids=list(network.security_group_ids)
    )
