"""The running endpoints: started, updated, scaled, stopped, and started again after a restart."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from local_aws.core import tags
from local_aws.core.context import Context
from local_aws.core.errors import AwsError, validation
from local_aws.core.protocol import Document
from local_aws.core.record import Record
from local_aws.hosting.data_capture import DataCapture
from local_aws.hosting.deployment import Deployment, Traffic
from local_aws.hosting.fleet import DeploymentFailed, Fleet, VariantPlan
from local_aws.hosting.instance import Instance, InstanceSpec
from local_aws.hosting.notices import try_topics
from local_aws.hosting.rolling import RollbackFailed, RollingUpdate
from local_aws.hosting.rollout import RolledBack, Rollout, RolloutPlan

FAMILY = "Endpoint"
_REASON_LENGTH = 1024
_EVENT_STATUS = {
    "Creating": "CREATING",
    "Updating": "UPDATING",
    "SystemUpdating": "SYSTEM_UPDATING",
    "RollingBack": "ROLLING_BACK",
    "InService": "IN_SERVICE",
    "Deleting": "DELETING",
    "Failed": "FAILED",
    "UpdateRollbackFailed": "UPDATE_ROLLBACK_FAILED",
}


class EndpointRecord(Record):
    """One stored endpoint."""

    def __init__(self, context: Context, name: str) -> None:
        super().__init__(context, FAMILY, name)

    def missing(self) -> Exception:
        """SageMaker's error for an endpoint that does not exist."""
        return validation(f'Could not find endpoint "{self._context.arn("endpoint", self.key)}".')

    def announce(self, document: Document, previous: str | None) -> None:
        """Send "SageMaker Endpoint State Change"."""
        detail = {
            "EndpointName": document["EndpointName"],
            "EndpointArn": document["EndpointArn"],
            "EndpointConfigName": document["EndpointConfigName"],
            "EndpointStatus": _EVENT_STATUS[document["EndpointStatus"]],
            "CreationTime": int(document["CreationTime"] * 1000),
            "LastModifiedTime": int(document["LastModifiedTime"] * 1000),
        }
        if document.get("FailureReason"):
            detail["FailureReason"] = document["FailureReason"]
        self._context.emit_event("SageMaker Endpoint State Change", detail, [document["EndpointArn"]])


