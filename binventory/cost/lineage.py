"""The cost of a model, kept with the model: read from its execution's jobs, written beside its lineage."""

from __future__ import annotations

from botocore.exceptions import ClientError

from binventory import executions
from binventory.core.aws import Aws
from binventory.cost.prices import load
from binventory.cost.spent import Meter

EXECUTION = "pipeline_execution"
_TRAINING_JOB = "training_job"


def of_package(aws: Aws, package: str) -> dict[str, str]:
    """Properties for a model package: dollars of the execution that made it, and what spot saved on it.

    Empty where the cost is unknown: the package names no execution, or was trained elsewhere on its shards, as on EC2;
    its jobs are gone or may not be read; the table holds no price for one of them. It does not hold a model back.
    """
    try:
        described = aws.client("sagemaker").describe_model_package(ModelPackageName=package)
        origin = described.get("CustomerMetadataProperties", {})
        if not origin.get(EXECUTION):
            return {}
        spent = Meter(aws).read(executions.look(aws, origin[EXECUTION]))
    except ClientError:
        return {}
    trained_there = origin.get(_TRAINING_JOB) in {job.name for job in spent.jobs}
    if not trained_there or spent.dollars is None or spent.saved is None:
        return {}
    return {
        "cost_usd": f"{spent.dollars:.4f}",
        "cost_saved_by_spot_usd": f"{spent.saved:.4f}",
        "cost_prices": f"{spent.region} {load(spent.region).read}",
    }
