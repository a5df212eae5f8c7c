"""What each role of GitHub Actions may do."""

from __future__ import annotations

from collections.abc import Iterator

from aws_cdk import ArnFormat, DefaultStackSynthesizer
from aws_cdk import aws_iam as iam

from stacks.names import pipeline_names
from stacks.shared.permissions import allow, log_group_arns, pipeline_arns, sagemaker_arn
from stacks.shared.stack import BinventoryStack
from stacks.storage.buckets import ASYNC_PREFIX, DATA_BUCKET, EXECUTIONS_PREFIX, MODEL_BUCKET

# Where cdk.json names another bootstrap than the default. The synthesizer does not tell which one it takes.
_QUALIFIER_CONTEXT = "@aws-cdk/core:bootstrapQualifier"
_LONGEST_BUCKET_NAME = 63
# `-`, eight letters that the CDK adds to the construct's id, `-`, and up to 13 letters of CloudFormation.
_ENDINGS = 1 + 8 + 1 + 13
# CloudFormation's documentation does not say how it shortens; seen are at least 24 letters of the stack's name, and 24
# of the logical id: https://github.com/convox/rack/issues/2297
_KEPT_OF_STACK = 24
JOB_KINDS = ("training-job", "processing-job", "hyper-parameter-tuning-job")


def diff_statements(stack: BinventoryStack) -> list[iam.PolicyStatement]:
    """Read what is deployed."""
    return [_assume_bootstrap_roles(stack, "lookup")]


def deploy_statements(stack: BinventoryStack) -> list[iam.PolicyStatement]:
    """Deploy and destroy, and count one photo: the smoke test after a deployment does."""
    prefix = stack.settings.prefix
    stacks = stack.format_arn(service="cloudformation", resource="stack", resource_name=f"{prefix}-*")
    return [
        _assume_bootstrap_roles(stack, "lookup", "deploy", "file-publishing", "image-publishing"),
        allow(["cloudformation:DescribeStacks"], [stacks]),
        *_count(stack),
    ]


def _count(stack: BinventoryStack) -> Iterator[iam.PolicyStatement]:
    """Call the endpoint. In mode async a photo goes through the data bucket, and so does its answer."""
    endpoint = sagemaker_arn(stack, "endpoint", stack.settings.prefix)
    if stack.settings.serving.mode != "async":
        yield allow(["sagemaker:DescribeEndpoint", "sagemaker:InvokeEndpoint"], [endpoint])
        return
    yield allow(["sagemaker:DescribeEndpoint", "sagemaker:InvokeEndpointAsync"], [endpoint])
    ours: dict[str, dict[str, object]] = {"StringEquals": {"aws:ResourceAccount": stack.account}}
    yield allow(["s3:PutObject"], [_objects(stack, DATA_BUCKET, f"{ASYNC_PREFIX}/input")], ours)
    answers = [_objects(stack, DATA_BUCKET, f"{ASYNC_PREFIX}/{folder}") for folder in ("output", "failures")]
    yield allow(["s3:GetObject"], answers, ours)
    # Without it S3 denies an answer that is not there yet, in place of saying so.
    listed: dict[str, dict[str, object]] = {"StringLike": {"s3:prefix": [f"{ASYNC_PREFIX}/*"]}}
    yield allow(["s3:ListBucket"], [_bucket(stack, DATA_BUCKET)], ours | listed)


def train_statements(stack: BinventoryStack) -> list[iam.PolicyStatement]:
    """Start the pipeline, follow its execution and read its results."""
    # Also the pipelines that continue an execution on demand, or the workflow could not follow it there.
    pipelines = pipeline_arns(
        stack, *pipeline_names(stack.settings.prefix, continuing=stack.settings.continues_on_demand)
    )
    # The launch screen shows what the pipeline's first step will find.
    fingerprint = stack.format_arn(
        service="lambda",
        resource="function",
        resource_name=f"{stack.settings.prefix}-fingerprint",
        arn_format=ArnFormat.COLON_RESOURCE_NAME,
    )
    return [
        allow(
            [
                "sagemaker:DescribePipeline",
                "sagemaker:StartPipelineExecution",
                "sagemaker:DescribePipelineExecution",
                "sagemaker:ListPipelineExecutions",
                "sagemaker:ListPipelineExecutionSteps",
                "sagemaker:ListPipelineParametersForExecution",
            ],
            pipelines,
        ),
        allow(["lambda:InvokeFunction"], [fingerprint]),
        allow(
            [
                "sagemaker:DescribeTrainingJob",
                "sagemaker:DescribeProcessingJob",
                "sagemaker:ListTrainingJobsForHyperParameterTuningJob",
            ],
            # SageMaker names what a pipeline starts `pipelines-<execution>-<step>-<random>`, cut for tuning.
            [sagemaker_arn(stack, kind, "*") for kind in JOB_KINDS],
        ),
        allow(
            ["logs:DescribeLogStreams", "logs:GetLogEvents"],
            log_group_arns(stack, *(f"/aws/sagemaker/{kind}" for kind in ("TrainingJobs", "ProcessingJobs"))),
        ),
        # The report shows the evaluation. It lacks how busy the machines were: metrics have no resource to name.
        _read_evaluations(stack),
    ]


def bootstrap_role_arn(stack: BinventoryStack, purpose: str) -> str:
    """A role of the bootstrap that the stacks are deployed with, by the qualifier in its name."""
    qualifier = stack.node.try_get_context(_QUALIFIER_CONTEXT) or DefaultStackSynthesizer.DEFAULT_QUALIFIER
    name = f"cdk-{qualifier}-{purpose}-role-{stack.account}-{stack.region}"
    return stack.format_arn(service="iam", region="", resource="role", resource_name=name)


def _read_evaluations(stack: BinventoryStack) -> iam.PolicyStatement:
    """Read results in the model bucket."""
    objects = _objects(stack, MODEL_BUCKET, EXECUTIONS_PREFIX)
    return allow(["s3:GetObject"], [objects], {"StringEquals": {"aws:ResourceAccount": stack.account}})


def _objects(stack: BinventoryStack, bucket: str, prefix: str) -> str:
    """ARN of the objects under a prefix of a bucket."""
    return f"{_bucket(stack, bucket)}/{prefix}/*"


def _bucket(stack: BinventoryStack, bucket: str) -> str:
    """ARN of a bucket by the fixed part of its name.

    This stack stays when the workflow destroys the others, and the bucket of the next deployment has another name.
    Where the whole name would be too long for S3, CloudFormation keeps only the beginning of the stack's.
    """
    storage, longest = stack.settings.stack_name("storage"), _LONGEST_BUCKET_NAME - _ENDINGS - len(bucket)
    name = storage if len(storage) <= longest else f"{storage[:_KEPT_OF_STACK]}*"
    return stack.format_arn(service="s3", region="", account="", resource=f"{name}-{bucket.lower()}*")


def _assume_bootstrap_roles(stack: BinventoryStack, *purposes: str) -> iam.PolicyStatement:
    return allow(["sts:AssumeRole"], [bootstrap_role_arn(stack, purpose) for purpose in purposes])
