"""AWS::SageMaker::*, by the operations that boto3 calls too."""

from __future__ import annotations

import json
from collections.abc import Callable

from local_aws.cloudformation.resource_type import Created, ResourceType, Update, request
from local_aws.core.context import Context
from local_aws.core.errors import AwsError, not_local
from local_aws.core.protocol import Document
from local_aws.core.wire import call

_POLL_SECONDS = 0.1
_LOCATION = {"Bucket": "Bucket", "Key": "ObjectKey", "Version": "VersionId"}
"""The properties of a pipeline's definition in S3, and the members of the request."""
_SETTLED = {"InService", "Failed", "OutOfService", "UpdateRollbackFailed"}


def _retag(context: Context, arn: str, change: Update) -> None:
    old = {tag["Key"] for tag in change.old.get("Tags", [])}
    new = change.new.get("Tags", [])
    gone = sorted(old - {tag["Key"] for tag in new})
    if gone:
        call(context, "DeleteTags", {"ResourceArn": arn, "TagKeys": gone})
    if new:
        call(context, "AddTags", {"ResourceArn": arn, "Tags": new})


def _name(context: Context, family: str, arn: str) -> str:
    """The name of the resource with this ARN; in the ARN it is in lower case."""
    for document in context.table(family).all():
        if document[f"{family}Arn"] == arn:
            return str(document[f"{family}Name"])
    return arn.rsplit("/", 1)[-1]


def _delete(context: Context, family: str, arn: str) -> None:
    try:
        call(context, f"Delete{family}", {f"{family}Name": _name(context, family, arn)})
    except AwsError as error:
        if not _is_absent(error):
            raise


def _is_absent(error: AwsError) -> bool:
    words = ("does not exist", "could not find", "not found")
    return error.code == "ResourceNotFound" or any(word in error.message.lower() for word in words)


def _create_group(context: Context, name: str, properties: Document) -> Created:
    name = properties.get("ModelPackageGroupName", name)
    arn = request(context, "CreateModelPackageGroup", properties | {"ModelPackageGroupName": name})
    _put_group_policy(context, name, properties)
    return _group(context, arn["ModelPackageGroupArn"], name)


def _update_group(context: Context, change: Update) -> Created:
    name = _name(context, "ModelPackageGroup", change.physical_id)
    _retag(context, change.physical_id, change)
    if change.old.get("ModelPackageGroupPolicy") and not change.new.get("ModelPackageGroupPolicy"):
        call(context, "DeleteModelPackageGroupPolicy", {"ModelPackageGroupName": name})
    _put_group_policy(context, name, change.new)
    return _group(context, change.physical_id, name)


def _delete_group(context: Context, physical_id: str, properties: Document) -> None:
    _delete(context, "ModelPackageGroup", physical_id)


def _group(context: Context, arn: str, name: str) -> Created:
    group = call(context, "DescribeModelPackageGroup", {"ModelPackageGroupName": name})
    attributes = {
        "ModelPackageGroupArn": arn,
        "ModelPackageGroupStatus": group["ModelPackageGroupStatus"],
        "CreationTime": str(group["CreationTime"]),
    }
    return arn, attributes


def _put_group_policy(context: Context, name: str, properties: Document) -> None:
    policy = properties.get("ModelPackageGroupPolicy")
    if policy:
        text = policy if isinstance(policy, str) else json.dumps(policy)
        call(context, "PutModelPackageGroupPolicy", {"ModelPackageGroupName": name, "ResourcePolicy": text})


def _immutable(family: str, replacing: str, *, shows_arn: bool) -> ResourceType:
    """A resource of which an update in place changes only the tags: a model or an endpoint configuration.

    Args:
        family: for example `Model`.
        replacing: all its properties but name and tags.
        shows_arn: it has its ARN as an attribute.
    """

    def created(arn: str, name: str) -> Created:
        return arn, {f"{family}Name": name, "Id": arn} | ({f"{family}Arn": arn} if shows_arn else {})

    def create(context: Context, name: str, properties: Document) -> Created:
        name = properties.get(f"{family}Name", name)
        return created(request(context, f"Create{family}", properties | {f"{family}Name": name})[f"{family}Arn"], name)

    def update(context: Context, change: Update) -> Created:
        _retag(context, change.physical_id, change)
        return created(change.physical_id, _name(context, family, change.physical_id))

    def delete(context: Context, physical_id: str, properties: Document) -> None:
        _delete(context, family, physical_id)

    return _resource_type(family, create, update, delete, replacing)


def _create_endpoint(context: Context, name: str, properties: Document) -> Created:
    name = properties.get("EndpointName", name)
    arn = request(context, "CreateEndpoint", properties | {"EndpointName": name})["EndpointArn"]
    endpoint = _settled(context, name)
    if endpoint["EndpointStatus"] != "InService":
        # CloudFormation does not know the failed endpoint's id and cannot delete it.
        _delete_endpoint(context, arn, properties)
        raise RuntimeError(endpoint.get("FailureReason", f"Endpoint {name} is {endpoint['EndpointStatus']}"))
    return arn, {"EndpointName": name, "Id": arn}


