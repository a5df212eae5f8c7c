"""OpenVINO without its telemetry: `from silent_openvino import openvino`.

By itself, each `import openvino` reports to Google Analytics and keeps an id in ~/intel: from endpoints, from jobs, and
from the computers of those who deploy.
"""

from __future__ import annotations

import sys

# A module that is None cannot be imported. OpenVINO then takes its own stub.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402

__all__ = ["openvino"]
