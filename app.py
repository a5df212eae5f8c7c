"""Builds the stacks of one environment from its settings, and checks them against the policies.

Stacks that few environments have are imported where they are added: aws_ec2 alone takes a second.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys

import aws_cdk as cdk

from stacks.money.stack import MoneyStack
from stacks.monitoring.stack import MonitoringStack
from stacks.serving.endpoint import VARIANT
from stacks.serving.stack import ServingStack
from stacks.settings import InvalidSettingsError, Settings, load
from stacks.shared import role_standards
from stacks.shared.assets import MissingWheelsError
from stacks.shared.job_network import JobNetwork, existing_network
from stacks.storage.stack import StorageStack
from stacks.training.stack import TrainingStack


def build(app: cdk.App, settings: Settings) -> None:
    """Adds the stacks of one environment."""
    storage = StorageStack(app, "Storage", settings=settings)
    money = MoneyStack(app, "Money", settings=settings, keys=storage.keys)
    network = _network(app, settings)
    training = TrainingStack(
        app,
        "Training",
        settings=settings,
        storage=storage,
        alerts=money.alerts,
        budget_alerts=money.budget_alerts,
        budget=money.budget,
        network=network,
    )
    serving = ServingStack(
        app,
        "Serving",
        settings=settings,
        storage=storage,
        alerts=money.alerts,
        roles=training.serving_roles,
        network=network,
    )
    # The image, the roles and the model packages that the endpoint needs come from the training stack.
    serving.add_stack_dependency(training)
    MonitoringStack(
        app,
        "Monitoring",
        settings=settings,
        storage=storage,
        alerts=money.alerts,
        budget=money.budget,
        model_package_group=training.model_package_group,
        variant=VARIANT,
    )
    if settings.ec2.enabled:
        from stacks.ec2.stack import Ec2Stack

        Ec2Stack(
            app,
            "Ec2",
            settings=settings,
            storage=storage,
            code=training.code,
            model_package_group=training.model_package_group,
        )
    if settings.github.repository != "none":
        from stacks.github.stack import GithubStack

        GithubStack(app, "Github", settings=settings)
    role_standards.apply(app, settings.security)


def _network(app: cdk.App, settings: Settings) -> JobNetwork | None:
    """The network of the jobs: none, an existing one, or that of a network stack, which is added here."""
    if settings.network.mode != "create":
        return existing_network(settings.network)
    from stacks.network.stack import NetworkStack

    return NetworkStack(app, "Network", settings=settings).network


def main(*, policies: bool = True) -> int:
    """Synthesizes one environment: that of `-c env=prod`, or else of BINVENTORY_ENV as in the commands, or else dev.

    policies: whether a finding stops the synthesis. A price needs none: they take a fifth of the time.

    Returns the exit status: 0 done, 1 refused by the policies, 2 wrong settings, 3 packages are missing; the last three
    with a line that says what, then why, and for 3 the cure.
    """
    app = cdk.App()
    try:
        settings = load(app.node.try_get_context("env") or os.environ.get("BINVENTORY_ENV") or "dev")
        if "CDK_OUTDIR" not in os.environ:
            print("Run: npx cdk synth. It reads cdk.json, then runs this file.", file=sys.stderr)
            return 2
        build(app, settings)
    except InvalidSettingsError as error:
        print(f"The settings are not usable:\n{error}", file=sys.stderr)
        return 2
    except MissingWheelsError as error:
        print(f"Packages of the jobs are missing\n{error}\nrun: make wheels", file=sys.stderr)
        return 3
    if policies:
        return _checked(app)
    app.synth()
    return 0


def _checked(app: cdk.App) -> int:
    from stacks.policies import add_policies, refused

    add_policies(app)
    try:
        app.synth()
    except RuntimeError as error:
        if not refused(error):
            raise
        print("The policies refuse these stacks: each finding above names its cure.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-policies", action="store_true", help="for a price: nothing that is deployed")
    status = main(policies=not parser.parse_args().no_policies)
    gc.freeze()  # Python would visit half a million objects once more before it ends: 0.4 s
    sys.exit(status)
