"""A resource in the account, and how the resources of one kind are listed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from botocore.exceptions import ClientError

from binventory.core.aws import Aws, error_code, error_message
from binventory.core.errors import Problem
from binventory.cost.prices import Prices
from binventory.cost.workload import HOURS_A_MONTH

FREE = 0.0
Answer = TypeVar("Answer")
_GONE: Final = frozenset({"NoSuchEntity", "RepositoryNotFoundException", "ResourceNotFoundException"})
_GONE_IN_WORDS: Final = ("Could not find", "does not exist")
"""What SageMaker says of it: the code is that of every wrong request."""


@dataclass(frozen=True)
class AccountResource:
    """One resource. Dollars are for a month in which it is not used; None where they are unknown."""

    kind: str
    name: str
    arn: str = ""
    dollars_a_month: float | None = FREE
    remove: tuple[str, ...] = ()  # commands, to be run in this order
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AccountReader:
    """The account to list, and the prices of its region where the table has them."""

    aws: Aws
    prices: Prices | None

    def instance_month(self, instance_type: str, count: int = 1) -> float | None:
        """Dollars for a month of SageMaker instances; None where the table does not hold the type."""
        return self._known(lambda prices: prices.instance_hour(instance_type), count * HOURS_A_MONTH)

    def machine_month(self, instance_type: str) -> float | None:
        """Dollars for a month of an EC2 instance on demand; None where the table does not hold the type."""
        return self._known(lambda prices: prices.ec2_hour(instance_type), HOURS_A_MONTH)

    def unit(self, name: str, quantity: float = 1.0) -> float | None:
        """Dollars for a quantity of a unit price such as `s3_gb_month`."""
        return self._known(lambda prices: prices.unit(name), quantity)

    def _known(self, price: Callable[[Prices], float], quantity: float) -> float | None:
        if self.prices is None:
            return None
        try:
            return price(self.prices) * quantity
        except Problem:
            return None


@dataclass(frozen=True)
class ResourceKind:
    """The resources of one kind: their name in the plural, and how to list all of the account's."""

    label: str
    find: Callable[[AccountReader], Iterator[AccountResource]]


def entries(aws: Aws, service: str, operation: str, key: str, **request: Any) -> Iterator[dict[str, Any]]:
    """What a list operation returns, page after page. Empty where the local AWS lacks the operation."""
    client = aws.client(service)
    try:
        if not client.can_paginate(operation):
            yield from getattr(client, operation)(**request).get(key, ())
            return
        for page in client.get_paginator(operation).paginate(**request):
            yield from page.get(key, ())
    except ClientError as error:
        # The local AWS cannot have made what it cannot list.
        if not (aws.is_local and error_code(error) in {"NotImplemented", "400"}):
            raise


def unless_gone(ask: Callable[[], Answer]) -> Answer | None:
    """The answer about one resource of a listing; None where there is none any more.

    AWS lists some resources for a while after they were deleted, as a destroy has just done.
    """
    try:
        return ask()
    except ClientError as error:
        if error_code(error) in _GONE or any(words in error_message(error) for words in _GONE_IN_WORDS):
            return None
        raise


def all_unless_gone(of_one: Iterator[Answer]) -> list[Answer] | None:
    """What is listed about one resource, as `unless_gone`."""
    return unless_gone(lambda: list(of_one))


def command(*words: str) -> str:
    """A command line of these words, quoted where a shell needs it."""
    return shlex.join(words)


def tags_of(raw: Mapping[str, Any]) -> dict[str, str]:
    """Tags as EC2 and SageMaker write them."""
    return {tag["Key"]: tag["Value"] for tag in raw.get("Tags", ())}
