"""Models and endpoint configurations that rollouts have replaced.

CloudFormation keeps them (`UpdateReplacePolicy: Retain`): when SageMaker undoes a rollout, the endpoint runs the old
ones again, and they must still exist. They are deleted here once nothing uses them.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from clients import client
from serving_stack import CONFIGURATION, MODEL, ServingStack

_KINDS = {
    CONFIGURATION: ("endpoint_config", "EndpointConfig"),
    MODEL: ("model", "Model"),
}


def delete_replaced(stack: ServingStack) -> int:
    """Deletes those that the stack held once and holds no more; returns how many.

    Call it only while the endpoint serves what the stack holds, or does not exist.
    """
    sagemaker = client("sagemaker")
    replaced = stack.replaced()
    return sum(_delete(sagemaker, kind, replaced[kind]) for kind in _KINDS if replaced[kind])


def _delete(sagemaker: Any, kind: str, replaced: set[str]) -> int:
    operation, member = _KINDS[kind]
    # Stacks know names in small letters only; SageMaker lists them as they are.
    pages = sagemaker.get_paginator(f"list_{operation}s").paginate()
    names = [item[f"{member}Name"] for page in pages for item in page[f"{member}s"]]
    there = [name for name in names if name.lower() in replaced]
    for name in there:
        try:
            getattr(sagemaker, f"delete_{operation}")(**{f"{member}Name": name})
        except ClientError as error:
            # Two calls at once find the same ones.
            if "Could not find" not in str(error):
                raise
    return len(there)
