"""Application autoscaling: scalable targets and policies, and how they scale asynchronous endpoints."""

from __future__ import annotations

import re
import time
import uuid
from contextlib import suppress

from local_aws.core.autoscaling_rights import TARGETS, service_role, targets_of
from local_aws.core.context import Context
from local_aws.core.errors import AwsError, not_local, validation
from local_aws.core.listing import Page, Sorting, cut
from local_aws.core.protocol import Document
from local_aws.core.wire import call, summarise
from local_aws.hosting.live_endpoints import FAMILY as ENDPOINTS
from local_aws.hosting.models import config_of

SERVICE = "application-autoscaling"
POLICIES = "ScalingPolicy"
ACTIVITIES = "ScalingActivity"
_DEFAULT_COOLDOWN = 300.0
_METRICS_SECONDS = 2.0
_KEYS = ("ServiceNamespace", "ResourceId", "ScalableDimension")
_SCALED = ("sagemaker", "sagemaker:variant:DesiredInstanceCount")
_RESOURCE = re.compile(r"endpoint/(?P<endpoint>[^/]+)/variant/(?P<variant>[^/]+)")
_BURSTABLE = "ml.t"
_CONFIGURATIONS = {
    "PredictiveScaling": "PredictiveScalingPolicyConfiguration",
    "StepScaling": "StepScalingPolicyConfiguration",
    "TargetTrackingScaling": "TargetTrackingScalingPolicyConfiguration",
}
_PAGE = 50
"""The usual page, and the largest."""


def register_scalable_target(context: Context, request: Document) -> Document:
    """Make a variant of an endpoint scalable, or change its bounds."""
    if (request["ServiceNamespace"], request["ScalableDimension"]) != _SCALED:
        raise not_local(f"{request['ScalableDimension']} is not scaled locally", f"give {_SCALED[1]} of an endpoint")
    key = target_key(request)
    with context.store.transaction():
        target = context.table(TARGETS).get(key)
        if target is None:
            if "MinCapacity" not in request or "MaxCapacity" not in request:
                raise validation("A new scalable target needs MinCapacity and MaxCapacity")
            identifier = uuid.uuid4().hex
            arn = f"arn:aws:application-autoscaling:{context.region}:{context.account}:scalable-target/{identifier}"
            target = {
                "CreationTime": context.now(),
                "RoleARN": service_role(context),
                "ScalableTargetARN": arn,
                "SuspendedState": {},
            }
        target |= {member: value for member, value in request.items() if member != "Tags"}
        if target["MinCapacity"] > target["MaxCapacity"]:
            raise validation("Maximum capacity cannot be less than minimum capacity")
        if context.table(TARGETS).get(key) is None:
            _refuse_unscalable(context, request["ResourceId"])
        context.table(TARGETS).put(key, target)
    _into_bounds(context, target)
    return {"ScalableTargetARN": target["ScalableTargetARN"]}


def _into_bounds(context: Context, target: Document) -> None:
    """Place the instance count of a variant within the bounds, as AWS does also where they have not changed.

    It does so of an endpoint that is in service:
    https://docs.aws.amazon.com/autoscaling/application/APIReference/API_RegisterScalableTarget.html
    """
    _, name, _, variant = target["ResourceId"].split("/")
    endpoint = context.table(ENDPOINTS).get(name)
    if endpoint is None or endpoint["EndpointStatus"] != "InService":
        return
    for found in endpoint["Plan"]["Variants"]:
        wanted = min(max(int(found["Count"]), int(target["MinCapacity"])), int(target["MaxCapacity"]))
        if found["VariantName"] == variant and wanted != found["Count"]:
            _set_count(context, target, wanted, f"{found['Count']} is out of the bounds of the scalable target")


def describe_scalable_targets(context: Context, request: Document) -> Document:
    """The scalable targets of a service."""
    wanted = request.get("ResourceIds")
    found = [
        target
        for target in context.table(TARGETS).all()
        if target["ServiceNamespace"] == request["ServiceNamespace"]
        and (not wanted or target["ResourceId"] in wanted)
        and request.get("ScalableDimension") in (None, target["ScalableDimension"])
    ]
    page = _page(found, request, Sorting(_made, "ScalableTargetARN"))
    return page.reply(
        "ScalableTargets", summarise("DescribeScalableTargets", "ScalableTargets", page.documents, SERVICE)
    )


def deregister_scalable_target(context: Context, request: Document) -> Document:
    """Remove a scalable target and its policies."""
    with context.store.transaction():
        if context.table(TARGETS).get(target_key(request)) is None:
            raise _not_found("scalable target", request)
        _deregister(context, target_key(request))
    return {}


