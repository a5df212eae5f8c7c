"""Which permissions an operation needs, and which a job needs for what SageMaker does as its role.

ministack's policy evaluator decides. This module lists the actions and resources that each request stands for, as the
service authorisation reference does. The second part, `job_problem` to `may_publish`, covers what SageMaker does with
a job's or model's role and sends no request for here: pull the image, publish metrics, join a network, encrypt. Its
actions are those of "SageMaker AI roles" in the developer guide. Where policies are not enforced the service itself
acts, and nothing is checked.

CreateModelPackage takes the permissions to look up the package's image: AWS documents that it resolves the image's
digest, but not with whose permissions. The caller's are the stricter reading. CreateModel asks for its permission on a
model package, too: AWS documents it for packages of other accounts, and for the account's own it is stricter.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping

from local_aws.core import autoscaling_rights
from local_aws.core.context import Context
from local_aws.core.errors import AwsError
from local_aws.core.protocol import AUTOSCALING, Check, Document, ImageUri
from local_aws.ministack import iam

_VERB = re.compile(r"(Create|Describe|Update|Delete|Stop|Start|Retry|List|BatchDescribe|Put|Get|Add)(?P<noun>\w+)")
_KINDS = {
    "TrainingJob": "training-job",
    "ProcessingJob": "processing-job",
    "HyperParameterTuningJob": "hyper-parameter-tuning-job",
    "TransformJob": "transform-job",
    "Pipeline": "pipeline",
    "ModelPackageGroup": "model-package-group",
    "Model": "model",
    "EndpointConfig": "endpoint-config",
    "Endpoint": "endpoint",
}
_LISTED_BY = {
    "ListPipelineExecutions": "Pipeline",
    "ListTrainingJobsForHyperParameterTuningJob": "HyperParameterTuningJob",
    "StartPipelineExecution": "Pipeline",
    "UpdateEndpointWeightsAndCapacities": "Endpoint",
    "InvokeEndpoint": "Endpoint",
    "InvokeEndpointAsync": "Endpoint",
}
_ROLE_MEMBERS = {"RoleArn", "ExecutionRoleArn"}
_PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
_ENCRYPT = ("kms:DescribeKey", "kms:Encrypt")
_LOOKED_UP = ("ecr:BatchGetImage", "ecr:DescribeImages")
_DESCRIBED = ("DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs")
_CHANGES = ("CreateNetworkInterfacePermission", "DeleteNetworkInterface", "DeleteNetworkInterfacePermission")
_log = logging.getLogger(__name__)


def checks(context: Context, service: str, operation: str, request: Document) -> Iterator[Check]:
    """Every permission that a request needs, that to pass roles included."""
    resources = _resources(context, service, operation, request)
    approval = request.get("ModelApprovalStatus")
    keys = {"sagemaker:ModelApprovalStatus": approval} if approval else {}
    if service == AUTOSCALING:
        keys |= autoscaling_rights.condition_keys(request)
    for resource in resources:
        yield Check(f"{service}:{operation}", resource, keys | _tags(context, resource))
    if service == AUTOSCALING:
        yield from autoscaling_rights.of_target(context, operation, request)
        return
    if request.get("Tags") and operation.startswith("Create"):
        yield Check("sagemaker:AddTags", resources[0], {})
    if operation == "DeleteEndpoint":
        yield from autoscaling_rights.of_deleted_endpoint(context, str(request["EndpointName"]))
    if operation == "CreateModel":
        yield from (Check("sagemaker:CreateModel", package, {}) for package in sorted(_packages(request)))
    if operation == "CreateModelPackage":
        for repository in sorted(_repositories(request)):
            yield from (Check(action, repository, {}) for action in _LOOKED_UP)
    for role in sorted(_passed_roles(request)):
        yield Check("iam:PassRole", role, {"iam:PassedToService": "sagemaker.amazonaws.com"})


def authorise(context: Context, access_key: str, service: str, operation: str, request: Document) -> None:
    """Raise AccessDeniedException unless the holder of `access_key` may make this request."""
    for check in checks(context, service, operation, request):
        denied = _denial(context, access_key, *check)
        if denied:
            raise AwsError("AccessDeniedException", denied)


def job_problem(context: Context, image: str, job: Document) -> str | None:
    """Why the acting role cannot run a job: pull its image, join its network, use its keys; None when it can."""
    return pull_problem(context, image) or _network_problem(context, job) or _key_problem(context, job)


def pull_problem(context: Context, image: str) -> str | None:
    """Why the acting role cannot pull an image; None when it can, or when `image` is no ECR address."""
    name = ImageUri.parse(image)
    if name is None:
        return None
    needs = [("ecr:GetAuthorizationToken", "*"), *((action, name.repository_arn) for action in _PULL)]
    denied = _first_denial(context, needs, {})
    return f"ClientError: Cannot pull image {image}: {denied}" if denied else None


def _network_problem(context: Context, job: Document) -> str | None:
    """Why the acting role cannot make the network interfaces of a job's machines; None when it can or need not."""
    config = job.get("VpcConfig") or job.get("NetworkConfig", {}).get("VpcConfig")
    if not config:
        return None
    ec2 = f"arn:aws:ec2:{context.region}:{context.account}"
    interface = f"{ec2}:network-interface/eni-0"  # it does not exist yet, and policies name none
    subnets = [f"{ec2}:subnet/{name}" for name in config["Subnets"]]
    groups = [f"{ec2}:security-group/{name}" for name in config["SecurityGroupIds"]]
    describe = [(f"ec2:Describe{kind}", "*") for kind in _DESCRIBED]
    create = [("ec2:CreateNetworkInterface", resource) for resource in (interface, *subnets, *groups)]
    change = [(f"ec2:{verb}", interface) for verb in _CHANGES]
    denied = _first_denial(context, [*describe, *create], {})
    denied = denied or _first_denial(context, change, {"ec2:subnet": subnets[0]})
    return f"ClientError: Cannot join the network: {denied}" if denied else None


