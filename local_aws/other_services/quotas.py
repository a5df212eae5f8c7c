"""Service quotas of a new account: every instance type has the same value, and a request for more is granted at once.

Nothing here is refused because of a quota. AWS publishes neither its codes in a table nor the values of a new account,
so codes are made from the names.
"""

from __future__ import annotations

import hashlib
from functools import cache

from botocore.model import StringShape

from local_aws.core.context import Context
from local_aws.core.errors import AwsError, not_local
from local_aws.core.listing import cut
from local_aws.core.protocol import Document
from local_aws.core.shapes import service_model

VALUE = 20.0
"""Of every quota at the start."""
_TABLE = "ServiceQuota"
_USES = {
    "processing job usage": "ProcessingInstanceType",
    "training job usage": "TrainingInstanceType",
    "spot training job usage": "TrainingInstanceType",
    "endpoint usage": "ProductionVariantInstanceType",
    "transform job usage": "TransformInstanceType",
}
_OTHERS = {
    "sagemaker": ("Maximum total concurrency that can be allocated across all serverless endpoints",),
    "ec2": (
        "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
        "All G and VT Spot Instance Requests",
    ),
}


def list_service_quotas(context: Context, request: Document) -> Document:
    """The quotas of a service with their values."""
    return _page(context, request, applied=True)


def list_default_quotas(context: Context, request: Document) -> Document:
    """The quotas of a service with the values that they have without a request."""
    return _page(context, request, applied=False)


def request_increase(context: Context, request: Document) -> Document:
    """Raise a quota."""
    service, code, wanted = request["ServiceCode"], request["QuotaCode"], request["DesiredValue"]
    found = next((quota for quota in _quotas(context, service, applied=True) if quota["QuotaCode"] == code), None)
    if found is None:
        raise AwsError("NoSuchResourceException", "The request failed because the specified resource was not found.")
    if wanted <= found["Value"]:
        raise AwsError("IllegalArgumentException", "You must provide a quota value greater than the current value.")
    context.table(_TABLE).put(code, {"Value": wanted})
    shown = {key: found[key] for key in ("ServiceCode", "ServiceName", "QuotaCode", "QuotaName")}
    return {"RequestedQuota": shown | {"Id": code, "DesiredValue": wanted, "Status": "APPROVED"}}


def _page(context: Context, request: Document, *, applied: bool) -> Document:
    found = _quotas(context, request["ServiceCode"], applied=applied)
    wanted = [quota for quota in found if request.get("QuotaCode") in (None, quota["QuotaCode"])]
    page = cut(wanted, request, usual=100, wrong_token="InvalidPaginationTokenException")
    return page.reply("Quotas", page.documents)


def _quotas(context: Context, service: str, *, applied: bool) -> list[Document]:
    names = _names(service)
    if not names:
        raise not_local(
            f"Quotas of {service} are not listed locally", f"ask for those of {' or '.join(sorted(_OTHERS))}"
        )
    raised = dict(context.table(_TABLE).items()) if applied else {}
    codes = {name: f"L-{hashlib.sha256(name.encode()).hexdigest()[:8].upper()}" for name in names}
    return [
        {
            "ServiceCode": service,
            "ServiceName": service,
            "QuotaCode": code,
            "QuotaName": name,
            "Value": raised.get(code, {}).get("Value", VALUE),
            "Adjustable": True,
        }
        for name, code in codes.items()
    ]


@cache
def _names(service: str) -> tuple[str, ...]:
    found = list(_OTHERS.get(service, ()))
    if service == "sagemaker":
        for use, shape in _USES.items():
            types = service_model("sagemaker").shape_for(shape)
            assert isinstance(types, StringShape)
            found += (f"{instance} for {use}" for instance in types.enum)
    return tuple(found)
