"""What travels between processes by the hundred thousand."""

from __future__ import annotations


class Packed:
    """A frozen dataclass with slots that is pickled as its fields in their order: half the time of its own way."""

    __slots__: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[type[Packed], tuple[object, ...]]:
        return type(self), tuple([getattr(self, name) for name in self.__slots__])
