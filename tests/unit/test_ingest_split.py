"""The split keeps blocks together, in any order of ids, and its shares are near the setting."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binventory.records.ids import is_bin_id
from ingestion.split import SHARES, block_of, split_blocks
from stacks.vocabulary import SPLITS, TEST, TRAIN

BLOCKS = st.dictionaries(st.integers(0, 10**6).map(str), st.integers(1, 200), min_size=3, max_size=60)


@given(BLOCKS, st.integers(), st.randoms())
def test_every_block_has_one_split_whatever_the_order(blocks: dict[str, int], seed: int, order: object) -> None:
    shuffled = list(blocks.items())
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    split = split_blocks(blocks, seed)
    assert split.split_of.keys() == blocks.keys()
    assert set(split.split_of.values()) == set(SPLITS)
    assert split_blocks(dict(shuffled), seed) == split


@given(st.dictionaries(st.integers(0, 10**6).map(str), st.integers(1, 200), min_size=20, max_size=60), st.integers())
def test_no_split_exceeds_its_share_by_more_than_one_block(blocks: dict[str, int], seed: int) -> None:
    total, largest = sum(blocks.values()), max(blocks.values())
    photos: Counter[str] = Counter()
    for block, split in split_blocks(blocks, seed).split_of.items():
        photos[split] += blocks[block]
    for split in SPLITS:
        assert photos[split] <= SHARES[split] * total + largest


@given(st.integers(), st.integers(1000, 1200), st.integers(1, 200))
def test_blocks_added_later_move_no_other_in_a_large_dataset(seed: int, blocks: int, added: int) -> None:
    before = split_blocks({str(block): 100 for block in range(blocks)}, seed)
    after = split_blocks({str(block): 1 for block in range(blocks + added)}, seed)
    assert before.rule == after.rule == "block_draw"
    assert all(after.split_of[block] == split for block, split in before.split_of.items())


@given(
    st.lists(st.integers(1, 100), min_size=10, max_size=300),
    st.lists(st.integers(1, 100), max_size=300),
    st.integers(),
)
def test_photos_added_later_bring_none_from_train_to_test_until_there_are_twice_as_many(
    photos: list[int], added: list[int], seed: int
) -> None:
    """Otherwise the champion would be judged on photos that it has learnt, and no challenger were as good."""
    room = sum(photos) // 2
    more: list[int] = []
    for number in added:
        if sum(more) + number <= room:
            more.append(number)
    before = split_blocks({str(block): number for block, number in enumerate(photos)}, seed)
    after = split_blocks({str(block): number for block, number in enumerate([*photos, *more])}, seed)
    largest = max(photos + more)
    if largest * 20 < sum(photos):  # a larger block fills much of a split by itself
        assert not [b for b, split in before.split_of.items() if split == TRAIN and after.split_of[b] == TEST]


@pytest.mark.parametrize(("blocks", "added"), [(60, 3), (68, 30), (600, 10), (990, 20)])
def test_few_blocks_move_when_photos_are_added_also_where_the_rule_changes(blocks: int, added: int) -> None:
    before = split_blocks({str(block): 20 + block % 81 for block in range(blocks)}, 17).split_of
    after = split_blocks({str(block): 20 + block % 81 for block in range(blocks + added)}, 17).split_of
    moved = [(before[block], after[block]) for block in before if before[block] != after[block]]
    assert len(moved) <= 0.05 * blocks and (TRAIN, TEST) not in moved


def test_shares_of_a_large_dataset_are_near_what_was_asked_for() -> None:
    counts = Counter(split_blocks({str(block): 100 for block in range(5353)}, 0).split_of.values())
    for split in SPLITS:
        assert counts[split] / 5353 == pytest.approx(SHARES[split], abs=0.015)


@pytest.mark.parametrize("blocks", [{}, {"1": 100}, {"1": 1, "2": 100}])
def test_fewer_blocks_than_splits_have_a_split_each(blocks: dict[str, int]) -> None:
    split_of = split_blocks(blocks, 0).split_of
    assert split_of.keys() == blocks.keys() and len(set(split_of.values())) == len(blocks)


@given(st.integers(0, 10**9), st.integers(1, 1000), st.integers(0, 9))
def test_padding_changes_the_id_and_never_the_block(number: int, size: int, zeros: int) -> None:
    padded = "0" * zeros + str(number)
    assert block_of(padded, size) == block_of(str(number), size) == str(number // size)


def test_neighbours_share_a_block_and_names_without_digits_are_their_own() -> None:
    assert block_of("00199", 100) != block_of("00200", 100) == block_of("00299", 100)
    assert block_of("aisle3-0041", 10) == block_of("aisle3-0049", 10) == "aisle3-4"
    assert block_of("loose", 100) == "loose"


@pytest.mark.parametrize(
    "text", ["", "../00001", "a/b", "a\\b", ".", "..", "00001.jpg", "00001\n", "-rf", "é1", "0" * 65, "a b", "%2e"]
)
def test_ids_that_could_be_paths_are_refused(text: str) -> None:
    assert not is_bin_id(text)