def _key_problem(context: Context, job: Document) -> str | None:
    """Why the acting role cannot use the keys that a job names; None when it can, or when the job names none."""
    outputs = job.get("OutputDataConfig") or job.get("ProcessingOutputConfig") or {}
    machines = job.get("ResourceConfig") or job.get("ProcessingResources", {}).get("ClusterConfig") or {}
    needs = [(action, key) for key in _keys(context, outputs, "KmsKeyId") for action in _ENCRYPT]
    denied = _first_denial(context, needs, {})
    grants = [("kms:CreateGrant", key) for key in _keys(context, machines, "VolumeKmsKeyId")]
    denied = denied or _first_denial(context, grants, {"kms:grantisforawsresource": "true"})
    return f"ClientError: Cannot encrypt with the key: {denied}" if denied else None


def _keys(context: Context, document: Document, member: str) -> list[str]:
    """The ARN of the key that a document names, if it names one."""
    name = document.get(member)
    if not name:
        return []
    return [name if name.startswith("arn:") else f"arn:aws:kms:{context.region}:{context.account}:key/{name}"]


def alarm_problem(context: Context) -> str | None:
    """Why the acting role cannot read alarms; None when it can."""
    alarms = f"arn:aws:cloudwatch:{context.region}:{context.account}:alarm:*"
    return _first_denial(context, [("cloudwatch:DescribeAlarms", alarms)], {})


def may_publish(context: Context, *namespaces: str) -> bool:
    """Whether the acting role may publish metrics in all these namespaces; logs the first one where it may not."""
    for namespace in namespaces:
        needs = [("cloudwatch:PutMetricData", "*")]
        if denied := _first_denial(context, needs, {"cloudwatch:namespace": namespace}):
            _log.warning("no metrics in %s: %s", namespace, denied)
            return False
    return True


