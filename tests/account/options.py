"""What `make test-aws` deploys: dev under another name, with small jobs, and the price of it all."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from binventory.assembly.definitions import definitions
from binventory.assembly.templates import SynthesizedStack
from binventory.core.aws import Aws
from binventory.core.known_photos import KnownPhotos
from binventory.core.names import Names
from binventory.cost.launch import Charge, Launch, of_execution
from binventory.cost.prices import load
from binventory.cost.quantities import endpoint_of
from binventory.rehearsal.result import Options
from binventory.rehearsal.source import Source

PHOTOS: Final = 180
"""Enough for every split to hold every count."""
ENDPOINT_HOURS: Final = 1.0
ENDPOINT_WORST_HOURS: Final = 3.0
"""Four rollouts that all run into their limit."""
PROBE_MINUTES: Final = 15
SETTINGS: Final = {
    # Short limits bound the price. Each job needs minutes for this few photos.
    "BINVENTORY_INGEST__MAX_RUNTIME_MINUTES": "20",
    "BINVENTORY_EMBED__MAX_RUNTIME_MINUTES": "20",
    "BINVENTORY_EMBED__MAX_WAIT_MINUTES": "60",
    "BINVENTORY_TRAINING__MAX_RUNTIME_MINUTES": "20",
    "BINVENTORY_TRAINING__MAX_WAIT_MINUTES": "60",
    "BINVENTORY_EVALUATION__MAX_RUNTIME_MINUTES": "20",
    "BINVENTORY_TUNING__JOBS": "2",
    "BINVENTORY_TUNING__PARALLEL_JOBS": "1",
    # If this computer is switched off in the middle, the endpoint is turned off too.
    "BINVENTORY_MONEY__IDLE_HOURS": "2",
}
"""Changes of settings/dev.yaml. A variable of the caller, such as another instance type, takes precedence."""


def settings(names: Names, bucket: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables with which the CDK CLI deploys dev under this name."""
    own = {
        "BINVENTORY_PROJECT": names.project,
        "BINVENTORY_DATA__PHOTOS_URI": f"s3://{bucket}/",
    }
    account = {name: value for name, value in environment.items() if name.startswith(("AWS_", "CDK_"))}
    theirs = {name: value for name, value in environment.items() if name in SETTINGS}
    return {**account, **SETTINGS, **theirs, **own}


def price(aws: Aws, options: Options, found: Source, stacks: Sequence[SynthesizedStack], *, jobs: bool) -> Launch:
    """What the check costs at most: one execution, the endpoint, and one more small job.

    jobs: False prices the stacks alone, in which nothing runs.
    """
    title = f"The check of {options.names.prefix}"
    note = (
        "Storage, requests and logs cost cents. What was bootstrapped keeps the image: "
        "npx cdk gc --unstable=gc removes it from a day later on."
    )
    if not jobs:
        return Launch(title, "once", (Charge("Stacks", "no job, no endpoint", "", 0.0, 0.0),), (note,))
    templates = [stack.template for stack in stacks]
    known = KnownPhotos(found.photos)
    execution = of_execution(
        definitions(templates)[0], options.parameters(found), names=options.names, aws=aws, photos=known
    )
    endpoint = endpoint_of(templates)
    assert endpoint is not None, "dev has an endpoint with machines"
    hour = load(aws.region).instance_hour(endpoint.instance_type)
    # Beside each other during a rollout: the old fleet and the new one.
    serving = Charge(
        "Endpoint",
        f"1 or 2 x {endpoint.instance_type}",
        f"{ENDPOINT_WORST_HOURS:.0f} h",
        1.5 * hour * ENDPOINT_HOURS,
        2 * hour * ENDPOINT_WORST_HOURS,
    )
    (train,) = (charge for charge in execution.charges if charge.name == "Train")
    probe = replace(train, name="Probe", limit=f"{PROBE_MINUTES} min")
    return replace(execution, title=title, charges=(*execution.charges, serving, probe), notes=(*execution.notes, note))
