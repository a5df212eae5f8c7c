"""IAM statements, each for one purpose. A name that AWS chooses at run time is matched by its fixed part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aws_cdk import ArnFormat, Aws, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from stacks.names import SERVING_RESOURCE_TYPES
from stacks.shared.images import REGISTRY_ACCOUNT, REPOSITORY
from stacks.shared.job_network import JobNetwork

CLOUDFORMATION = "cloudformation.amazonaws.com"
SAGEMAKER = "sagemaker.amazonaws.com"
DEPLOYMENT_TAG = "deployment"
"""Every resource that bills carries this tag, with `Settings.prefix` as its value."""


def sagemaker_principal(stack: Stack) -> iam.IPrincipal:
    """SageMaker when it acts for this account: the condition prevents the confused deputy."""
    return iam.ServicePrincipal(SAGEMAKER, conditions={"StringEquals": {"aws:SourceAccount": stack.account}})


def sagemaker_role(
    scope: Construct, name: str, *, prefix: str, purpose: str, statements: Iterable[iam.PolicyStatement]
) -> iam.Role:
    """A role that SageMaker assumes for this account, and its policy."""
    role = iam.Role(scope, name, assumed_by=sagemaker_principal(Stack.of(scope)), description=f"{prefix}: {purpose}")
    iam.Policy(scope, f"{name}Policy", roles=[role], statements=list(statements))
    return role


def allow(
    actions: Sequence[str], resources: Sequence[str], conditions: dict[str, dict[str, object]] | None = None
) -> iam.PolicyStatement:
    """An Allow statement."""
    return iam.PolicyStatement(actions=list(actions), resources=list(resources), conditions=conditions)


def bucket_arn_and_key(uri: str) -> tuple[str, str]:
    """ARN of the bucket, and key or prefix, of an s3:// address."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return f"arn:{Aws.PARTITION}:s3:::{bucket}", key


def read_objects(bucket_arn: str, *prefixes: str) -> list[iam.PolicyStatement]:
    """Read and list the objects under the prefixes; without prefixes, those of the whole bucket."""
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


def write_objects(bucket_arn: str, *prefixes: str) -> iam.PolicyStatement:
    """Write the objects under the prefixes, each of which may hold a pattern; never delete."""
    objects = [f"{bucket_arn}/{prefix}/*" for prefix in prefixes]
    return allow(["s3:PutObject", "s3:AbortMultipartUpload"], objects)


def list_objects(bucket_arn: str, *prefixes: str) -> iam.PolicyStatement:
    """List the objects under the prefixes; without prefixes, those of the whole bucket."""
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
        # The token is for the whole account: IAM knows no resource for this action.
        allow(["ecr:GetAuthorizationToken"], ["*"]),
    ]


def pull_training_image(stack: Stack) -> list[iam.PolicyStatement]:
    """Pull AWS's training images from AWS's account."""
    repository = stack.format_arn(
        service="ecr", account=REGISTRY_ACCOUNT, resource="repository", resource_name=REPOSITORY
    )
    return pull_images(repository)


def write_job_logs(stack: Stack, kind: str) -> list[iam.PolicyStatement]:
    """Write the logs and metrics of `TrainingJobs`, `ProcessingJobs` or `TransformJobs`, as SageMaker calls them."""
    group = f"/aws/sagemaker/{kind}"
    return [*write_logs(stack, group), put_metrics(group)]


def write_logs(stack: Stack, group: str) -> list[iam.PolicyStatement]:
    """Write to a log group of SageMaker, which calls CreateLogGroup even if the group exists."""
    return [
        allow(["logs:CreateLogGroup", "logs:DescribeLogStreams"], log_group_arns(stack, group)),
        allow(["logs:CreateLogStream", "logs:PutLogEvents"], [f"{log_group_arn(stack, group)}:log-stream:*"]),
    ]


def write_log_streams(log_group: logs.ILogGroup) -> iam.PolicyStatement:
    """Write to a log group that exists."""
    # Built from the name: the CDK's `log_group_arn` ends in `:*`, so appending a stream would match nothing.
    arn = log_group_arn(Stack.of(log_group), log_group.log_group_name)
    return allow(["logs:CreateLogStream", "logs:PutLogEvents"], [f"{arn}:log-stream:*"])


def join_network(stack: Stack, network: JobNetwork | None) -> list[iam.PolicyStatement]:
    """Create the network interfaces of a job's machines in these subnets; empty without a network."""
    if network is None:
        return []

    def arns(resource: str, *names: str) -> list[str]:
        return [stack.format_arn(service="ec2", resource=resource, resource_name=name) for name in names]

    interfaces = arns("network-interface", "*")  # EC2 chooses the ids
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
            # Only interfaces in these subnets: the account may have others.
            {"ArnEquals": {"ec2:Subnet": arns("subnet", *network.subnet_ids)}},
        ),
        # EC2 knows no resource for Describe actions.
        allow([f"ec2:Describe{kind}" for kind in kinds], ["*"]),
    ]


def use_key(key_arn: str | None) -> list[iam.PolicyStatement]:
    """Encrypt what a job writes and the volumes of its machines; empty without a key.

    As SageMaker's page on execution roles lists. To decrypt, S3 asks for the caller: no role may do it itself.
    """
    if key_arn is None:
        return []
    return [
        allow(["kms:DescribeKey", "kms:Encrypt"], [key_arn]),
        allow(["kms:CreateGrant"], [key_arn], {"Bool": {"kms:GrantIsForAWSResource": "true"}}),
    ]


