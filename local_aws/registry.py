"""The modules that answer operations; importing them registers each `@operation` with the wire."""

import importlib

MODULES = (
    "core.tags",
    "hosting.autoscaling",
    "hosting.endpoints",
    "hosting.model_registry",
    "hosting.models",
    "jobs.processing",
    "jobs.training",
    "jobs.transform",
    "other_services.budgets",
    "pipelines.pipelines",
    "tuning.tuning_jobs",
)


def register_all() -> None:
    """Import every module in `MODULES`."""
    for module in MODULES:
        importlib.import_module(f"local_aws.{module}")
