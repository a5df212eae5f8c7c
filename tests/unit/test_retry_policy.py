"""Retry policies of pipeline steps, as AWS's page on them describes them."""

from __future__ import annotations

from typing import Any

import pytest

from local_aws.pipelines.retry_policy import policy_for, read_policy

LIMIT = "SageMaker.RESOURCE_LIMIT"
INTERNAL = "SageMaker.JOB_INTERNAL_ERROR"


def test_without_a_limit_a_step_is_repeated_five_times() -> None:
    policy = read_policy({"ExceptionType": [LIMIT]})
    assert [policy.allows(count, 1e9) for count in (0, 4, 5)] == [True, True, False]
    assert [policy.pause(count) for count in (0, 1, 2)] == [1, 2, 4]


def test_a_time_limits_the_repetitions_instead_of_their_number() -> None:
    policy = read_policy({"ExceptionType": [LIMIT], "ExpireAfterMin": 2, "IntervalSeconds": 3, "BackoffRate": 1})
    assert [policy.allows(1000, elapsed) for elapsed in (0, 119, 120)] == [True, True, False]
    assert policy.pause(7) == 3


@pytest.mark.parametrize("never", [{"MaxAttempts": 0}, {"ExpireAfterMin": 0}])
def test_zero_says_that_nothing_is_repeated(never: dict[str, int]) -> None:
    assert not read_policy({"ExceptionType": [LIMIT]} | never).allows(0, 0.0)


def test_the_first_policy_that_names_an_error_decides() -> None:
    policies = [read_policy({"ExceptionType": [LIMIT], "MaxAttempts": 1}), read_policy({"ExceptionType": [INTERNAL]})]
    assert policy_for(policies, "Training", LIMIT) is policies[0]
    assert policy_for(policies, "Training", INTERNAL) is policies[1]
    assert policy_for(policies, "Training", "Step.THROTTLING") is None
    assert policy_for(policies, "Training", "") is None
    assert policy_for(policies, "Tuning", INTERNAL) is None, "a tuning job repeats its trials itself"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "ExceptionType must be a list of one or more of Step.SERVICE_FAULT"),
        ({"ExceptionType": []}, "ExceptionType must be"),
        ({"ExceptionType": LIMIT}, "ExceptionType must be a list"),
        ({"ExceptionType": ["SageMaker.JOB_CAPACITY_ERROR"]}, "SageMaker.CAPACITY_ERROR"),
        ({"ExceptionType": [LIMIT], "MaxAttempts": 1, "ExpireAfterMin": 1}, "not both"),
        ({"ExceptionType": [LIMIT], "MaxAttempts": 21}, "MaxAttempts must be a whole number from 0 to 20"),
        ({"ExceptionType": [LIMIT], "MaxAttempts": "2"}, "MaxAttempts must be a whole number"),
        ({"ExceptionType": [LIMIT], "MaxAttempts": True}, "MaxAttempts must be a whole number"),
        ({"ExceptionType": [LIMIT], "ExpireAfterMin": 14_401}, "ExpireAfterMin must be a whole number from 0 to 14400"),
        ({"ExceptionType": [LIMIT], "IntervalSeconds": 43_201}, "IntervalSeconds must be .* from 0 to 43200"),
        ({"ExceptionType": [LIMIT], "BackoffRate": -1}, "BackoffRate must be a number of at least 0"),
        ({"ExceptionType": [LIMIT], "BackoffRate": float("nan")}, "BackoffRate must be"),
        ({"ExceptionType": [LIMIT], "MaxAttempt": 1}, "unknown members: MaxAttempt; known: ExceptionType"),
    ],
)
def test_what_aws_does_not_take_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_policy(given)
