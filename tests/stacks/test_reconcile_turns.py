"""Calls of the function at once take turns, and no call that ended badly keeps the others waiting for ever."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from promotion import turns
from promotion.turns import TurnError, turn
from tests.stacks.conftest import ClientFactory

BUCKET = "turns"
KEY = "endpoint/turn.json"


@pytest.fixture
def s3(aws: ClientFactory) -> Any:
    client = aws("s3")
    client.create_bucket(Bucket=BUCKET)
    client.delete_object(Bucket=BUCKET, Key=KEY)
    return client


def test_no_two_have_their_turn_at_once(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_PAUSE_SECONDS", 0.01)
    inside: list[int] = []
    most: list[int] = []

    def call(number: int) -> None:
        for _ in range(4):
            with turn(BUCKET):
                inside.append(number)
                most.append(len(inside))
                time.sleep(0.01)
                inside.remove(number)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 24
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)


def test_one_that_waits_too_long_says_so_and_leaves_the_turn_to_its_owner(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "WAIT_SECONDS", 0.5)
    with turn(BUCKET):
        with pytest.raises(TurnError, match=f"s3://{BUCKET}/{KEY}"), turn(BUCKET):
            raise AssertionError("two at once")
        assert s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 1


def test_an_error_ends_the_turn(s3: Any) -> None:
    with pytest.raises(ZeroDivisionError), turn(BUCKET):
        _ = 1 / 0
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)


@pytest.mark.parametrize("left", [json.dumps({"until": 1.0}), "{}", "[]", "not JSON", '{"until": "soon"}'])
def test_what_a_call_that_was_ended_has_left_is_taken_over(s3: Any, left: str) -> None:
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=left.encode())
    begun = time.monotonic()
    with turn(BUCKET):
        assert json.loads(s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read())["until"] > time.time()
    assert time.monotonic() - begun < turns.WAIT_SECONDS


def test_another_error_of_s3_is_raised(aws: ClientFactory) -> None:
    error = aws("s3").exceptions.ClientError
    with pytest.raises(error, match="NoSuchBucket"), turn("a-bucket-that-nobody-made"):
        pass
