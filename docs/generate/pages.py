"""Every generated file and what it is made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
    manifest = json.loads((assembly / "manifest.json").read_text())["artifacts"]
    templates: dict[str, dict[str, Any]] = {
        name: json.loads((assembly / artifact["properties"]["templateFile"]).read_text())
        for name, artifact in manifest.items()
        if artifact["type"] == "aws:cloudformation:stack"
    }
    return {
        "README.md": with_costs((repository / "README.md").read_text(), assembly),
        "docs/cli.md": commands_page(),
        "docs/costs.md": with_figures((repository / "docs/costs.md").read_text(), assembly),
        "docs/pictures/pipeline.svg": pipeline_picture(templates),
        "docs/pictures/stacks.svg": stacks_picture(templates),
        "docs/settings.md": settings_page(),
    }