def deregister_variants(context: Context, endpoint: str) -> None:
    """Remove the scalable targets of an endpoint that is deleted."""
    with context.store.transaction():
        for target in targets_of(context, endpoint):
            _deregister(context, target_key(target))


def _deregister(context: Context, key: str) -> None:
    context.table(TARGETS).delete(key)
    for policy_key, policy in context.table(POLICIES).items():
        if target_key(policy) == key:
            context.table(POLICIES).delete(policy_key)


def target_of(context: Context, endpoint: str, variant: str) -> Document | None:
    """The scalable target that a variant of an endpoint is; None where it is none."""
    resource = f"endpoint/{endpoint}/variant/{variant}"
    return next((target for target in targets_of(context, endpoint) if target["ResourceId"] == resource), None)


def put_scaling_policy(context: Context, request: Document) -> Document:
    """Create or change a policy of a scalable target."""
    key = f"{target_key(request)}|{request['PolicyName']}"
    with context.store.transaction():
        if context.table(TARGETS).get(target_key(request)) is None:
            raise _not_found("scalable target", request)
        policy = context.table(POLICIES).get(key)
        if policy is None:
            if "PolicyType" not in request:
                raise validation("A new scaling policy needs a PolicyType")
            arn = f"arn:aws:autoscaling:{context.region}:{context.account}:scalingPolicy:{uuid.uuid4()}"
            path = f"resource/{request['ServiceNamespace']}/{request['ResourceId']}"
            policy = {
                "PolicyARN": f"{arn}:{path}:policyName/{request['PolicyName']}",
                "CreationTime": context.now(),
            }
        policy |= request
        _refuse_configurations(policy)
        context.table(POLICIES).put(key, policy)
    return {"PolicyARN": policy["PolicyARN"], "Alarms": []}


def describe_scaling_policies(context: Context, request: Document) -> Document:
    """The policies of a service, or of one of its resources."""
    names = request.get("PolicyNames")
    found = [
        policy
        for policy in context.table(POLICIES).all()
        if policy["ServiceNamespace"] == request["ServiceNamespace"]
        and request.get("ResourceId") in (None, policy["ResourceId"])
        and request.get("ScalableDimension") in (None, policy["ScalableDimension"])
        and (not names or policy["PolicyName"] in names)
    ]
    page = _page(found, request, Sorting(_made, "PolicyARN"))
    return page.reply(
        "ScalingPolicies", summarise("DescribeScalingPolicies", "ScalingPolicies", page.documents, SERVICE)
    )


def delete_scaling_policy(context: Context, request: Document) -> Document:
    """Remove a policy."""
    if not context.table(POLICIES).delete(f"{target_key(request)}|{request['PolicyName']}"):
        raise _not_found("scaling policy", request)
    return {}


def describe_scaling_activities(context: Context, request: Document) -> Document:
    """The scaling activities, latest first."""
    found = [
        activity
        for activity in context.table(ACTIVITIES).all()
        if activity["ServiceNamespace"] == request["ServiceNamespace"]
        and request.get("ResourceId") in (None, activity["ResourceId"])
        and request.get("ScalableDimension") in (None, activity["ScalableDimension"])
    ]
    page = _page(found, request, Sorting(lambda activity: [activity["StartTime"]], "ActivityId", "Descending"))
    return page.reply(
        "ScalingActivities", summarise("DescribeScalingActivities", "ScalingActivities", page.documents, SERVICE)
    )


def _page(found: list[Document], request: Document, sorting: Sorting) -> Page:
    return cut(found, request, sorting, usual=_PAGE, most=_PAGE, wrong_token="InvalidNextTokenException")


def _made(document: Document) -> list[float]:
    return [document["CreationTime"]]


def target_key(document: Document) -> str:
    """The key of a scalable target."""
    return "|".join(document[member] for member in _KEYS)


def _refuse_unscalable(context: Context, resource: str) -> None:
    """Refuse a new target that is no variant or bursts, or whose endpoint is being made or changed."""
    match = _RESOURCE.fullmatch(resource)
    endpoint = context.table(ENDPOINTS).get(match["endpoint"]) if match else None
    variants = [variant["VariantName"] for variant in endpoint["Plan"]["Variants"]] if endpoint else []
    if match is None or endpoint is None or match["variant"] not in variants:
        raise validation(f"{resource} is not a variant of an endpoint that exists: give endpoint/NAME/variant/VARIANT")
    if endpoint["EndpointStatus"] != "InService":
        raise validation(
            f"Endpoint {endpoint['EndpointName']} is {endpoint['EndpointStatus']}. "
            "The status should be in 'InService' to register it as a scalable target"
        )
    for variant in config_of(context, endpoint["EndpointConfigName"])["ProductionVariants"]:
        if variant["VariantName"] == match["variant"] and variant.get("InstanceType", "").startswith(_BURSTABLE):
            raise validation(f"{resource} has the burstable instance type {variant['InstanceType']}: it is not scaled")


