"""What SageMaker does with a role that has no request of its own here: pull the image, publish metrics, join a network.

The actions are those that AWS lists for the execution roles of jobs and models ("SageMaker AI roles" in its developer
guide). Nothing is checked for the service itself, which is who acts where policies are not enforced.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping

from local_aws.core.context import Context
from local_aws.core.wire import Document
from local_aws.ministack import iam

_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/(?P<repository>[^:@]+)([:@].+)?"
)
_PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
_LOOKS = ("DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs")
_CHANGES = ("CreateNetworkInterfacePermission", "DeleteNetworkInterface", "DeleteNetworkInterfacePermission")
_log = logging.getLogger("local_aws.core.service_needs")


def pull_problem(context: Context, image: str) -> str | None:
    """Why the acting role cannot pull an image; None when it can, or when the address is no image's."""
    match = _IMAGE.fullmatch(image)
    if match is None:
        return None
    repository = f"arn:aws:ecr:{match['region']}:{match['account']}:repository/{match['repository']}"
    needs = [("ecr:GetAuthorizationToken", "*"), *((action, repository) for action in _PULL)]
    denied = _first_denial(context, needs, {})
    return f"ClientError: Cannot pull image {image}: {denied}" if denied else None


def network_problem(context: Context, job: Document) -> str | None:
    """Why the acting role cannot give a job's machines their interfaces; None when it can, or has none to give."""
    config = job.get("VpcConfig") or job.get("NetworkConfig", {}).get("VpcConfig")
    if not config:
        return None
    ec2 = f"arn:aws:ec2:{context.region}:{context.account}"
    interface = f"{ec2}:network-interface/eni-0"  # it does not exist yet; policies name none
    places = [f"{ec2}:subnet/{name}" for name in config["Subnets"]]
    groups = [f"{ec2}:security-group/{name}" for name in config["SecurityGroupIds"]]
    looks = [(f"ec2:Describe{kind}", "*") for kind in _LOOKS]
    makes = [("ec2:CreateNetworkInterface", resource) for resource in (interface, *places, *groups)]
    changes = [(f"ec2:{verb}", interface) for verb in _CHANGES]
    denied = _first_denial(context, [*looks, *makes], {}) or _first_denial(context, changes, {"ec2:subnet": places[0]})
    return f"ClientError: Cannot join the network: {denied}" if denied else None


def may_publish(context: Context, *namespaces: str) -> bool:
    """Whether the acting role may publish metrics in all these namespaces; says in the log which it may not."""
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
        denied = iam.denial(access_key, action, resource, keys, account=context.account, region=context.region)
        if denied:
            return denied
    return None
