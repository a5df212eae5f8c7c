"""The names that stacks, pipeline and endpoint carry in one environment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """Every name derives from project and environment, as the stacks derive theirs."""

    environment: str = "dev"
    project: str = "binventory"

    @property
    def prefix(self) -> str:
        """Pipeline, model package group and endpoint are all called this."""
        return f"{self.project}-{self.environment}"

    @property
    def storage_stack(self) -> str:
        """The stack with the buckets."""
        return f"{self.prefix}-storage"

    @property
    def training_stack(self) -> str:
        """The stack with pipeline, registry and promotion."""
        return f"{self.prefix}-training"

    @property
    def serving_stack(self) -> str:
        """The stack with the endpoint."""
        return f"{self.prefix}-serving"

    @property
    def stacks(self) -> tuple[str, str, str]:
        """All stacks, in the order in which they are deployed."""
        return self.storage_stack, self.training_stack, self.serving_stack
