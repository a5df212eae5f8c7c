"""An estimate as Markdown for pull requests, as plain data, and as the difference between two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from binventory.cost.estimate import Estimate
from binventory.cost.spent import Spent


def to_json(found: Estimate) -> dict[str, Any]:
    """Plain data with the totals."""
    totals = {
        "idle_month": found.idle_month,
        "serving_month": found.serving_month,
        "execution_expected": found.execution_expected,
        "execution_worst": found.execution_worst,
    }
    return {**asdict(found), "totals": totals}


def markdown(found: Estimate, before: Estimate | None = None) -> str:
    """The estimate for a pull request; with `before`, what the change does to it."""
    lines = [f"### Cost of `{found.environment}` in {found.region}", "", "| | " + " | ".join(_heads(before)) + " |"]
    lines.append("|---|" + "---:|" * len(_heads(before)))
    lines.extend(f"| {name} | {' | '.join(values)} |" for name, values in rows(found, before))
    return "\n".join(lines) + "\n"


def rows(found: Estimate, before: Estimate | None) -> list[tuple[str, list[str]]]:
    """The totals, one a row: now; or before, now and the difference."""
    names: dict[str, Callable[[Estimate], float]] = {
        "A month with the endpoint off": lambda estimate: estimate.idle_month,
        "A month of the endpoint, more": lambda estimate: estimate.serving_month,
        "One pipeline execution": lambda estimate: estimate.execution_expected,
        "One execution at worst": lambda estimate: estimate.execution_worst,
    }
    made = []
    for name, read in names.items():
        now = read(found)
        if before is None:
            made.append((name, [money(now)]))
        else:
            then = read(before)
            made.append((name, [money(then), money(now), difference(now - then)]))
    return made


def _heads(before: Estimate | None) -> list[str]:
    return ["cost"] if before is None else ["before", "after", "difference"]


def money(dollars: float) -> str:
    """Dollars with the digits that matter: $0.0031, $0.42, $83.95."""
    return f"${dollars:.4f}" if 0 < abs(dollars) < 0.01 else f"${dollars:,.2f}"


def money_or_unknown(dollars: float | None) -> str:
    """Dollars, or that the table holds no price for them."""
    return "unknown" if dollars is None else money(dollars)


def percent(value: float) -> str:
    """A share that is given in per cent: 0.4%, 20%."""
    return f"{value:.1f}%" if 0 < value < 1 else f"{value:.0f}%"


def so_far(spent: Spent) -> str:
    """One line: `at most $0.42 so far, spot saved $0.63`."""
    if spent.dollars is None or spent.saved is None:
        return f"no price for every instance type in {spent.region}: binventory cost --refresh"
    amount = f"at most {money(spent.dollars)} so far" if spent.running else money(spent.dollars)
    return f"{amount}, spot saved {money(spent.saved)}" if spent.saved >= 0.00005 else amount


def difference(dollars: float) -> str:
    """A signed amount; "none" where nothing changes."""
    if abs(dollars) < 0.00005:
        return "none"
    return ("+" if dollars > 0 else "-") + money(abs(dollars))
