"""Renders a page from its Jinja template: self-contained, for light and dark screens, phones and print."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import Environment

_KIT = Path(__file__).parent


def render(template: Path, **values: Any) -> str:
    """The page as HTML.

    Args:
        template: a Jinja file that extends `base.html`, which brings the stylesheet and the content security policy.
            Everything that it shows is escaped, except for values that are `Markup`.
        values: what the template names; a name that is missing is an error.
    """
    return _environment(template.parent).get_template(template.name).render(**values)


@cache
def _environment(folder: Path) -> Environment:
    """Compiles the templates of a folder once: that takes longer than filling them in."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # a command that draws no page waits for none

    environment = Environment(
        loader=FileSystemLoader([folder, _KIT]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["thousands"] = lambda number: f"{number:,}"
    environment.globals["stylesheet"] = Markup((_KIT / "style.css").read_text(encoding="utf-8"))
    return environment


def percent(share: float) -> str:
    """A share as 12.3%; `n/a` for a value that is no number."""
    return "n/a" if share != share else f"{100 * share:.1f}%"
