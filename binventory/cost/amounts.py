"""Amounts as people read them."""

from __future__ import annotations


def money(dollars: float) -> str:
    """Dollars with significant digits: $0.0031, $0.42, $83.95."""
    return f"${dollars:.4f}" if 0 < abs(dollars) < 0.01 else f"${dollars:,.2f}"


def money_or_unknown(dollars: float | None) -> str:
    """Dollars, or that the table holds no price for them."""
    return "unknown" if dollars is None else money(dollars)


def percent(value: float) -> str:
    """A share that is given in per cent: 0.4%, 20%."""
    return f"{value:.1f}%" if 0 < value < 1 else f"{value:.0f}%"


def difference(dollars: float) -> str:
    """A signed amount; "none" where nothing changes."""
    if abs(dollars) < 0.00005:
        return "none"
    return ("+" if dollars > 0 else "-") + money(abs(dollars))
