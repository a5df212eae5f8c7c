"""The budget guard: how much of the environment's budget is spent, and whether that turns the endpoint off.

AWS Budgets learns of costs within hours.
"""

from __future__ import annotations

from dataclasses import dataclass

from functions.aws import client


@dataclass(frozen=True)
class Budget:
    """A monthly budget."""

    name: str
    limit: float
    spent: float
    unit: str

    @property
    def percent(self) -> float:
        """Share that is spent, in per cent."""
        return 100 * self.spent / self.limit

    def __str__(self) -> str:
        return f"{self.spent:.2f} of {self.limit:.2f} {self.unit} ({self.percent:.0f}%) of budget {self.name} are spent"


def current_budget(account: str, name: str) -> Budget:
    """The budget as it is now."""
    found = client("budgets").describe_budget(AccountId=account, BudgetName=name)["Budget"]
    return Budget(
        name=name,
        limit=float(found["BudgetLimit"]["Amount"]),
        spent=float(found["CalculatedSpend"]["ActualSpend"]["Amount"]),
        unit=found["BudgetLimit"]["Unit"],
    )


def is_spent(budget: Budget, guard_percent: float) -> bool:
    """Whether the guard acts: this share of the budget is spent. With a share of 0 it never does."""
    return bool(guard_percent) and budget.percent >= guard_percent
