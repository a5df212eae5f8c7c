"""IAM statements, each for one purpose. Names that AWS chooses at run time are matched by their fixed part."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs

from stacks.shared.images import REGISTRY_ACCOUNT, REPOSITORY
from stacks.shared.job_network import JobNetwork

SAGEMAKER = "sagemaker.amazonaws.com"
DEPLOYMENT_TAG = "deployment"
"""Everything of an environment carries it, with the environment's prefix as its value."""


def sagemaker_principal(stack: Stack) -> iam.IPrincipal:
    """SageMaker, acting for this account and no other (against the confused deputy)."""
    return iam.ServicePrincipal(SAGEMAKER, conditions={"StringEquals": {"aws:SourceAccount": stack.account}})


def allow(
    actions: Sequence[str], resources: Sequence[str], conditions: dict[str, dict[str, object]] | None = None
) -> iam.PolicyStatement:
    """An Allow statement."""
    return iam.PolicyStatement(actions=list(actions), resources=list(resources), conditions=conditions)


def read_objects(bucket_arn: str, *prefixes: str) -> list[iam.PolicyStatement]:
    """Read the objects under the prefixes (all without any) and list them."""
    keys = [f"{prefix}/*" for prefix in prefixes] or ["*"]
    return [
        allow(["s3:GetObject"], [f"{bucket_arn}/{key}" for key in keys]),
        list_objects(bucket_arn, *prefixes),
    ]


def read_and_write_objects(bucket_arn: str, *prefixes: str) -> list[iam.PolicyStatement]:
    """Read, write and list the objects under the prefixes; never delete."""
    objects = [f"{bucket_arn}/{prefix}/*" for prefix in prefixes]
    return [
        allow(["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"], objects),
        list_objects(bucket_arn, *prefixes),
    ]


def list_objects(bucket_arn: str, *prefixes: str) -> iam.PolicyStatement:
    """List the objects under the prefixes, all without any."""
    if not prefixes:
        return allow(["s3:ListBucket"], [bucket_arn])
    patterns = [pattern for prefix in prefixes for pattern in (prefix, f"{prefix}/*")]
    return allow(["s3:ListBucket"], [bucket_arn], {"StringLike": {"s3:prefix": patterns}})


def pull_images(*repository_arns: str) -> list[iam.PolicyStatement]:
    """Pull from the given repositories."""
    return [
        allow(
            ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            repository_arns,
        ),
        # The token is the account's, so the service has no resource to name.
        allow(["ecr:GetAuthorizationToken"], ["*"]),
    ]


def pull_training_image(stack: Stack) -> list[iam.PolicyStatement]:
    """Pull AWS's training images, which lie in AWS's account."""
    repository = stack.format_arn(
        service="ecr", account=REGISTRY_ACCOUNT, resource="repository", resource_name=REPOSITORY
    )
    return pull_images(repository)


def write_job_logs(stack: Stack, kind: str) -> list[iam.PolicyStatement]:
    """Write the logs and metrics of `TrainingJobs` or `ProcessingJobs`: shared names that SageMaker prescribes."""
    group = f"/aws/sagemaker/{kind}"
    return [*write_logs(stack, group), put_metrics(group)]


def write_logs(stack: Stack, group: str) -> list[iam.PolicyStatement]:
    """Write to a log group of SageMaker's, which asks for it to be made even where a stack has made it."""
    return [
        allow(["logs:CreateLogGroup", "logs:DescribeLogStreams"], log_group_arns(stack, group)),
        allow(["logs:CreateLogStream", "logs:PutLogEvents"], [f"{log_group_arn(stack, group)}:log-stream:*"]),
    ]


def write_log_streams(log_group: logs.ILogGroup) -> iam.PolicyStatement:
    """Write to a log group that exists."""
    # By its name: CDK's `log_group_arn` ends in `:*`, and what is put behind that names nothing.
    arn = log_group_arn(Stack.of(log_group), log_group.log_group_name)
    return allow(["logs:CreateLogStream", "logs:PutLogEvents"], [f"{arn}:log-stream:*"])


def join_network(stack: Stack, network: JobNetwork | None) -> list[iam.PolicyStatement]:
    """Give a job's machines their interfaces in our subnets, with our security groups; nothing without a network."""
    if network is None:
        return []

    def arns(resource: str, *names: str) -> list[str]:
        return [stack.format_arn(service="ec2", resource=resource, resource_name=name) for name in names]

    interfaces = arns("network-interface", "*")  # their ids are only known when they exist
    places = [*arns("subnet", *network.subnet_ids), *arns("security-group", *network.security_group_ids)]
    kinds = ("DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs")
    return [
        allow(["ec2:CreateNetworkInterface"], [*interfaces, *places]),
        allow(
            [
                "ec2:CreateNetworkInterfacePermission",
                "ec2:DeleteNetworkInterface",
                "ec2:DeleteNetworkInterfacePermission",
            ],
            interfaces,
            # Not the interfaces of others: each is in a subnet, and these are ours.
            {"ArnEquals": {"ec2:Subnet": arns("subnet", *network.subnet_ids)}},
        ),
        # EC2 has no resource for what is only looked at.
        allow([f"ec2:Describe{kind}" for kind in kinds], ["*"]),
    ]


