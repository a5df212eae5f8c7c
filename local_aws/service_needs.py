"""What SageMaker does with a role that has no request of its own here: it pulls the image and publishes metrics.

The actions are those that AWS lists for the execution roles of jobs and models ("SageMaker AI roles" in its developer
guide). Nothing is checked for the service itself, which is who acts where policies are not enforced.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping

from local_aws import hooks
from local_aws.context import Context

_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/(?P<repository>[^:@]+)([:@].+)?"
)
_PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
_log = logging.getLogger("local_aws.service_needs")


def pull_problem(context: Context, image: str) -> str | None:
    """Why the acting role cannot pull an image; None when it can, or when the address is no image's."""
    match = _IMAGE.fullmatch(image)
    if match is None:
        return None
    repository = f"arn:aws:ecr:{match['region']}:{match['account']}:repository/{match['repository']}"
    needs = [("ecr:GetAuthorizationToken", "*"), *((action, repository) for action in _PULL)]
    denied = _first_denial(context, needs, {})
    return f"ClientError: Cannot pull image {image}: {denied}" if denied else None


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
        denied = hooks.denial(access_key, action, resource, keys, account=context.account, region=context.region)
        if denied:
            return denied
    return None
