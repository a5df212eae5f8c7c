"""What differs between environments: `settings/<environment>.yaml`, typed and checked before a construct exists."""

from __future__ import annotations

from stacks.settings.changed import Complaint, complaints
from stacks.settings.load import SETTINGS_FOLDER, InvalidSettingsError, load
from stacks.settings.naming import EnvironmentName
from stacks.settings.settings import ENVIRONMENT_PREFIX, Settings

__all__ = [
    "ENVIRONMENT_PREFIX", "SETTINGS_FOLDER", "Complaint", "EnvironmentName", "InvalidSettingsError", "Settings",
    "complaints", "load",
]  # fmt: skip