def _update_endpoint(context: Context, change: Update) -> Created:
    name = _name(context, "Endpoint", change.physical_id)
    _retag(context, change.physical_id, change)
    wanted = change.new["EndpointConfigName"]
    _settled(context, name)
    request(context, "UpdateEndpoint", change.new | {"EndpointName": name})
    endpoint = _settled(context, name)
    if endpoint.get("EndpointConfigName") != wanted or endpoint["EndpointStatus"] != "InService":
        # After a rollback the endpoint is InService too; only its configuration shows it.
        reason = endpoint.get("FailureReason", f"it is {endpoint['EndpointStatus']}")
        raise RuntimeError(f"Endpoint {name} still serves {endpoint['EndpointConfigName']}, not {wanted}: {reason}")
    return change.physical_id, {"EndpointName": name, "Id": change.physical_id}


def _delete_endpoint(context: Context, physical_id: str, properties: Document) -> None:
    name = _name(context, "Endpoint", physical_id)
    while (endpoint := _describe_endpoint(context, name)) is not None:
        # SageMaker refuses to delete one that is being changed, by autoscaling for example.
        if endpoint["EndpointStatus"] in _SETTLED:
            _delete(context, "Endpoint", physical_id)
        if context.stopping.wait(_POLL_SECONDS):
            return


def _settled(context: Context, name: str) -> Document:
    """The endpoint, when it has a settled status."""
    while True:
        endpoint = _describe_endpoint(context, name)
        if endpoint is None:
            raise RuntimeError(f"Endpoint {name} was deleted during its change")
        if endpoint["EndpointStatus"] in _SETTLED:
            return endpoint
        if context.stopping.wait(_POLL_SECONDS):
            raise RuntimeError("The local AWS was stopped")


def _describe_endpoint(context: Context, name: str) -> Document | None:
    try:
        return call(context, "DescribeEndpoint", {"EndpointName": name})
    except AwsError as error:
        if _is_absent(error):
            return None
        raise


def _pipeline_request(name: str, properties: Document) -> Document:
    """The properties as members of the request, in which the places of a definition have other names."""
    given = dict(properties["PipelineDefinition"])
    places = {"PipelineDefinitionBody", "PipelineDefinitionS3Location"}
    others = [*(given.keys() - places), *(given.get("PipelineDefinitionS3Location", {}).keys() - _LOCATION.keys())]
    if others:
        raise not_local(f"{', '.join(sorted(others))} of PipelineDefinition is not read locally", "leave it out")
    members = {key: value for key, value in properties.items() if key != "PipelineDefinition"} | {"PipelineName": name}
    if "PipelineDefinitionBody" in given:
        members["PipelineDefinition"] = given["PipelineDefinitionBody"]
    if location := given.get("PipelineDefinitionS3Location"):
        members["PipelineDefinitionS3Location"] = {
            member: location[key] for key, member in _LOCATION.items() if key in location
        }
    return members


def _create_pipeline(context: Context, name: str, properties: Document) -> Created:
    name = properties.get("PipelineName", name)
    token = {"ClientRequestToken": f"cloudformation-{name}-{context.now()}".ljust(32, "-")[:128]}
    request(context, "CreatePipeline", _pipeline_request(name, properties) | token)
    return name, {}


def _update_pipeline(context: Context, change: Update) -> Created:
    _retag(context, context.arn("pipeline", change.physical_id), change)
    request(context, "UpdatePipeline", _pipeline_request(change.physical_id, change.new))
    return change.physical_id, {}


def _delete_pipeline(context: Context, physical_id: str, properties: Document) -> None:
    token = f"cloudformation-{physical_id}-{context.now()}".ljust(32, "-")[:128]
    try:
        call(context, "DeletePipeline", {"PipelineName": physical_id, "ClientRequestToken": token})
    except AwsError as error:
        if not _is_absent(error):
            raise


def _resource_type(
    family: str,
    create: Callable[[Context, str, Document], Created],
    update: Callable[[Context, Update], Created],
    delete: Callable[[Context, str, Document], None],
    replacing: str,
) -> ResourceType:
    name = f"{family}Name"
    return ResourceType(
        f"AWS::SageMaker::{family}",
        create,
        update,
        delete,
        replacing=(name, *replacing.split()),
        name_property=name,
        named_after_stack=False,  # seen: https://github.com/aws/aws-cli/issues/4021
    )


TYPES = [
    _resource_type(
        "ModelPackageGroup",
        _create_group,
        _update_group,
        _delete_group,
        replacing="ModelPackageGroupDescription",
    ),
    _immutable(
        "Model",
        "Containers EnableNetworkIsolation ExecutionRoleArn InferenceExecutionConfig PrimaryContainer VpcConfig",
        shows_arn=True,
    ),
    _immutable(
        "EndpointConfig",
        "AsyncInferenceConfig DataCaptureConfig EnableNetworkIsolation ExecutionRoleArn ExplainerConfig KmsKeyId"
        " MetricsConfig ProductionVariants ShadowProductionVariants VpcConfig",
        shows_arn=False,
    ),
    _resource_type(
        "Endpoint",
        _create_endpoint,
        _update_endpoint,
        _delete_endpoint,
        replacing="",
    ),
    _resource_type(
        "Pipeline",
        _create_pipeline,
        _update_pipeline,
        _delete_pipeline,
        replacing="",
    ),
]
