"""How much of the environment's budget is spent, as AWS Budgets knows it (it learns of costs within hours)."""

from __future__ import annotations

import os
from dataclasses import dataclass

import boto3


@dataclass(frozen=True)
class Budget:
    """A monthly budget."""

    name: str
    limit: float
    spent: float
    unit: str

    @property
    def percent(self) -> float:
        """The share that is spent."""
        return 100 * self.spent / self.limit

    def __str__(self) -> str:
        return f"{self.spent:.2f} of {self.limit:.2f} {self.unit} ({self.percent:.0f}%) of budget {self.name} are spent"


def current_budget() -> Budget:
    """The budget that the function is about."""
    name = os.environ["BUDGET"]
    found = boto3.client("budgets").describe_budget(AccountId=os.environ["ACCOUNT"], BudgetName=name)["Budget"]
    return Budget(
        name=name,
        limit=float(found["BudgetLimit"]["Amount"]),
        spent=float(found["CalculatedSpend"]["ActualSpend"]["Amount"]),
        unit=found["BudgetLimit"]["Unit"],
    )


def guard_percent() -> float:
    """The share at which the guard acts; 0: never."""
    return float(os.environ["GUARD_PERCENT"])
