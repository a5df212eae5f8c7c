"""The table of the five steps to a real account with their costs, from the same estimate as `binventory cost`."""

from __future__ import annotations

from pathlib import Path

from binventory.cost import prices, quantities
from binventory.cost.amounts import money
from binventory.cost.estimate import estimate
from binventory.cost.workload import Workload

_START, _END = "<!-- written by make docs -->", "<!-- end -->"
PHOTOS = 10_000


def between_marks(page: str, written: str) -> str:
    """The page with the text between its two marks replaced."""
    before, _, rest = page.partition(_START)
    _, _, after = rest.partition(_END)
    return f"{before}{_START}\n{written}{_END}{after}"


def with_costs(readme: str, assembly: Path) -> str:
    """The README with a new table of steps."""
    return between_marks(readme, _table(assembly))


def _table(assembly: Path) -> str:
    found = quantities.read(assembly)
    known = prices.load(found.region)
    costs = estimate(found, known, Workload.of(found.parameters, PHOTOS, found.input_size), traffic=1000)
    worst = f"about {money(costs.execution_expected)} for {PHOTOS:,} photos, at most {money(costs.execution_worst)}"
    steps = [
        (
            "`binventory doctor`",
            "lists what is missing: tools, credentials, quotas",
            "a cent at most, for a request to Cost Explorer",
        ),
        ("`npx cdk bootstrap`", "once for each account and region", "cents a month of storage"),
        ("`npx cdk deploy --all -c env=dev`", "the stacks; no endpoint yet", f"{money(costs.idle_month)} a month"),
        ("`binventory train`", "shows its price and asks", worst),
        (
            "`binventory approve`",
            "puts the model behind the endpoint",
            f"{money(costs.serving_month)} a month while on",
        ),
    ]
    rows = [f"| {n} | {command} | {what} | {cost} |" for n, (command, what, cost) in enumerate(steps, start=1)]
    head = ["| | type | what it does | costs |", "|---|---|---|---|"]
    note = f"List prices of {known.read} in {found.region}; `binventory cost` shows how they are computed."
    return "\n".join([*head, *rows, "", note, ""])
