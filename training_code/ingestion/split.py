"""The blocks of neighbouring ids, and the split: whole blocks go to train, validation or test.

Neighbouring ids often show the same bin, so no block stands on both sides. Every function here depends on nothing but
its arguments: each machine computes the split alone and gets the same one.

Ids are names, not numbers: `1234` and `01234` are two photos and neither is padded into the other. They share a block,
so they are always in the same split.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from stacks.vocabulary import SPLITS, TEST, TRAIN, VALIDATION

_TRAILING_DIGITS: Final = re.compile(r"[0-9]+$")
SHARES: Final = {TRAIN: 0.8, VALIDATION: 0.1, TEST: 0.1}
# From this many blocks on, each block is drawn by itself: chance keeps the shares within about one percent, and photos
# that are added later move no other block. Fewer blocks are cut where the shares fit.
_ENOUGH_BLOCKS: Final = 1000


def block_of(bin_id: str, block_size: int) -> str:
    """The name of the block of neighbouring ids that an id belongs to; an id without digits is a block by itself."""
    digits = _TRAILING_DIGITS.search(bin_id)
    if digits is None:
        return bin_id
    return f"{bin_id[: digits.start()]}{int(digits.group()) // block_size}"


def draw(seed: int, kind: str, name: str) -> int:
    """A pseudo-random number in 0..2**64-1 that depends on its arguments only."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{kind}:{name}".encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class BlockSplit:
    """The split of each block, and the rule that chose it: `block_draw` or `block_deal`."""

    rule: str
    split_of: Mapping[str, str]


def split_blocks(photos_in: Mapping[str, int], seed: int) -> BlockSplit:
    """Put every block into a split; with fewer than three blocks some splits get none.

    `photos_in` is the number of photos of each block.
    """
    if len(photos_in) >= _ENOUGH_BLOCKS:
        return BlockSplit("block_draw", {block: _drawn(block, seed) for block in photos_in})
    return BlockSplit("block_deal", _dealt(photos_in, seed))


def _drawn(block: str, seed: int) -> str:
    return _at(draw(seed, "split", block) / 2**64)


def _at(position: float) -> str:
    """The split at a position from 0 to 1."""
    if position < SHARES[TRAIN]:
        return TRAIN
    return VALIDATION if position < SHARES[TRAIN] + SHARES[VALIDATION] else TEST


def _dealt(photos_in: Mapping[str, int], seed: int) -> dict[str, str]:
    """Blocks in the order in which `_drawn` places them, cut where the shares of the photos fit.

    So photos that are added or left out later move only the blocks beside a cut. Validation lies between the others:
    hardly a block ever comes from train to test, where the champion would be judged on photos that it has learnt.
    """
    order = sorted(photos_in, key=lambda block: (draw(seed, "split", block), block))
    total, before = sum(photos_in.values()), 0
    shares = dict.fromkeys(SPLITS, 0)
    for block in order:
        middle = (before + photos_in[block] / 2) / total
        shares[_at(middle)] += 1
        before += photos_in[block]
    train = max(1, min(shares[TRAIN], len(order) - 2))
    tested = max(train + 1, min(shares[TRAIN] + shares[VALIDATION], len(order) - 1))
    return {
        block: TRAIN if place < train else VALIDATION if place < tested else TEST for place, block in enumerate(order)
    }
