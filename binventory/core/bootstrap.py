"""The names that `cdk bootstrap` gives: they contain a qualifier, which `cdk.json` may change."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

DEFAULT_QUALIFIER = "hnb659fds"
QUALIFIER_CONTEXT = "@aws-cdk/core:bootstrapQualifier"


@dataclass(frozen=True)
class Bootstrap:
    """The bootstrap that the stacks of a checkout are deployed with."""

    qualifier: str = DEFAULT_QUALIFIER

    @classmethod
    def of(cls, repository: Path) -> Bootstrap:
        """As the checkout's `cdk.json` says."""
        context = json.loads((repository / "cdk.json").read_text()).get("context", {})
        return cls(context.get(QUALIFIER_CONTEXT, DEFAULT_QUALIFIER))

    @property
    def version_parameter(self) -> str:
        """The SSM parameter with the version."""
        return f"/cdk-bootstrap/{self.qualifier}/version"

    @property
    def options(self) -> tuple[str, ...]:
        """What `cdk bootstrap` takes for it."""
        return () if self.qualifier == DEFAULT_QUALIFIER else ("--qualifier", self.qualifier)

    @property
    def command(self) -> str:
        """The command that makes it: beside the account's own, for which the CDK would take the stack `CDKToolkit`."""
        stack = ("--toolkit-stack-name", f"CDKToolkit-{self.qualifier}") if self.options else ()
        return " ".join(("npx cdk bootstrap", *self.options, *stack))

    def role_arn(self, purpose: str, account: str, region: str) -> str:
        """The role for `deploy`, `lookup` and so on."""
        return f"arn:aws:iam::{account}:role/cdk-{self.qualifier}-{purpose}-role-{account}-{region}"