def _refuse_configurations(policy: Document) -> None:
    """A policy has the configuration of its type, and no other."""
    kind = policy["PolicyType"]
    if kind == "PredictiveScaling":
        raise validation("PredictiveScaling is only supported for Amazon ECS")
    for other, member in _CONFIGURATIONS.items():
        if (member in policy) != (other == kind):
            need = "needs" if other == kind else "has no"
            raise validation(f"A policy of type {kind} {need} {member}")


def _set_count(context: Context, target: Document, count: int, cause: str) -> None:
    """Set the instance count of a scalable target, and record the activity. Raises AwsError where it is refused."""
    _, endpoint, _, variant = target["ResourceId"].split("/")
    wanted = [{"VariantName": variant, "DesiredInstanceCount": count}]
    request = {"EndpointName": endpoint, "DesiredWeightsAndCapacities": wanted}
    call(context, "UpdateEndpointWeightsAndCapacities", request)
    activity = {key: target[key] for key in _KEYS} | {
        "ActivityId": str(uuid.uuid4()),
        "Description": f"Setting desired instance count to {count}.",
        "Cause": cause,
        "StartTime": context.now(),
        "StatusCode": "Successful",
        "StatusMessage": f"Successfully set desired instance count to {count}.",
    }
    context.table(ACTIVITIES).put(activity["ActivityId"], activity)


def _not_found(kind: str, request: Document) -> AwsError:
    return AwsError("ObjectNotFoundException", f"No {kind} found for {', '.join(request[key] for key in _KEYS)}")


class AsyncScaling:
    """Scales asynchronous endpoints that have a scalable target between MinCapacity and one instance, by their queue.

    On AWS a policy acts after minutes. Here the first instance starts at once; the last one stops after the policy's
    ScaleInCooldown, times the time scale.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._quiet_since: dict[str, float] = {}
        self._measured: dict[str, float] = {}

    def look(self, endpoint: Document, backlog: int) -> None:
        """Scale an endpoint whose queue holds `backlog` requests."""
        name = endpoint["EndpointName"]
        variant = endpoint["Plan"]["Variants"][0]
        count = int(variant["Count"])
        self._measure(name, backlog, count)
        target = target_of(self._context, name, variant["VariantName"])
        if endpoint["EndpointStatus"] != "InService" or target is None:
            return
        now = time.monotonic()
        # Another endpoint of that name begins anew.
        this = f"{name} of {endpoint['CreationTime']}"
        if backlog:
            self._quiet_since[this] = now
        suspended = target["SuspendedState"]
        if backlog and not count and not suspended.get("DynamicScalingOutSuspended"):
            self._set(target, max(1, int(target["MinCapacity"])), f"The queue of endpoint {name}: a request waits")
        elif not backlog and count > target["MinCapacity"] and not suspended.get("DynamicScalingInSuspended"):
            quiet = now - self._quiet_since.setdefault(this, now)
            if quiet > self._cooldown(target) * self._context.time_scale:
                self._set(target, int(target["MinCapacity"]), f"The queue of endpoint {name}: no request waits")

    def _set(self, target: Document, count: int, cause: str) -> None:
        # An endpoint that is being updated is looked at again soon.
        with suppress(AwsError):
            _set_count(self._context, target, count, cause)

    def _cooldown(self, target: Document) -> float:
        """Seconds without requests before the last instance stops; endless if a policy forbids to scale in."""
        for policy in self._context.table(POLICIES).all():
            tracking = policy.get("TargetTrackingScalingPolicyConfiguration", {})
            if policy["ResourceId"] != target["ResourceId"]:
                continue
            if tracking.get("DisableScaleIn"):
                return float("inf")
            if "ScaleInCooldown" in tracking:
                return float(tracking["ScaleInCooldown"])
        return _DEFAULT_COOLDOWN

    def _measure(self, name: str, backlog: int, count: int) -> None:
        now = time.monotonic()
        if now - self._measured.get(name, float("-inf")) < _METRICS_SECONDS:
            return
        self._measured[name] = now
        put, dimensions = self._context.metrics.put, {"EndpointName": name}
        put("AWS/SageMaker", "ApproximateBacklogSize", float(backlog), dimensions, unit="Count")
        put("AWS/SageMaker", "ApproximateBacklogSizePerInstance", backlog / max(1, count), dimensions, unit="Count")
        put("AWS/SageMaker", "HasBacklogWithoutCapacity", float(backlog > 0 and not count), dimensions, unit="Count")