def put_metrics(*namespaces: str) -> iam.PolicyStatement:
    """Publish metrics: CloudWatch has no resource level here, but the namespace can be held."""
    return allow(["cloudwatch:PutMetricData"], ["*"], {"StringEquals": {"cloudwatch:namespace": list(namespaces)}})


def pass_roles(*role_arns: str) -> iam.PolicyStatement:
    """Hand these roles to SageMaker and to nothing else."""
    return allow(["iam:PassRole"], role_arns, {"StringEquals": {"iam:PassedToService": SAGEMAKER}})


def sagemaker_arn(stack: Stack, resource: str, name: str) -> str:
    """ARN of something of SageMaker's in the stack's account and region; both parts may end in a pattern."""
    return stack.format_arn(service="sagemaker", resource=resource, resource_name=name)


def step_job_arns(stack: Stack, kind: str, *steps: str) -> list[str]:
    """ARNs of the jobs that the pipelines' steps start: SageMaker names them after the execution and the step.

    Only the step is known beforehand, and SageMaker writes it in lower case into ARNs.
    """
    return [sagemaker_arn(stack, kind, f"*-{name}-*") for step in steps for name in (step, step.lower())]


def pipeline_arns(stack: Stack, *pipelines: str) -> list[str]:
    """ARNs of pipelines and of all their executions."""
    names = [name for pipeline in pipelines for name in (pipeline, f"{pipeline}/execution/*")]
    return [sagemaker_arn(stack, "pipeline", name) for name in names]


def stack_arn(stack: Stack, name: str) -> str:
    """ARN of a stack by its name, which may end in a pattern: the id behind it changes with every creation."""
    return stack.format_arn(service="cloudformation", resource="stack", resource_name=f"{name}/*")


def log_group_arn(stack: Stack, group: str) -> str:
    """ARN of a log group by its name, which need not be one of ours."""
    return stack.format_arn(
        service="logs", resource="log-group", resource_name=group, arn_format=ArnFormat.COLON_RESOURCE_NAME
    )


def log_group_arns(stack: Stack, *groups: str) -> list[str]:
    """Both forms in which CloudWatch Logs names a group when it asks for rights: with a stream behind it, or none."""
    return [f"{log_group_arn(stack, group)}{end}" for group in groups for end in ("", ":*")]


def change_stack(stack: Stack, stack_name: str) -> list[iam.PolicyStatement]:
    """Change the parameters of a stack, and read what came of it.

    CloudFormation acts with the role that deployed the stack, which cannot be swapped.
    """
    arn = stack_arn(stack, stack_name)
    reading = ("DescribeStackEvents", "DescribeStacks", "ListStackResources")
    return [
        allow([f"cloudformation:{action}" for action in reading], [arn]),
        allow(
            ["cloudformation:UpdateStack"],
            [arn],
            {"Null": {"cloudformation:RoleArn": "true", "cloudformation:TemplateUrl": "true"}},
        ),
    ]


def find_champion(stack: Stack, endpoint: str, group: str) -> list[iam.PolicyStatement]:
    """Find the model package that an endpoint serves, or the newest approved one of a group."""
    return [
        allow(["sagemaker:DescribeEndpoint"], [sagemaker_arn(stack, "endpoint", endpoint)]),
        _of_deployment(stack, endpoint, "Describe"),
        allow(
            ["sagemaker:DescribeModelPackage", "sagemaker:ListModelPackages"],
            [sagemaker_arn(stack, "model-package", f"{group}/*")],
        ),
    ]


def _of_deployment(stack: Stack, tag: str, verb: str) -> iam.PolicyStatement:
    """Do this with the models and endpoint configurations of a deployment. CloudFormation makes up their names."""
    return allow(
        [f"sagemaker:{verb}{kind}" for kind in ("EndpointConfig", "Model")],
        [sagemaker_arn(stack, kind, "*") for kind in ("endpoint-config", "model")],
        {"StringEquals": {f"aws:ResourceTag/{DEPLOYMENT_TAG}": tag}},
    )


def delete_replaced(stack: Stack, tag: str) -> list[iam.PolicyStatement]:
    """Delete the models and endpoint configurations of a deployment that its rollouts have replaced."""
    return [
        _of_deployment(stack, tag, "Delete"),
        # SageMaker has no resource level for listing them.
        allow(["sagemaker:ListEndpointConfigs", "sagemaker:ListModels"], ["*"]),
    ]


def stop_executions(stack: Stack, *pipelines: str) -> iam.PolicyStatement:
    """Find and stop what runs in these pipelines."""
    actions = ["sagemaker:ListPipelineExecutions", "sagemaker:StopPipelineExecution"]
    return allow(actions, pipeline_arns(stack, *pipelines))


def view_budget(stack: Stack, name: str) -> iam.PolicyStatement:
    """Read how much of a budget is spent."""
    return allow(
        ["budgets:ViewBudget"], [stack.format_arn(service="budgets", region="", resource="budget", resource_name=name)]
    )
