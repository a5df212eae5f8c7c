"""The names that stacks, pipeline and endpoint carry in one environment."""

from __future__ import annotations

import re
from dataclasses import dataclass

DEPLOYMENT_TAG = "deployment"
"""The tag by which budget, cost reports and policies know the environment's resources; its value is `Names.prefix`."""


@dataclass(frozen=True)
class Names:
    """Every name derives from project and environment, as the stacks derive theirs."""

    environment: str
    project: str

    @property
    def prefix(self) -> str:
        """Pipeline and endpoint are called this."""
        return f"{self.project}-{self.environment}"

    def command(self, words: str) -> str:
        """A command line to be typed. It names the environment: without that it would be about `dev`."""
        return f"binventory {words} --env {self.environment}"

    def is_transform_job(self, name: str) -> bool:
        """Whether a name is that of a transform job of `count` or `audit`; the job's model has the same name."""
        return re.fullmatch(rf"{re.escape(self.prefix)}-(count|audit)-[0-9a-f]{{12}}-\d+", name) is not None

    @property
    def deploy(self) -> str:
        """The command that deploys this environment: without its name the CDK would deploy `dev`."""
        return f"npx cdk deploy --all -c env={self.environment}"

    @property
    def serving_stack(self) -> str:
        """The stack with the endpoint."""
        return f"{self.prefix}-serving"

    @property
    def reconcile_function(self) -> str:
        """The function that makes the endpoint serve what should serve."""
        return f"{self.prefix}-reconcile"
