"""Work beside other work: both end, and the failure of either is the one that is seen."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from binventory.core.beside import beside


def test_both_run_at_once_and_the_result_is_the_works() -> None:
    met = threading.Barrier(2, timeout=30)

    def work(check: Callable[[], None]) -> int:
        met.wait()
        check()
        return 7

    with beside(work) as working:
        met.wait()
        assert working.result(30) == 7


def test_the_works_failure_is_raised_where_its_result_is_asked_for() -> None:
    def work(check: Callable[[], None]) -> None:
        raise OSError("the disk is full")

    rest = []
    with pytest.raises(OSError, match="the disk is full"), beside(work) as working:
        rest.append("of the block")
        working.result(30)
    assert rest


@pytest.mark.parametrize("failure", [ValueError("deploy failed"), KeyboardInterrupt()], ids=["an error", "Ctrl-C"])
def test_a_failure_of_the_block_stops_the_work_and_is_the_one_that_is_raised(failure: BaseException) -> None:
    begun, rounds, ended = threading.Event(), [], threading.Event()

    def work(check: Callable[[], None]) -> None:
        try:
            while True:
                begun.set()
                rounds.append(1)
                check()
        finally:
            ended.set()

    with pytest.raises(type(failure)), beside(work):
        assert begun.wait(30)
        raise failure
    assert ended.is_set() and rounds
