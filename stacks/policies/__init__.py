"""What must hold before anything is deployed: public rule packs, our own pack, and the few acknowledgements."""

from __future__ import annotations

import aws_cdk as cdk
import cdk_nag

from stacks.policies.acknowledged import AcceptingWildcards, acknowledge
from stacks.policies.pack import BinventoryPolicies

__all__ = ["add_policies", "refused"]


def add_policies(app: cdk.App) -> None:
    """Makes synthesis fail on a finding of AwsSolutions, NIST 800-53 R5 or Binventory's own rules.

    Call it after the stacks are built: what is accepted on every stack is acknowledged on those that exist.
    """
    acknowledge(app)
    cdk.Validations.of(app).add_plugins(
        AcceptingWildcards(cdk_nag.AwsSolutionsChecks(app)), cdk_nag.NIST80053R5Checks(app), BinventoryPolicies()
    )


def refused(error: RuntimeError) -> bool:
    """Whether synthesis failed because of findings, which the CDK has printed by then."""
    return str(error).startswith("ValidationFailed")
