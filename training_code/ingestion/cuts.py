"""Where a bucket's long listing is cut into parts that are listed at the same time.

S3 gives a thousand keys a request and says neither how many follow nor where. Ids are numbers, so the keys of one full
page show how densely they lie, and what follows is cut into parts of a little less than a page: each is one request.
Nothing is lost where the estimate is wrong, since the parts always join: a part with more keys is cut again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_DIGITS: Final = "0123456789"
_DEEPEST: Final = 4
# More parts than this are cut by the next digit first: how densely one page lies says little about keys far away.
_MOST: Final = 12
# Of a page. A part of exactly one page needs a second request to find its end, and ids without gaps make such parts.
_FILLED: Final = 0.95
# Digits of a name that are compared as a number.
_PRECISION: Final = 9
_NUMBER: Final = re.compile(rf"[0-9]{{1,{_PRECISION}}}")


@dataclass(frozen=True, slots=True)
class Part:
    """The names after `after` and up to `last` (None: all that follow); nearly all of them start with `common`."""

    after: str = ""
    last: str | None = None
    common: str = ""


def cut(part: Part, first: str) -> list[Part]:
    """Parts that together are `part`; it alone where it is not worth cutting.

    Args:
        part: what follows a full page.
        first: the first name of that page, whose last one is `part.after`.
    """
    ends = None if part.common == "" else _ends_of_pages(part, first)
    if ends is not None:
        return _split(part, ends, [part.common] * (len(ends) + 1))
    starts = [part.common + digit for digit in _DIGITS if _is_inside(part, part.common + digit)]
    if not starts or len(part.common) >= _DEEPEST:
        return [part]
    return _split(part, starts, [part.after[: len(part.common) + 1], *starts])


def _split(part: Part, at: list[str], common: list[str]) -> list[Part]:
    return [Part(*each) for each in zip([part.after, *at], [*at, part.last], common, strict=True)]


def _ends_of_pages(part: Part, first: str) -> list[str] | None:
    """Names between parts of about a page each; None where names are no numbers, or for too many parts."""
    low, high = (_position(name, part.common) for name in (first, part.after))
    end = None if part.last is None else _position(part.last, part.common)
    if low is None or high is None or low >= high:
        return None
    end = 10**_PRECISION if end is None else end
    step = max(1, int(_FILLED * (high - low)))
    positions = range(high + step, end, step)
    if len(positions) > _MOST:
        return None
    ends = (f"{part.common}{position:0{_PRECISION}}" for position in positions)
    return [name for name in ends if _is_inside(part, name)]


def _is_inside(part: Part, name: str) -> bool:
    return part.after < name and (part.last is None or name < part.last)


def _position(name: str, common: str) -> int | None:
    """Where a name stands among those that start with `common`, by the digits that follow; None without any."""
    digits = _NUMBER.match(name, len(common)) if name.startswith(common) else None
    return digits and int(digits[0].ljust(_PRECISION, "0"))
