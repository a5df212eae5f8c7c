"""What GitHub Actions may do here: one role an intent, taken on by a short-lived token and never by a key."""

from __future__ import annotations

from aws_cdk import Arn, ArnComponents, ArnFormat, CfnOutput, Duration
from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.pipeline.names import pipeline_names
from stacks.settings import Settings
from stacks.shared.permissions import allow, log_group_arns, pipeline_arns, sagemaker_arn
from stacks.shared.stack import BinventoryStack
from stacks.storage.buckets import EXECUTIONS_PREFIX
from stacks.storage.stack import StorageStack

ISSUER = "token.actions.githubusercontent.com"
AUDIENCE = "sts.amazonaws.com"
# Qualifier of the roles that `cdk bootstrap` makes.
BOOTSTRAP_QUALIFIER = "hnb659fds"
JOB_KINDS = ("training-job", "processing-job", "hyper-parameter-tuning-job")


class GithubStack(BinventoryStack):
    """The identity provider and the three roles: diff looks, deploy changes, train starts the pipeline.

    Each role trusts one repository, and in it only the tokens of its own intent: pull requests can look,
    only jobs behind this environment's approval can deploy, only the main branch can train.
    """

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings, storage: StorageStack) -> None:
        super().__init__(scope, construct_id, settings=settings, role="github", purpose="roles for GitHub Actions")
        self.github = settings.github
        self._provider_arn = self._provider()
        self._diff_role()
        self._deploy_role()
        self._train_role(storage)

    def _provider(self) -> str:
        if self.github.provider != "create":
            return self.github.provider
        provider = iam.CfnOIDCProvider(self, "Provider", url=f"https://{ISSUER}", client_id_list=[AUDIENCE])
        return provider.attr_arn

    def _diff_role(self) -> None:
        claims = ["pull_request", f"ref:refs/heads/{self.github.branch}"]
        role = self._role("diff", "Reads what is deployed and changes nothing", claims=claims)
        role.add_to_policy(self._assume_bootstrap_roles("lookup"))

    def _deploy_role(self) -> None:
        claims = [f"environment:{self.settings.environment}"]
        role = self._role("deploy", "Deploys and destroys the stacks of this environment", claims=claims)
        role.add_to_policy(self._assume_bootstrap_roles("lookup", "deploy", "file-publishing", "image-publishing"))
        role.add_to_policy(self._describe_stacks())
        # The smoke test after a deployment counts one photo.
        role.add_to_policy(
            allow(
                ["sagemaker:DescribeEndpoint", "sagemaker:InvokeEndpoint"],
                [sagemaker_arn(self, "endpoint", self.settings.prefix)],
            )
        )

    def _train_role(self, storage: StorageStack) -> None:
        role = self._role(
            "train",
            "Starts the pipeline and reads its results",
            claims=[f"ref:refs/heads/{self.github.branch}"],
            # A pipeline outlives the default hour; GitHub ends a job after six.
            duration=Duration.hours(6),
        )
        # Those too that an execution goes on in when spot gives it up, or the workflow could not follow it there.
        pipelines = pipeline_arns(self, *pipeline_names(self.settings))
        role.add_to_policy(
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
            )
        )
        # What the pipeline's first step will find, for the launch screen.
        fingerprint = self.format_arn(
            service="lambda",
            resource="function",
            resource_name=f"{self.settings.prefix}-fingerprint",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        role.add_to_policy(allow(["lambda:InvokeFunction"], [fingerprint]))
        role.add_to_policy(
            allow(
                [
                    "sagemaker:DescribeTrainingJob",
                    "sagemaker:DescribeProcessingJob",
                    "sagemaker:ListTrainingJobsForHyperParameterTuningJob",
                ],
                # SageMaker names what a pipeline starts `pipelines-<execution>-<step>-<random>`, cut for tuning.
                [sagemaker_arn(self, kind, "*") for kind in JOB_KINDS],
            )
        )
        role.add_to_policy(
            allow(
                ["logs:DescribeLogStreams", "logs:GetLogEvents"],
                log_group_arns(self, *(f"/aws/sagemaker/{kind}" for kind in ("TrainingJobs", "ProcessingJobs"))),
            )
        )
        # The evaluation that its report shows. How busy the machines were it cannot say: metrics have no resource.
        role.add_to_policy(allow(["s3:GetObject"], [storage.model_bucket.arn_for_objects(f"{EXECUTIONS_PREFIX}/*")]))

    def _role(self, intent: str, description: str, *, claims: list[str], duration: Duration | None = None) -> iam.Role:
        subjects = [subject for claim in claims for subject in self.github.subjects(claim)]
        role = iam.Role(
            self,
            f"{intent.capitalize()}Role",
            role_name=f"{self.settings.prefix}-github-{intent}",
            description=f"{description}, for workflows of {self.github.repository}",
            max_session_duration=duration,
            assumed_by=iam.WebIdentityPrincipal(
                self._provider_arn,
                # Whole subjects, never patterns: `repo:owner/name:*` would hand every branch and fork the role.
                conditions={"StringEquals": {f"{ISSUER}:aud": AUDIENCE, f"{ISSUER}:sub": subjects}},
            ),
        )
        CfnOutput(self, f"{intent.capitalize()}RoleArn", value=role.role_arn)
        return role

    def _assume_bootstrap_roles(self, *purposes: str) -> iam.PolicyStatement:
        return allow(
            ["sts:AssumeRole"],
            [
                Arn.format(
                    ArnComponents(
                        service="iam",
                        region="",
                        resource="role",
                        resource_name=f"cdk-{BOOTSTRAP_QUALIFIER}-{purpose}-role-{self.account}-{self.region}",
                    ),
                    self,
                )
                for purpose in purposes
            ],
        )

    def _describe_stacks(self) -> iam.PolicyStatement:
        stacks = self.format_arn(service="cloudformation", resource="stack", resource_name=f"{self.settings.prefix}-*")
        return allow(["cloudformation:DescribeStacks"], [stacks])