class LiveEndpoint:
    """What runs of one stored endpoint."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.current: Deployment | None = None
        self.pending: Deployment | None = None
        """What an update starts; after a rollback that failed, what serves beside `current`."""
        self.stage: Document = {}
        """The VariantStatus of `pending`."""
        self.asynchronous = False
        self.capture: DataCapture | None = None
        self.changing = threading.Lock()


class Endpoints:
    """The running endpoints of one local AWS, by name. Get it by `context.shared(Endpoints)`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._live: dict[str, LiveEndpoint] = {}
        self._lock = threading.Lock()
        context.on_stop(self.shut_down)

    def create(self, name: str) -> None:
        """Start a stored endpoint (status Creating) in the background."""
        self._in_background(name, lambda live: self._start(name, live))

    def update(self, name: str, target: Document, deployment_config: Document | None) -> None:
        """Roll out `target`, a stored plan, in the background; after a failure the endpoint is as before."""
        self._in_background(name, lambda live: self._roll_out(name, live, target, deployment_config))

    def rescale(self, name: str, before: Document) -> None:
        """Apply the stored counts and weights, in the background; after a failure those of the plan `before`."""
        self._in_background(name, lambda live: self._rescale(name, live, before))

    def delete(self, name: str) -> None:
        """Stop and remove an endpoint (status Deleting) in the background; it gets no more requests."""
        with self._lock:
            live = self._live.pop(name, None) or LiveEndpoint()

        def stop_and_remove() -> None:
            with live.changing:  # the work that has set the status before this one may not have returned yet
                for deployment in filter(None, (live.current, live.pending)):
                    deployment.stop()
            self._remove(name)

        self._context.start_thread(f"delete endpoint {name}", stop_and_remove)

    def take(self, name: str, variant: str | None) -> tuple[Fleet, Instance] | None:
        """An instance for one request, which is counted; None when no instance is healthy."""
        live = self._live.get(name)
        return live.traffic.take(variant) if live else None

    def is_asynchronous(self, name: str) -> bool:
        """Whether it takes requests by its queue only."""
        live = self._live.get(name)
        return live.asynchronous if live else False

    def capture(self, name: str) -> DataCapture | None:
        """Its data capture, if it has one."""
        live = self._live.get(name)
        return live.capture if live else None

    def variants(self, name: str) -> dict[str, Document]:
        """Weight and instance count of each variant of the current deployment, by name."""
        live = self._live.get(name)
        current = live.current if live else None
        return {variant["VariantName"]: variant for variant in current.variants()} if current else {}

    def pending(self, name: str) -> dict[str, Document]:
        """Weight, instance count and VariantStatus of each variant that an update starts, by name."""
        live = self._live.get(name)
        pending = live.pending if live else None
        if live is None or pending is None:
            return {}
        status = {"VariantStatus": [live.stage]} if live.stage else {}
        return {variant["VariantName"]: variant | status for variant in pending.variants()}

    def resume(self) -> None:
        """After a restart: start every endpoint with the configuration that it served last."""
        for name, document in self._context.table(FAMILY).items():
            status = document["EndpointStatus"]
            if status == "Deleting":
                self._remove(name)
            elif status == "Creating":
                self.create(name)
            elif status != "Failed":
                interrupted = status == "Updating"
                reason = "The update was interrupted by a restart of the local AWS" if interrupted else None
                self._set_status(name, "SystemUpdating", reason)
                self.create(name)

    def shut_down(self) -> None:
        """End every instance at once, and store what was captured; the next start finds the stored endpoints."""
        with self._lock:
            live, self._live = list(self._live.values()), {}
        for endpoint in live:
            for deployment in {endpoint.current, endpoint.pending, *endpoint.traffic.deployments} - {None}:
                if deployment is not None:
                    deployment.stop(drain=False)
            if endpoint.capture is not None:
                endpoint.capture.flush()

    def _start(self, name: str, live: LiveEndpoint) -> None:
        document = self._context.table(FAMILY).get(name)
        if document is None or document["EndpointStatus"] == "Deleting" or live.current is not None:
            return
        live.current = Deployment(self._context, document["EndpointConfigName"], plans_of(name, document["Plan"]))
        try:
            if document["EndpointStatus"] == "Creating":
                try_topics(self._context, document["Plan"])
            live.current.start()
        except DeploymentFailed as failure:
            live.current = None
            if not self._context.stopping.is_set():
                self._set_status(name, "Failed", str(failure))
            return
        self._serve(name, live, document["Plan"])
        live.traffic.set((live.current, 1.0))
        self._set_status(name, "InService", document.get("FailureReason"))

    def _roll_out(self, name: str, live: LiveEndpoint, target: Document, deployment_config: Document | None) -> None:
        plans = plans_of(name, target)
        green = Deployment(self._context, target["EndpointConfigName"], plans)
        blue = live.current
        if blue is None:  # the local AWS has just started, and has not started what served last
            self._adopt(name, target)
            self._start(name, live)
            return
        rollout = RolloutPlan.read(deployment_config, max(plan.count for plan in plans))
        if not self._end_mixture(name, live, blue):
            return
        live.pending, live.stage = green, {}
        kind = RollingUpdate if rollout.rolling else Rollout

        def say(status: str) -> None:
            live.stage = {"Status": status, "StartTime": self._context.now()}

        try:
            try_topics(self._context, target)
            kind(self._context, live.traffic, rollout, say).run(blue, green)
        except RollbackFailed as failed:
            if not self._context.stopping.is_set():
                self._set_status(name, "UpdateRollbackFailed", str(failed))
            return
        except (DeploymentFailed, RolledBack) as undone:
            live.pending = None
            if not self._context.stopping.is_set():
                self._set_status(name, "InService", str(undone))
            return
        live.current, live.pending = green, None
        self._serve(name, live, target)
        self._adopt(name, target)
        self._set_status(name, "InService", None)

    def _end_mixture(self, name: str, live: LiveEndpoint, blue: Deployment) -> bool:
        """After a rollback that failed: make the old deployment whole and end the other; False where that fails."""
        if live.pending is None:
            return True
        document = self._context.table(FAMILY).get(name) or {"Plan": {"Variants": []}}
        try:
            for plan in plans_of(name, document["Plan"]):
                blue.fleets[plan.name].scale(plan.count)
        except DeploymentFailed as failure:
            self._set_status(name, "UpdateRollbackFailed", str(failure))
            return False
        live.traffic.set((blue, 1.0))
        live.pending.stop()
        live.pending = None
        return True

    def _serve(self, name: str, live: LiveEndpoint, plan: Document) -> None:
        live.asynchronous = bool(plan.get("Async"))
        live.capture = DataCapture(self._context, name, plan["Capture"]) if plan.get("Capture") else None

    def _rescale(self, name: str, live: LiveEndpoint, before: Document) -> None:
        document = self._context.table(FAMILY).get(name)
        if document is None or live.current is None:
            return
        try:
            try_topics(self._context, document["Plan"])
            live.current.scale(document["Plan"]["Variants"])
        except DeploymentFailed as failure:
            if self._context.stopping.is_set():
                return  # the next start has the new counts
            self._set_status(name, "RollingBack", None)
            self._adopt(name, before)
            try:
                live.current.scale(before["Variants"])
            except DeploymentFailed as again:
                self._set_status(name, "Failed", f"{failure}. The rollback failed, too: {again}")
            else:
                self._set_status(name, "InService", str(failure))
        else:
            self._set_status(name, "InService", None)

    def _adopt(self, name: str, target: Document) -> None:
        def change(document: Document) -> None:
            document["EndpointConfigName"] = target["EndpointConfigName"]
            document["Plan"] = target

        self._context.table(FAMILY).update(name, change)

    def _set_status(self, name: str, status: str, reason: str | None) -> None:
        def change(endpoint: Document) -> None:
            endpoint["EndpointStatus"] = status
            endpoint.pop("FailureReason", None)
            if reason:
                endpoint["FailureReason"] = reason[:_REASON_LENGTH]
            if status != "Updating":
                endpoint.pop("Pending", None)

        with contextlib.suppress(AwsError):  # the endpoint was deleted
            EndpointRecord(self._context, name).change(change, only_from=_EVENT_STATUS.keys() - {"Deleting"})

    def _remove(self, name: str) -> None:
        tags.delete(self._context, FAMILY, name, self._context.arn("endpoint", name))

    def _in_background(self, name: str, work: Callable[[LiveEndpoint], None]) -> None:
        with self._lock:
            live = self._live.setdefault(name, LiveEndpoint())

        def guarded() -> None:
            with live.changing:
                work(live)

        self._context.start_thread(f"endpoint {name}", guarded)


def plans_of(endpoint: str, stored: Document) -> list[VariantPlan]:
    """The variants of a stored plan, with the images as they were when it was made: their tags may have moved."""
    return [
        VariantPlan(
            spec=InstanceSpec(
                endpoint=endpoint,
                variant=variant["VariantName"],
                container=variant["Container"] | {"Image": variant["ResolvedImage"]},
                model_package=variant.get("ModelPackage"),
                role=variant.get("Role"),
                startup_seconds=variant["StartupSeconds"],
            ),
            count=variant["Count"],
            weight=variant["Weight"],
            serverless=variant.get("ServerlessConfig"),
        )
        for variant in stored["Variants"]
    ]


def resume(context: Context) -> None:
    """Start the stored endpoints again."""
    context.shared(Endpoints).resume()
