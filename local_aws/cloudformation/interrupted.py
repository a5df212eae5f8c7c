"""SageMaker resources that a stack had begun to make when the local AWS ended, found by the tags of CloudFormation.

They are stored at once, while the stack records them when they are ready: an endpoint takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator

from local_aws.core.context import Context
from local_aws.core.tags import get_tags
from local_aws.ministack.saving import MadeResource

_FAMILIES = ("ModelPackageGroup", "Model", "EndpointConfig", "Endpoint", "Pipeline")


def made_by_stacks(context: Context) -> Iterator[MadeResource]:
    """Every SageMaker resource that a stack has made."""
    for family in _FAMILIES:
        for document in context.table(family).all():
            arn = document[f"{family}Arn"]
            tags = {tag["Key"]: tag["Value"] for tag in get_tags(context, arn)}
            if (stack := tags.get("aws:cloudformation:stack-id")) is not None:
                yield MadeResource(
                    stack_id=stack,
                    logical_id=tags.get("aws:cloudformation:logical-id", ""),
                    type_name=f"AWS::SageMaker::{family}",
                    physical_id=document["PipelineName"] if family == "Pipeline" else arn,
                )
