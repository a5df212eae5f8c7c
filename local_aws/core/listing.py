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


NEWEST_FIRST = Order("CreationTime", "Descending")
OLDEST_FIRST = Order("CreationTime", "Ascending")
BY_NAME = Order("Name", "Ascending")


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
    """
    fields = {"Name": name, "Status": status or name} | (sort_fields or {})
    kept = [document for document in documents if _matches(document, request, name, status)]
    sort_by = str(request.get("SortBy", usual.sort_by))
    field = fields.get(sort_by, sort_by)

    def key(document: Document) -> Any:
        return document.get(field) or document.get("CreationTime", 0)

    return cut(in_order(kept, key, request.get("SortOrder", usual.sort_order)), request)


def in_order(documents: Iterable[Document], key: Callable[[Document], Any], sort_order: str) -> list[Document]:
    """The documents sorted by a key: `Ascending` or `Descending`, which is always the reverse of it.

    So of two that were made within one millisecond, the one that was stored later counts as the newer one.
    """
    found = sorted(documents, key=key)
    return found[::-1] if sort_order == "Descending" else found


def cut(
    documents: list[Document],
    request: Document,
    *,
    usual: int = DEFAULT_PAGE,
    most: int | None = None,
    wrong_token: str = "ValidationException",
) -> Page:
    """The page that MaxResults and NextToken select of a complete, sorted listing.

    Args:
        documents: the listing.
        request: the List request.
        usual: the length of a page when the request names none.
        most: the largest MaxResults, where the operation's model says none.
        wrong_token: the service's error for a NextToken that it has not given.
    """
    start, size = _offset(request.get("NextToken"), wrong_token), int(request.get("MaxResults", usual))
    if size < 1 or (most is not None and size > most):
        raise validation(f"MaxResults must be {f'1 to {most}' if most else 'at least 1'}, got {size}")
    end = start + size
    token = base64.urlsafe_b64encode(json.dumps({"from": end}).encode()).decode() if end < len(documents) else None
    return Page(documents[start:end], token)


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


def _offset(token: str | None, error: str) -> int:
    if token is None:
        return 0
    try:
        return int(json.loads(base64.urlsafe_b64decode(token))["from"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise AwsError(error, "NextToken is not a token that this operation returned") from None
