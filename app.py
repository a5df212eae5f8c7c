"""Settings in, stacks out; nothing else."""

from __future__ import annotations

import sys

import aws_cdk as cdk

from stacks.github_stack import GithubStack
from stacks.serving_stack import ServingStack
from stacks.settings import InvalidSettingsError, Settings, load
from stacks.storage_stack import StorageStack
from stacks.training_stack import TrainingStack


def build(app: cdk.App, settings: Settings) -> None:
    """Adds the stacks of one environment."""
    storage = StorageStack(app, "Storage", settings=settings)
    training = TrainingStack(app, "Training", settings=settings, storage=storage)
    serving = ServingStack(
        app, "Serving", settings=settings, storage=storage, image_repository=training.serving_image.repository
    )
    # The image and the model packages that the endpoint needs come from the training stack.
    serving.add_stack_dependency(training)
    if settings.github.repository != "none":
        GithubStack(app, "Github", settings=settings, storage=storage)


def main() -> int:
    """Synthesizes one environment, `-c env=prod` or else dev; returns the exit status."""
    app = cdk.App()
    try:
        settings = load(app.node.try_get_context("env") or "dev")
    except InvalidSettingsError as error:
        print(f"The settings are not usable:\n{error}", file=sys.stderr)
        return 2
    build(app, settings)
    app.synth()
    return 0


if __name__ == "__main__":
    sys.exit(main())
