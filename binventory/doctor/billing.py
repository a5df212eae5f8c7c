"""Whether costs reach the budget, and whether there is one already: an account has budgets for all its regions.

A budget counts by a tag, which must be active as a cost allocation tag.
"""

from __future__ import annotations

import re

from botocore.exceptions import ClientError

from binventory.core.aws import Aws, error_message
from binventory.core.names import DEPLOYMENT_TAG, Names
from binventory.doctor.check import Check

NAME = "cost allocation tag"
_COMMAND = (
    f"aws ce update-cost-allocation-tags-status --cost-allocation-tags-status TagKey={DEPLOYMENT_TAG},Status=Active"
)
_UNSEEN = "without it the budget sees no costs: no alert, no guard"


def examine_tag(aws: Aws) -> Check:
    """Asks Cost Explorer about the tag. Raises ClientError where the caller may not ask.

    AWS bills a request to its API with a cent: https://aws.amazon.com/aws-cost-management/aws-cost-explorer/faqs/
    """
    try:
        reply = aws.client("ce").list_cost_allocation_tags(TagKeys=[DEPLOYMENT_TAG], Type="UserDefined")
    except ClientError as error:
        if "Linked account" not in error_message(error):
            raise
        found = f"an organisation's member account cannot see whether {DEPLOYMENT_TAG} is active; {_UNSEEN}"
        return Check(NAME, "unknown", found, f"the owner of the management account must run: {_COMMAND}")
    status = next((tag["Status"] for tag in reply["CostAllocationTags"]), None)
    if status == "Active":
        return Check(NAME, "good", f"{DEPLOYMENT_TAG} is active")
    if status is None:
        found = f"{DEPLOYMENT_TAG} is not listed yet; {_UNSEEN}"
        return Check(NAME, "missing", found, f"up to a day after the first deployment, run: {_COMMAND}")
    return Check(NAME, "missing", f"{DEPLOYMENT_TAG} is not active; {_UNSEEN}", f"run: {_COMMAND}")


def budget_of_another_region(aws: Aws, names: Names) -> str:
    """Name of the environment's budget; "" without one. Only a stack of another region can have made it.

    Where the environment's stack with the budget is in this region, its own is found: do not ask then.
    """
    account = aws.client("sts").get_caller_identity()["Account"]
    # The name ends with a hash of the alerts.
    ours = re.compile(rf"{re.escape(names.prefix)}-[0-9a-f]{{8}}")
    for page in aws.client("budgets").get_paginator("describe_budgets").paginate(AccountId=account):
        for budget in page.get("Budgets", ()):
            if ours.fullmatch(budget["BudgetName"]):
                return str(budget["BudgetName"])
    return ""
