"""Cost allocation tags: with one that is not active, a budget that counts by it counts nothing, as on AWS."""

from __future__ import annotations

from local_aws.core.context import Context
from local_aws.core.errors import AwsError, validation
from local_aws.core.listing import Sorting, cut
from local_aws.core.protocol import Document

_TABLE = "CostAllocationTag"
_ACCOUNT = "BillingAccount"
_KINDS = ("own", "member")


def list_tags(context: Context, request: Document) -> Document:
    """The keys of the tags on this account's resources. A new one is active here; on AWS somebody must activate it."""
    _refuse_to_members(context, "list Cost Allocation Tags")
    stored = dict(context.table(_TABLE).items())
    found = [
        {"TagKey": key, "Type": "UserDefined", "Status": status}
        for key, status in sorted({key: _status(stored, key) for key in {*_used(context), *stored}}.items())
        if key in request.get("TagKeys", [key]) and status == request.get("Status", status)
    ]
    shown = found if request.get("Type", "UserDefined") == "UserDefined" else []
    page = cut(shown, request, Sorting(lambda tag: [tag["TagKey"]], "TagKey"), usual=100)
    return page.reply("CostAllocationTags", page.documents)


def update_status(context: Context, request: Document) -> Document:
    """Activate or deactivate tags."""
    _refuse_to_members(context, "update Cost Allocation Tag")
    for entry in request["CostAllocationTagsStatus"]:
        context.table(_TABLE).put(entry["TagKey"], {"Status": entry["Status"]})
    return {"Errors": []}


def set_account(context: Context, request: Document) -> Document:
    """Make the account its own payer or an organisation's member: `{"Kind": "own"}` or `{"Kind": "member"}`."""
    kind = request.get("Kind")
    if kind not in _KINDS:
        raise validation(f"Kind must be {' or '.join(_KINDS)}, got {kind!r}")
    context.table(_ACCOUNT).put("kind", {"Kind": kind})
    return {"Kind": kind}


def counts(context: Context, budget: Document) -> bool:
    """Whether costs reach a budget: a tag that it filters by must be active."""
    stored = dict(context.table(_TABLE).items())
    tags = budget.get("CostFilters", {}).get("TagKeyValue", [])
    keys = [tag.removeprefix("user:").partition("$")[0] for tag in tags]
    return all(_status(stored, key) == "Active" for key in keys)


def _status(stored: dict[str, Document], key: str) -> str:
    return str(stored.get(key, {}).get("Status", "Active"))


def _used(context: Context) -> set[str]:
    pages = context.client("resourcegroupstaggingapi").get_paginator("get_tag_keys").paginate()
    return {key for page in pages for key in page["TagKeys"] if not key.startswith("aws:")}


def _refuse_to_members(context: Context, what: str) -> None:
    if (context.table(_ACCOUNT).get("kind") or {}).get("Kind") == "member":
        text = f"Failed to {what}: Linked account doesn't have access to cost allocation tags."
        raise AwsError("AccessDeniedException", text)
