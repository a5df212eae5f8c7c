"""Policies that stop a synthesis: two public rule packs, our rules, and the findings that are accepted."""

from __future__ import annotations

import aws_cdk as cdk
import cdk_nag

from stacks.policies.acknowledged import AcceptingWildcards, acknowledge
from stacks.policies.pack import BinventoryPolicies

__all__ = ["add_policies", "refused"]


def add_policies(app: cdk.App) -> None:
    """Makes synthesis fail on a finding of AwsSolutions, NIST 800-53 R5 or Binventory's rules.

    Call it after all stacks are built: accepted findings are acknowledged on each stack that exists.
    """
    acknowledge(app)
    cdk.Validations.of(app).add_plugins(
        AcceptingWildcards(cdk_nag.AwsSolutionsChecks(app)), cdk_nag.NIST80053R5Checks(app), BinventoryPolicies()
    )


def refused(error: RuntimeError) -> bool:
    """Whether synthesis failed because of findings. The CDK has already printed them."""
    return str(error).startswith("ValidationFailed")
