"""Boxes, arrows and text as SVG, for light and dark pages. Whole numbers only, so that the output is reproducible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

STYLE = """
svg{font-family:system-ui,-apple-system,"Segoe UI",sans-serif;font-size:13px}
.paper{fill:#ffffff}.box{fill:#f6f8fa;stroke:#8c959f}.strong{fill:#ddf4ff;stroke:#0969da}.off{stroke-dasharray:5 4}
text{fill:#1f2328}.title{font-weight:600;font-size:15px}.quiet{fill:#59636e}.arrow{fill:none;stroke:#59636e;stroke-width:1.5}
.head{fill:#59636e}
@media(prefers-color-scheme:dark){.paper{fill:#0d1117}.box{fill:#161b22;stroke:#6e7681}.strong{fill:#0c2d4d;stroke:#4493f8}
text{fill:#e6edf3}.quiet{fill:#9198a1}.arrow{stroke:#9198a1}.head{fill:#9198a1}}
"""
LINE = 18
PADDING = 12


@dataclass(frozen=True)
class Box:
    """A card: a title, and lines of text below it."""

    title: str
    lines: Sequence[str]
    x: int
    y: int
    width: int
    strong: bool = False
    off: bool = False
    """Exists only while something is switched on."""

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return 2 * PADDING + LINE * (1 + len(self.lines))

    def draw(self) -> str:
        """The card as SVG."""
        style = f"box{' strong' if self.strong else ''}{' off' if self.off else ''}"
        parts = [
            f'<rect class="{style}" x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}" rx="8"/>'
        ]
        for number, line in enumerate([self.title, *self.lines]):
            kind = "title" if number == 0 else "quiet" if line.startswith("·") else ""
            shown = escape(line.removeprefix("·"))
            y = self.y + PADDING + LINE * number + 13
            parts.append(f'<text class="{kind}" x="{self.x + PADDING}" y="{y}">{shown}</text>')
        return "".join(parts)


def arrow(points: Sequence[tuple[int, int]], label: str = "") -> str:
    """A line through points with a head at its end, and a word beside its first bend."""
    (before_x, before_y), (x, y) = points[-2:]
    path = " ".join(f"{px},{py}" for px, py in points)
    if x == before_x:
        step = 7 if y > before_y else -7
        head = f"{x - 4},{y - step} {x + 4},{y - step} {x},{y}"
    else:
        step = 7 if x > before_x else -7
        head = f"{x - step},{y - 4} {x - step},{y + 4} {x},{y}"
    word = ""
    if label:
        middle = len(points) // 2
        (ax, ay), (bx, by) = points[middle - 1], points[middle]
        word = f'<text class="quiet" x="{(ax + bx) // 2 + 6}" y="{(ay + by) // 2 - 5}">{escape(label)}</text>'
    return f'<polyline class="arrow" points="{path}"/><polygon class="head" points="{head}"/>{word}'


def picture(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    """A whole SVG file."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title, quote=True)}">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n"
        f'<rect class="paper" width="{width}" height="{height}"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )
