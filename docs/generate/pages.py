"""Every generated file and what it is made from."""

from __future__ import annotations

from pathlib import Path

from binventory.assembly.templates import read_stacks
from docs.generate.commands_page import commands_page
from docs.generate.costs_page import with_figures
from docs.generate.costs_table import with_costs
from docs.generate.pipeline_picture import pipeline_picture
from docs.generate.settings_page import settings_page
from docs.generate.stacks_picture import stacks_picture


def generated(assembly: Path, repository: Path) -> dict[str, str]:
    """The content of each generated file by its path in the repository.

    assembly: the synthesized dev environment. Of README and costs.md only what stands between two marks is written.
    """
    templates = {stack.id: stack.template for stack in read_stacks(assembly)}
    return {
        "README.md": with_costs((repository / "README.md").read_text(), assembly),
        "docs/cli.md": commands_page(),
        "docs/costs.md": with_figures((repository / "docs/costs.md").read_text(), assembly),
        "docs/pictures/pipeline.svg": pipeline_picture(templates),
        "docs/pictures/stacks.svg": stacks_picture(templates),
        "docs/settings.md": settings_page(),
    }
