"""What all List operations share: filters by name, status and time, sorting, pages."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from local_aws.core.errors import AwsError, validation
from local_aws.core.protocol import Document
from local_aws.core.store import Table

DEFAULT_PAGE = 10
"""Of all List operations of SageMaker but that of tags, as the API reference says."""


def named(table: Table, name: str) -> Document | None:
    """The resource that a name or an ARN names; None if there is none. An ARN has the name in lower case."""
    found = table.get(name.rsplit("/", 1)[-1])
    if found is None and name.startswith("arn:"):
        wanted = name.rsplit("/", 1)[-1].lower()
        found = next((document for key, document in table.items() if key.lower() == wanted), None)
    return found


class Order(NamedTuple):
    """The order of a listing whose request names none, as the API reference says of each operation."""

    sort_by: str
    sort_order: str


_WRONG_TOKEN = "NextToken is not a token that this operation returned"
NEWEST_FIRST = Order("CreationTime", "Descending")
OLDEST_FIRST = Order("CreationTime", "Ascending")
BY_NAME = Order("Name", "Ascending")


class Sorting(NamedTuple):
    """How a listing is sorted, so that a page can begin after the last document that was shown.

    Args:
        key: a list of numbers and texts to sort by.
        name: the member whose value no two documents share.
        order: `Ascending` or `Descending`.
    """

    key: Callable[[Document], list[Any]]
    name: str
    order: str = "Ascending"


class Page(NamedTuple):
    """One page of a listing, and the token of the next page if there is one."""

    documents: list[Document]
    next_token: str | None

    def reply(self, member: str, summaries: list[Document]) -> Document:
        """The List reply: `summaries` under `member`, and NextToken if there is another page."""
        return {member: summaries} | ({"NextToken": self.next_token} if self.next_token else {})


def list_page(
    documents: Iterable[Document],
    request: Document,
    *,
    name: str,
    status: str | None = None,
    sort_fields: dict[str, str] | None = None,
    usual: Order = NEWEST_FIRST,
    only: str | None = None,
) -> Page:
    """Filter, sort and cut a listing as SageMaker's List operations do.

    Args:
        documents: stored resources with `CreationTime` and, if they have it, `LastModifiedTime`.
        request: the List request: NameContains, StatusEquals, CreationTimeAfter/Before, LastModifiedTimeAfter/Before,
            SortBy, SortOrder, MaxResults and NextToken; each is optional.
        name: the document's member that holds its name.
        status: the member that holds its status, where StatusEquals is allowed.
        sort_fields: member to sort by for each SortBy value that is not itself a member's name.
        usual: SortBy and SortOrder of the operation when the request names none.
        only: the member whose value no two documents share, where it is not that of the name.
    """
    fields = {"Name": name, "Status": status or name} | (sort_fields or {})
    kept = [document for document in documents if _matches(document, request, name, status)]
    sort_by = str(request.get("SortBy", usual.sort_by))
    field = fields.get(sort_by, sort_by)

    def key(document: Document) -> list[Any]:
        made = document.get("CreationTime", 0)
        return [document.get(field) or made, made]

    return cut(kept, request, Sorting(key, only or name, request.get("SortOrder", usual.sort_order)))


def cut(
    documents: Iterable[Document],
    request: Document,
    sorting: Sorting | None = None,
    *,
    usual: int = DEFAULT_PAGE,
    most: int | None = None,
    wrong_token: str = "ValidationException",
) -> Page:
    """The page that MaxResults and NextToken select of a listing.

    A token has the sort key of the last document shown. So what is made or deleted between two pages shifts nothing:
    no other is shown twice or left out. Of documents with one key, the one that was stored last is the last one.

    Args:
        documents: the listing, in the order in which its documents were stored.
        request: the List request.
        sorting: how it is sorted; None for one that keeps its order and never changes.
        usual: the length of a page when the request names none.
        most: the largest MaxResults, where the operation's model says none.
        wrong_token: the service's error for a NextToken that it has not given.
    """
    size = int(request.get("MaxResults", usual))
    if size < 1 or (most is not None and size > most):
        raise validation(f"MaxResults must be {f'1 to {most}' if most else 'at least 1'}, got {size}")
    left = list(documents)
    place = _place(request.get("NextToken"), wrong_token)
    if sorting is None:
        start = place.shown_before if place else 0
        page, more = left[start : start + size], len(left) > start + size
        return Page(page, _token(shown_before=start + size) if more else None)
    left.sort(key=sorting.key)
    if sorting.order == "Descending":
        left.reverse()  # so of two that were made within one millisecond, the one that was stored later is the newer
    if place:
        left = [document for document in left if _is_after(document, place, sorting, wrong_token)]
    page = left[:size]
    return Page(page, _token_after(page, place, sorting) if len(left) > size else None)


class _Place(NamedTuple):
    """Where the last page ended: the key of its last document, and the names of all with that key that were shown."""

    key: list[Any]
    names: list[str]
    shown_before: int


def _is_after(document: Document, place: _Place, sorting: Sorting, error: str) -> bool:
    key = sorting.key(document)
    if key == place.key:
        return document[sorting.name] not in place.names
    try:
        if len(key) != len(place.key):
            raise TypeError
        return key < place.key if sorting.order == "Descending" else key > place.key
    except TypeError:  # the token of another operation
        raise AwsError(error, _WRONG_TOKEN) from None


def _token_after(page: list[Document], place: _Place | None, sorting: Sorting) -> str:
    key = sorting.key(page[-1])
    names = [document[sorting.name] for document in page if sorting.key(document) == key]
    earlier = place.names if place and place.key == key else []
    return _token(key=key, names=[*earlier, *names])


def _token(key: list[Any] | None = None, names: list[str] | None = None, shown_before: int = 0) -> str:
    place = _Place(key or [], names or [], shown_before)
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _place(token: str | None, error: str) -> _Place | None:
    if token is None:
        return None
    try:
        key, names, shown_before = json.loads(base64.urlsafe_b64decode(token))
        return _Place(list(key), [str(name) for name in names], int(shown_before))
    except (binascii.Error, ValueError, TypeError):
        raise AwsError(error, _WRONG_TOKEN) from None


def _matches(document: Document, request: Document, name: str, status: str | None) -> bool:
    wanted = request.get("NameContains")
    if wanted and wanted.lower() not in str(document.get(name, "")).lower():
        return False
    if {"WarmPoolStatusEquals", "TrainingPlanArnEquals"} & request.keys():
        return False  # no job here has a warm pool or a training plan
    if request.get("CrossAccountFilterOption") == "CrossAccount":
        return False  # no other account shares anything here
    wanted_status = request.get("StatusEquals")
    if wanted_status and status and document.get(status) != wanted_status:
        return False
    for member in ("CreationTime", "LastModifiedTime"):
        moment = document.get(member, document.get("CreationTime", 0))
        if moment <= request.get(f"{member}After", float("-inf")):
            return False
        if moment >= request.get(f"{member}Before", float("inf")):
            return False
    return True