def put_metrics(*namespaces: str) -> iam.PolicyStatement:
    """Publish metrics in these namespaces. CloudWatch knows no resource for it, but a condition on the namespace."""
    return allow(["cloudwatch:PutMetricData"], ["*"], {"StringEquals": {"cloudwatch:namespace": list(namespaces)}})


def pass_roles(*role_arns: str, to: str = SAGEMAKER) -> iam.PolicyStatement:
    """Pass these roles to one service, SageMaker unless another is named, and to no other."""
    return allow(["iam:PassRole"], role_arns, {"StringEquals": {"iam:PassedToService": to}})


def sagemaker_arn(stack: Stack, resource: str, name: str) -> str:
    """ARN of a SageMaker resource in the stack's account and region; the name may hold a pattern."""
    return stack.format_arn(service="sagemaker", resource=resource, resource_name=name)


def step_job_arns(stack: Stack, kind: str, *steps: str) -> list[str]:
    """ARNs of the jobs that steps of the pipelines start.

    SageMaker names a job after execution and step. Only the step is known at synthesis; ARNs may have it in lower case.
    """
    return [sagemaker_arn(stack, kind, f"*-{name}-*") for step in steps for name in (step, step.lower())]


def pipeline_arns(stack: Stack, *pipelines: str) -> list[str]:
    """ARNs of pipelines and of all their executions."""
    names = [name for pipeline in pipelines for name in (pipeline, f"{pipeline}/execution/*")]
    return [sagemaker_arn(stack, "pipeline", name) for name in names]


def stack_arn(stack: Stack, name: str) -> str:
    """ARN of a stack by its name. The id behind the name changes with every creation, so it is a pattern."""
    return stack.format_arn(service="cloudformation", resource="stack", resource_name=f"{name}/*")


def log_group_arn(stack: Stack, group: str) -> str:
    """ARN of a log group by its name; the group need not belong to these stacks."""
    return stack.format_arn(
        service="logs", resource="log-group", resource_name=group, arn_format=ArnFormat.COLON_RESOURCE_NAME
    )


def log_group_arns(stack: Stack, *groups: str) -> list[str]:
    """Both forms of a group's ARN that CloudWatch Logs checks: plain, and with `:*` for its streams."""
    return [f"{log_group_arn(stack, group)}{end}" for group in groups for end in ("", ":*")]


def alarm_arn(stack: Stack, name: str) -> str:
    """ARN of an alarm in the stack's account and region; the name may hold a pattern."""
    return stack.format_arn(
        service="cloudwatch", resource="alarm", resource_name=name, arn_format=ArnFormat.COLON_RESOURCE_NAME
    )


def change_stack(stack: Stack, stack_name: str, role_arn: str) -> list[iam.PolicyStatement]:
    """Change the parameters of a stack, and read the result.

    The request must name `role_arn`, the only role that may be passed: without it CloudFormation would act with the
    role that deployed the stack, which by default may do everything. It may name no template in S3. A template can
    come with the request too, for which IAM knows no condition. So the request must name resource types, and may name
    those of the serving stack only: CloudFormation refuses a template with others, and the role's rights refuse what
    the serving stack would not have.
    """
    arn = stack_arn(stack, stack_name)
    reading = ("DescribeStackEvents", "DescribeStacks", "ListStackResources")
    return [
        allow([f"cloudformation:{action}" for action in reading], [arn]),
        allow(
            ["cloudformation:UpdateStack"],
            [arn],
            {
                "Null": {"cloudformation:ResourceTypes": "false", "cloudformation:TemplateUrl": "true"},
                "ForAllValues:StringEquals": {"cloudformation:ResourceTypes": list(SERVING_RESOURCE_TYPES)},
                "ArnEquals": {"cloudformation:RoleArn": role_arn},
            },
        ),
        pass_roles(role_arn, to=CLOUDFORMATION),
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
    """Describe or delete models and endpoint configurations with this tag: CloudFormation chooses their names."""
    return allow(
        [f"sagemaker:{verb}{kind}" for kind in ("EndpointConfig", "Model")],
        [sagemaker_arn(stack, kind, "*") for kind in ("endpoint-config", "model")],
        {"StringEquals": {f"aws:ResourceTag/{DEPLOYMENT_TAG}": tag}},
    )


def delete_replaced(stack: Stack, tag: str) -> list[iam.PolicyStatement]:
    """List and delete the models and endpoint configurations that rollouts of a deployment have replaced."""
    return [
        _of_deployment(stack, tag, "Delete"),
        # SageMaker knows no resource for List actions.
        allow(["sagemaker:ListEndpointConfigs", "sagemaker:ListModels"], ["*"]),
    ]


def stop_executions(stack: Stack, *pipelines: str) -> iam.PolicyStatement:
    """Find and stop running executions of these pipelines."""
    actions = ["sagemaker:ListPipelineExecutions", "sagemaker:StopPipelineExecution"]
    return allow(actions, pipeline_arns(stack, *pipelines))


def view_budget(stack: Stack, name: str) -> iam.PolicyStatement:
    """Read how much of a budget is spent."""
    return allow(
        ["budgets:ViewBudget"], [stack.format_arn(service="budgets", region="", resource="budget", resource_name=name)]
    )
