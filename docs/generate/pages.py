"""Every generated file and what it is made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docs.generate.commands_page import commands_page
from docs.generate.pipeline_picture import pipeline_picture
from docs.generate.settings_page import settings_page
from docs.generate.stacks_picture import stacks_picture


def generated(templates: Mapping[str, dict[str, Any]]) -> dict[str, str]:
    """The content of each generated file by its path below docs/, from the templates of the dev environment."""
    return {
        "pictures/stacks.svg": stacks_picture(templates),
        "pictures/pipeline.svg": pipeline_picture(templates),
        "settings.md": settings_page(),
        "cli.md": commands_page(),
    }
