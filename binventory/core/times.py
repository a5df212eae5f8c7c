"""Times as people read them."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """A time for people: 0.4 s, 12 s, 3:05, 2:05:00; empty for none."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 100 else f"{minutes}:{rest:02d}"
