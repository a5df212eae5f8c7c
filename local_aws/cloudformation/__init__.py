"""CloudFormation resource types that ministack lacks."""

from __future__ import annotations

from typing import Any

from local_aws.context import Context


def resource_types(context: Context) -> dict[str, dict[str, Any]]:
    """Handlers by resource type, each with `create`, `update` and `delete`."""
    return {}
