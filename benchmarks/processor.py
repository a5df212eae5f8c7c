"""What this machine's processor is: its name, and the vector instructions that decide how fast it multiplies."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from binventory.core.processors import usable_cpus

FEATURES: Final = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8")
_CPUINFO: Final = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Processor:
    """As the kernel describes it."""

    name: str
    cpus: int
    """Those that this process may use."""
    features: tuple[str, ...]
    """Of `FEATURES`, those that it has."""

    @property
    def lacks(self) -> tuple[str, ...]:
        """Of `FEATURES`, those that it has not."""
        return tuple(feature for feature in FEATURES if feature not in self.features)

    @property
    def has_int8_products(self) -> bool:
        """Whether the processor has instructions for int8 (VNNI or AMX), as those of ml.m5 have."""
        return not {"avx512_vnni", "avx_vnni", "amx_int8"}.isdisjoint(self.features)

    def __str__(self) -> str:
        return ", ".join((self.name, *self.features))


def this_processor(described: Path = _CPUINFO) -> Processor:
    """From /proc/cpuinfo. A system without one says the name only, and some processors have none there."""
    text = described.read_text() if described.is_file() else ""
    lines = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    fields = {name.strip(): value.strip() for name, _, value in lines}
    flags = fields.get("flags", "").split()
    name = fields.get("model name") or platform.processor() or platform.machine()
    return Processor(name, usable_cpus(), tuple(feature for feature in FEATURES if feature in flags))