def _first_denial(context: Context, needs: Iterable[tuple[str, str]], keys: Mapping[str, str]) -> str | None:
    if context.acting_role is None:
        return None
    access_key = context.credentials()["AWS_ACCESS_KEY_ID"]
    for action, resource in needs:
        denied = _denial(context, access_key, action, resource, keys)
        if denied:
            return denied
    return None


def _denial(context: Context, access_key: str, action: str, resource: str, keys: Mapping[str, str]) -> str | None:
    return iam.denial(access_key, action, resource, keys, account=context.account, region=context.region)


def _resources(context: Context, service: str, operation: str, request: Document) -> list[str]:
    if service == AUTOSCALING:
        return [autoscaling_rights.resource(context, operation, request)]
    if service != "sagemaker":
        return ["*"]
    if "ResourceArn" in request:
        return [request["ResourceArn"]]
    for member in ("PipelineExecutionArn", "ModelPackageArn"):
        if member in request:
            return [request[member]]
    if operation == "ListModelPackages" and "ModelPackageGroupName" in request:
        group = request["ModelPackageGroupName"].rsplit("/", 1)[-1]
        return [context.arn("model-package", f"{group}/1")]
    if operation == "CreateModelPackage" and "ModelPackageGroupName" in request:
        # The version's number is not known yet; policies name the group's packages with a wildcard.
        group = request["ModelPackageGroupName"].rsplit("/", 1)[-1]
        return [context.arn("model-package", f"{group}/1"), context.arn("model-package-group", group)]
    if "ModelPackageName" in request:
        name = request["ModelPackageName"]
        return [name if name.startswith("arn:") else context.arn("model-package", name)]
    found = [_arn(context, noun, request) for noun in _nouns(operation)]
    return [arn for arn in found if arn] or ["*"]


def _tags(context: Context, resource: str) -> dict[str, str]:
    """The tags of a model or an endpoint configuration, whose name CloudFormation makes up: policies ask for a tag."""
    if not re.search(r":(model|endpoint-config)/", resource):
        return {}
    tags = context.table("Tags").get(resource.lower()) or {}  # as tags.py keeps them
    return {f"aws:ResourceTag/{key}": value for key, value in tags.items()}


def _nouns(operation: str) -> list[str]:
    if operation in _LISTED_BY:
        return [_LISTED_BY[operation]]
    match = _VERB.fullmatch(operation)
    noun = match["noun"].removesuffix("Policy") if match else ""
    return [noun, "EndpointConfig"] if operation in {"CreateEndpoint", "UpdateEndpoint"} else [noun]


def _arn(context: Context, noun: str, request: Document) -> str | None:
    name = request.get(f"{noun}Name")
    if noun not in _KINDS or not isinstance(name, str):
        return None
    return name if name.startswith("arn:") else context.arn(_KINDS[noun], name)


def _repositories(request: Document) -> set[str]:
    """The repositories of a package's images: SageMaker looks the images up as the caller."""
    containers = request.get("InferenceSpecification", {}).get("Containers", [])
    names = (ImageUri.parse(container.get("Image", "")) for container in containers)
    return {name.repository_arn for name in names if name}


def _packages(request: Document) -> set[str]:
    """The model packages that a model is made of."""
    containers = [request.get("PrimaryContainer") or {}, *request.get("Containers", [])]
    return {str(container["ModelPackageName"]) for container in containers if container.get("ModelPackageName")}


def _passed_roles(request: object) -> set[str]:
    """Every role anywhere in a request: SageMaker will act as it, so the caller needs the permission to pass it."""
    if isinstance(request, list):
        return {role for item in request for role in _passed_roles(item)}
    if not isinstance(request, dict):
        return set()
    here = {value for member, value in request.items() if member in _ROLE_MEMBERS and isinstance(value, str)}
    return here.union(*(_passed_roles(value) for value in request.values()))
