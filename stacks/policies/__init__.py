"""What must hold before anything is deployed: public rule packs, our own pack, and the few acknowledgements."""

from __future__ import annotations

import aws_cdk as cdk
import cdk_nag

from stacks.policies.acknowledged import acknowledge
from stacks.policies.pack import BinventoryPolicies

__all__ = ["add_policies"]


def add_policies(app: cdk.App) -> None:
    """Makes synthesis fail on a finding of AwsSolutions, NIST 800-53 R5 or Binventory's own rules.

    Call it after the stacks are built: a wildcard is acknowledged where it stands.
    """
    acknowledge(app)
    cdk.Validations.of(app).add_plugins(
        cdk_nag.AwsSolutionsChecks(app), cdk_nag.NIST80053R5Checks(app), BinventoryPolicies()
    )
