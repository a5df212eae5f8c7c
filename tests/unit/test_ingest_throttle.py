"""The limits hold: requests in flight, bytes, waiting results; results come in the order of the work."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.throttle import AdaptiveLimit, ByteBudget, in_order


@given(st.lists(st.booleans(), max_size=300), st.integers(1, 64))
def test_the_limit_stays_between_one_and_its_maximum(answers: list[bool], maximum: int) -> None:
    limit = AdaptiveLimit(maximum)
    for good in answers:
        limit.succeeded() if good else limit.slowed()
        assert 1 <= limit.limit <= maximum


def test_the_limit_halves_once_for_a_burst_of_refusals_and_grows_back_slowly() -> None:
    limit = AdaptiveLimit(64)
    while limit.limit < 64:
        limit.succeeded()
    for _ in range(40):
        limit.slowed()
    assert limit.limit == 32
    for _ in range(32):
        limit.succeeded()
    assert 32 < limit.limit <= 33.5
    limit.slowed()
    assert limit.limit < 17


@given(st.integers(1, 8), st.lists(st.sampled_from(["good", "slow", "cancel"]), min_size=1, max_size=40))
def test_no_more_requests_fly_than_allowed_and_none_is_forgotten(maximum: int, fates: list[str]) -> None:
    async def run() -> None:
        limit = AdaptiveLimit(maximum, start=maximum)

        async def request(fate: str) -> None:
            async with limit:
                assert limit.in_flight <= maximum
                await asyncio.sleep(0)
                limit.slowed() if fate == "slow" else limit.succeeded()

        tasks = [asyncio.ensure_future(request(fate)) for fate in fates]
        await asyncio.sleep(0)
        for task, fate in zip(tasks, fates, strict=True):
            if fate == "cancel":
                task.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        assert limit.in_flight == 0

    asyncio.run(run())


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(1, 40))
def test_bytes_held_stay_within_the_budget_unless_one_item_alone_is_larger(sizes: list[int], budget: int) -> None:
    async def run() -> None:
        bytes_held = ByteBudget(budget)

        async def hold(size: int) -> None:
            async with bytes_held.hold(size):
                assert bytes_held.held <= max(budget, size)
                await asyncio.sleep(0)

        await asyncio.wait_for(asyncio.gather(*(hold(size) for size in sizes)), 5)
        assert bytes_held.held == 0

    asyncio.run(run())


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 8), st.integers(1, 60))
def test_results_that_wait_hold_no_more_bytes_than_allowed_unless_one_alone_is_larger(
    sizes: list[int], window: int, most: int
) -> None:
    async def run() -> None:
        held: list[int] = []

        async def work(size: int) -> int:
            held.append(size)
            assert len(held) <= window
            assert sum(held) <= most or len([one for one in held if one]) == 1
            await asyncio.sleep(0)
            return size

        results = in_order(sizes, work, window, size_of=lambda size: size, most_bytes=most)
        found = []
        async for size, _ in results:
            found.append(size)
            held.remove(size)
        assert found == sizes

    asyncio.run(asyncio.wait_for(run(), 5))


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 8))
def test_results_come_in_order_and_no_more_than_the_window_is_under_way(pauses: list[int], window: int) -> None:
    async def run() -> None:
        under_way = 0

        async def work(pause: int) -> int:
            nonlocal under_way
            under_way += 1
            assert under_way <= window
            for _ in range(pause):
                await asyncio.sleep(0)
            under_way -= 1
            return pause * 2

        assert [(i, r) async for i, r in in_order(pauses, work, window)] == [(pause, pause * 2) for pause in pauses]

    asyncio.run(run())


def test_the_first_error_ends_the_work_and_leaves_none_running() -> None:
    async def run() -> None:
        started: list[int] = []
        ended: list[int] = []

        async def work(number: int) -> int:
            started.append(number)
            try:
                await asyncio.sleep(0 if number == 1 else 60)
                raise ValueError("broken")
            finally:
                ended.append(number)

        with pytest.raises(ValueError, match="broken"):
            async with aclosing(in_order([1, 2, 3, 4, 5], work, 3)) as results:
                async for _ in results:
                    pass
        assert sorted(started) == sorted(ended) == [1, 2, 3]

    asyncio.run(run())


@pytest.mark.parametrize("maximum", [0, -1])
def test_a_limit_below_one_is_refused(maximum: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        AdaptiveLimit(maximum)
