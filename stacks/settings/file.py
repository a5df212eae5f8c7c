"""The settings file: YAML in which no key is given twice. A reader of plain YAML would take the last one silently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic_settings import YamlConfigSettingsSource


class SettingsFile(YamlConfigSettingsSource):
    """The file as a source of settings. Raises yaml.YAMLError where it cannot be read or gives a key twice."""

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        found: dict[str, Any] = yaml.load(Path(file_path).read_text("utf-8"), _Loader) or {}
        return found


class _Loader(yaml.SafeLoader):
    """Refuses a mapping with two equal keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} is given in line {seen[key.value]} and again in line {line}: keep one"
                )
            seen[key.value] = line
        return super().construct_mapping(node, deep)
