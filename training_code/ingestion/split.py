"""The split: whole blocks of neighbouring ids go to train, validation or test, so that no bin stands on both sides.

A pure function of the blocks, their sizes and a seed: every machine computes it alone and finds the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ingestion.ids import draw

TRAIN: Final = "train"
VALIDATION: Final = "validation"
TEST: Final = "test"
SPLITS: Final = (TRAIN, VALIDATION, TEST)
SHARES: Final = {TRAIN: 0.8, VALIDATION: 0.1, TEST: 0.1}
# With this many blocks chance alone keeps the shares within about one percent, and a block's split then never
# depends on any other block: photos added later move nothing. Fewer blocks are dealt out so that the shares fit.
_ENOUGH_BLOCKS: Final = 1000


class SplitError(ValueError):
    """The blocks cannot be split; the message says what to change."""


@dataclass(frozen=True, slots=True)
class BlockSplit:
    """Which split each block went to, and by which rule: `block_draw` or `block_deal`."""

    rule: str
    split_of: Mapping[str, str]


def split_blocks(photos_in: Mapping[str, int], seed: int) -> BlockSplit:
    """Put every block into a split. `photos_in` gives the photos of each block.

    Raises SplitError with fewer than three blocks: each split needs one.
    """
    if len(photos_in) < len(SPLITS):
        raise SplitError(
            f"{len(photos_in)} block(s) of ids cannot fill train, validation and test; "
            "take a smaller --block-size or more photos"
        )
    if len(photos_in) >= _ENOUGH_BLOCKS:
        return BlockSplit("block_draw", {block: _drawn(block, seed) for block in photos_in})
    return BlockSplit("block_deal", _dealt(photos_in, seed))


def _drawn(block: str, seed: int) -> str:
    position = draw(seed, "split", block) / 2**64
    if position < SHARES[TRAIN]:
        return TRAIN
    return VALIDATION if position < SHARES[TRAIN] + SHARES[VALIDATION] else TEST


def _dealt(photos_in: Mapping[str, int], seed: int) -> dict[str, str]:
    """Blocks in seeded order, each to the split that lacks most; the last ones fill splits that are still empty."""
    total = sum(photos_in.values())
    lacks = {split: SHARES[split] * total for split in SPLITS}
    empty = set(SPLITS)
    chosen: dict[str, str] = {}
    order = sorted(photos_in, key=lambda block: (draw(seed, "split", block), block))
    for place, block in enumerate(order):
        open_splits = [s for s in SPLITS if s in empty] if len(order) - place <= len(empty) else SPLITS
        split = max(open_splits, key=lambda s: lacks[s])
        lacks[split] -= photos_in[block]
        empty.discard(split)
        chosen[block] = split
    return chosen
