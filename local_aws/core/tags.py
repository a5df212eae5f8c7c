"""Tags of SageMaker resources, stored by ARN."""

from __future__ import annotations

from local_aws.core.context import Context
from local_aws.core.errors import validation
from local_aws.core.listing import cut
from local_aws.core.protocol import Document

_FAMILY = "Tags"
_MOST = 50
_FAMILIES = {
    "endpoint": "Endpoint",
    "endpoint-config": "EndpointConfig",
    "hyper-parameter-tuning-job": "HyperParameterTuningJob",
    "model": "Model",
    "model-package": "ModelPackage",
    "model-package-group": "ModelPackageGroup",
    "pipeline": "Pipeline",
    "processing-job": "ProcessingJob",
    "training-job": "TrainingJob",
    "transform-job": "TransformJob",
}
"""The table of each kind of resource that an ARN names."""


def refuse_doubled(tags: list[Document] | None) -> None:
    """Refuse a key that a request gives twice, before anything of the request is stored."""
    keys = [tag["Key"] for tag in tags or []]
    if doubled := sorted({key for key in keys if keys.count(key) > 1}):
        raise validation(f"Duplicate tag keys found: {', '.join(doubled)}. Tag keys must be unique")


def store_new(
    context: Context, family: str, key: str, document: Document, arn: str, tags: list[Document] | None
) -> bool:
    """Store a new resource together with its tags; returns False, and changes nothing, when its name is taken."""
    with context.store.transaction():
        if not context.table(family).insert(key, document):
            return False
        if tags:
            context.table(_FAMILY).put(arn.lower(), {tag["Key"]: tag["Value"] for tag in tags})
    return True


def delete(context: Context, family: str, key: str, arn: str) -> None:
    """Remove a resource together with its tags, which would else be those of the next resource with its name."""
    with context.store.transaction():
        context.table(family).delete(key)
        context.table(_FAMILY).delete(arn.lower())


def get_tags(context: Context, arn: str) -> list[Document]:
    """The tags of a resource, as a list of Key and Value."""
    return [{"Key": key, "Value": value} for key, value in (context.table(_FAMILY).get(arn.lower()) or {}).items()]


def add_tags(context: Context, request: Document) -> Document:
    """Add or overwrite tags."""
    with context.store.transaction():
        arn = _checked(context, request["ResourceArn"])
        merged = context.table(_FAMILY).get(arn) or {}
        merged.update({tag["Key"]: tag["Value"] for tag in request["Tags"]})
        if len(merged) > _MOST:
            raise validation(f"A resource can have at most {_MOST} tags")
        context.table(_FAMILY).put(arn, merged)
    return {"Tags": get_tags(context, arn)}


def list_tags(context: Context, request: Document) -> Document:
    """The tags of one resource."""
    page = cut(get_tags(context, _checked(context, request["ResourceArn"])), request, usual=_MOST)
    return page.reply("Tags", page.documents)


def delete_tags(context: Context, request: Document) -> Document:
    """Remove tags by key; unknown keys are ignored."""
    arn = _checked(context, request["ResourceArn"])

    def remove(tags: Document) -> None:
        for key in request["TagKeys"]:
            tags.pop(key, None)

    context.table(_FAMILY).update(arn, remove)
    return {}


def _checked(context: Context, arn: str) -> str:
    prefix = f"arn:aws:sagemaker:{context.region}:{context.account}:"
    if not arn.startswith(prefix):
        raise validation(
            f"Invalid ARN: {arn} does not name a SageMaker resource of this account and region ({prefix}...)"
        )
    kind, _, name = arn.removeprefix(prefix).lower().partition("/")
    family = "PipelineExecution" if kind == "pipeline" and "/execution/" in name else _FAMILIES.get(kind)
    # Jobs, models and endpoints are stored by their names, packages and executions by their ARNs.
    if family is None or not context.table(family).has(name, arn.lower()):
        raise validation(f"Could not find the resource {arn}")
    return arn.lower()
