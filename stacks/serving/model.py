"""The served model, and the role that its container runs with."""

from __future__ import annotations

from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker

from stacks.serving.asynchronous import AsyncEndpoint
from stacks.shared import permissions
from stacks.shared.job_network import JobNetwork
from stacks.shared.stack import BinventoryStack
from stacks.storage.buckets import CAPTURE_PREFIX, EXECUTIONS_PREFIX
from stacks.storage.stack import StorageStack
from stacks.vocabulary import CLASSES


def endpoint_role(
    stack: BinventoryStack,
    *,
    storage: StorageStack,
    image_repository: ecr.IRepository,
    log_group: str,
    network: JobNetwork | None,
    queue: AsyncEndpoint | None,
) -> tuple[iam.Role, iam.Policy]:
    """The role that loads the model and serves it, and its policy."""
    role = iam.Role(
        stack,
        "Role",
        assumed_by=permissions.sagemaker_principal(stack),
        description=f"{stack.settings.prefix}: loads the model and serves it",
    )
    statements = [
        *permissions.read_objects(storage.model_bucket.bucket_arn, EXECUTIONS_PREFIX),
        *permissions.pull_images(image_repository.repository_arn),
        *permissions.join_network(stack, network),
        *permissions.use_key(storage.keys.data.key_arn if storage.keys else None),
        *permissions.write_logs(stack, log_group),
        permissions.put_metrics("/aws/sagemaker/Endpoints", "AWS/SageMaker"),
    ]
    if stack.settings.serving.data_capture_percent:
        statements.append(
            permissions.allow(["s3:PutObject"], [storage.data_bucket.arn_for_objects(f"{CAPTURE_PREFIX}/*")])
        )
    if queue:
        statements += queue.statements()
    policy = iam.Policy(stack, "Policy", roles=[role], statements=statements)
    return role, policy


def served_model(
    stack: BinventoryStack, *, role: iam.Role, package: str, endpoint_name: str, network: JobNetwork | None
) -> sagemaker.CfnModel:
    """The SageMaker model of a model package, which may be a token.

    The container reads package, endpoint and classes from its environment.
    """
    return sagemaker.CfnModel(
        stack,
        "Model",
        execution_role_arn=role.role_arn,
        # The container needs no network: requests carry photos, not addresses. SageMaker does not isolate serverless
        # endpoints; their container makes no calls either, and its role can read model artefacts only.
        enable_network_isolation=stack.settings.serving.mode != "serverless",
        vpc_config=_vpc_config(network),
        containers=[
            sagemaker.CfnModel.ContainerDefinitionProperty(
                model_package_name=package,
                # The container names package and endpoint in its answers and metrics.
                environment={
                    "MODEL_PACKAGE_ARN": package,
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
