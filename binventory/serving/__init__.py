"""The model registry, the serving stack and its endpoint."""

from binventory.serving.counting import EndpointAnswer, count, find_queue
from binventory.serving.endpoint import (
    EndpointState,
    endpoint_state,
    is_absent,
    no_endpoint,
    outputs,
    outputs_and_tags,
    template,
)
from binventory.serving.reconciling import (
    Comparison,
    compare,
    follow_promotion,
    follow_switch,
    not_promoted,
    request_on,
    wait_seconds,
)
from binventory.serving.registry import (
    JudgedPackage,
    approve,
    describe_package,
    latest_package,
    newer_than,
    reject,
)
from binventory.serving.under_way import advice, explained

__all__ = [
    "Comparison", "EndpointAnswer", "EndpointState", "JudgedPackage", "advice", "approve", "compare", "count",
    "describe_package", "endpoint_state", "explained", "find_queue", "follow_promotion", "follow_switch", "is_absent",
    "latest_package", "newer_than", "no_endpoint", "not_promoted", "outputs", "outputs_and_tags", "reject",
    "request_on", "template", "wait_seconds",
]  # fmt: skip
