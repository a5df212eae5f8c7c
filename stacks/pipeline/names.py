"""What the pipelines of an environment are called."""

from __future__ import annotations

from stacks.settings import Settings

SPOT_STEPS = ("Embed", "Tune", "Train")
"""The steps whose jobs may run on spot, in their order."""


def continuing_pipeline(settings: Settings, first: str) -> str:
    """The pipeline that goes on on demand with the step `first`, for example `binventory-dev-on-demand-train`."""
    return f"{settings.prefix}-on-demand-{first.lower()}"


def pipeline_names(settings: Settings) -> tuple[str, ...]:
    """Every pipeline of the environment: the main one first, then those that the setting adds."""
    more = SPOT_STEPS if settings.training.on_demand_after_reclaims else ()
    return (settings.prefix, *(continuing_pipeline(settings, first) for first in more))
