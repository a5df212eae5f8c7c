"""Open a bucket with the object store's client: its endpoint, region and credentials."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from obstore.store import S3Store

if TYPE_CHECKING:
    from obstore.store import ClientConfig

# Buckets that anyone may read without credentials, and their regions.
_PUBLIC: Final = {"aft-vbi-pds": "us-east-1"}
_CREDENTIALS: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
_TIMEOUT: Final = "60s"


def open_store(bucket: str, prefix: str, *, concurrency: int = 16, retries: int = 0) -> S3Store:
    """A bucket, with endpoint and credentials from the environment; without credentials where it is public."""
    endpoint, region, anonymous = access(bucket)
    client: ClientConfig = {
        "connect_timeout": "10s",
        "timeout": _TIMEOUT,
        "pool_max_idle_per_host": str(concurrency),
        "allow_http": endpoint is not None and endpoint.startswith("http://"),
    }
    if bundle := os.environ.get("AWS_CA_BUNDLE"):
        client["root_certificate"] = Path(bundle).read_bytes()
    return S3Store(
        bucket,
        prefix=prefix or None,
        endpoint=endpoint,
        region=region,
        virtual_hosted_style_request=False,
        skip_signature=anonymous,
        client_options=client,
        # Reading retries above this layer, where the number of requests in flight can follow it.
        retry_config={"max_retries": retries},
    )


def access(bucket: str) -> tuple[str | None, str, bool]:
    """Endpoint and region of a bucket, and whether it is read without credentials."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
    public = bucket in _PUBLIC and endpoint is None
    anonymous = public or (endpoint is not None and not any(os.environ.get(name) for name in _CREDENTIALS))
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return endpoint, _PUBLIC[bucket] if public else region, anonymous
