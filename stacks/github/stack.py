"""Roles for GitHub Actions: one for each purpose, assumed with a short-lived token instead of keys."""

from __future__ import annotations

from aws_cdk import CfnOutput, Duration
from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.github.permissions import bootstrap_role_arn, deploy_statements, diff_statements, train_statements
from stacks.settings import Settings
from stacks.shared.stack import BinventoryStack

ISSUER = "token.actions.githubusercontent.com"
AUDIENCE = "sts.amazonaws.com"


class GithubStack(BinventoryStack):
    """The identity provider and three roles: diff reads, deploy changes, train starts the pipeline.

    Each role trusts tokens of one repository and one purpose: pull requests read, jobs with this environment's
    approval deploy, the main branch trains.
    """

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings) -> None:
        super().__init__(scope, construct_id, settings=settings, role="github", purpose="roles for GitHub Actions")
        self.github = settings.github
        self._provider_arn = self._provider()
        branch = f"ref:refs/heads/{self.github.branch}"
        self._role(
            "diff",
            "Reads what is deployed and changes nothing",
            claims=["pull_request", branch],
            statements=diff_statements(self),
        )
        self._role(
            "deploy",
            "Deploys and destroys the stacks of this environment",
            claims=[f"environment:{settings.environment}"],
            statements=deploy_statements(self),
        )
        self._role(
            "train",
            "Starts the pipeline and reads its results",
            claims=[branch],
            statements=train_statements(self),
            # An execution takes longer than the default hour; GitHub ends a job after six.
            duration=Duration.hours(6),
        )

        CfnOutput(self, "LookupRoleArn", value=bootstrap_role_arn(self, "lookup"))

    def _provider(self) -> str:
        if self.github.provider != "create":
            return self.github.provider
        provider = iam.CfnOIDCProvider(self, "Provider", url=f"https://{ISSUER}", client_id_list=[AUDIENCE])
        return provider.attr_arn

    def _role(
        self,
        intent: str,
        description: str,
        *,
        claims: list[str],
        statements: list[iam.PolicyStatement],
        duration: Duration | None = None,
    ) -> None:
        subjects = [subject for claim in claims for subject in self.github.subjects(claim)]
        role = iam.Role(
            self,
            f"{intent.capitalize()}Role",
            role_name=f"{self.settings.prefix}-github-{intent}",
            description=f"{description}, for workflows of {self.github.repository}",
            max_session_duration=duration,
            assumed_by=iam.WebIdentityPrincipal(
                self._provider_arn,
                # Whole subjects, not patterns: `repo:owner/name:*` would give the role to every branch and fork.
                conditions={"StringEquals": {f"{ISSUER}:aud": AUDIENCE, f"{ISSUER}:sub": subjects}},
            ),
        )
        CfnOutput(self, f"{intent.capitalize()}RoleArn", value=role.role_arn)
        for statement in statements:
            role.add_to_policy(statement)
