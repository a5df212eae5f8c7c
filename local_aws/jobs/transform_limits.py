"""How a transform job may ask its servers: as its request says, else as they say, else as SageMaker does."""

from __future__ import annotations

import json
from dataclasses import dataclass

import urllib3

from local_aws.core.wire import Document
from local_aws.hosting.fleet import Fleet

_DEFAULT_MEGABYTES = 6
_DEFAULT_TIMEOUT = 600
_DEFAULT_RETRIES = 3
_STRATEGIES = {"MULTI_RECORD": "MultiRecord", "SINGLE_RECORD": "SingleRecord"}
_ASK_SECONDS = 4.0


@dataclass(frozen=True)
class Limits:
    """The limits of one job.

    Args:
        concurrent: requests to one instance at once.
        payload_bytes: the largest request.
        single_record: one record a request instead of as many as fit.
        timeout: seconds for one answer.
        retries: how often a request is repeated.
    """

    concurrent: int
    payload_bytes: int
    single_record: bool
    timeout: float
    retries: int

    @classmethod
    def of(cls, job: Document, fleet: Fleet) -> Limits:
        """What the request leaves open is asked of a server (`/execution-parameters`), which need not answer."""
        own = _execution_parameters(fleet)
        client = job.get("ModelClientConfig", {})
        strategy = job.get("BatchStrategy") or _STRATEGIES.get(str(own.get("BatchStrategy")), "MultiRecord")
        megabytes = job.get("MaxPayloadInMB", _whole(own.get("MaxPayloadInMB"), _DEFAULT_MEGABYTES))
        return cls(
            concurrent=max(1, job.get("MaxConcurrentTransforms") or _whole(own.get("MaxConcurrentTransforms"), 1)),
            payload_bytes=(megabytes or _DEFAULT_MEGABYTES) << 20,
            single_record=strategy == "SingleRecord",
            timeout=float(client.get("InvocationsTimeoutInSeconds", _DEFAULT_TIMEOUT)),
            retries=client.get("InvocationsMaxRetries", _DEFAULT_RETRIES),
        )


def _execution_parameters(fleet: Fleet) -> Document:
    instance = fleet.take()
    if instance is None:
        return {}
    try:
        url = f"http://127.0.0.1:{instance.port}/execution-parameters"
        response = urllib3.request("GET", url, timeout=_ASK_SECONDS, retries=False)
        document = json.loads(response.data) if response.status == 200 else {}
    except (urllib3.exceptions.HTTPError, ValueError):
        return {}
    finally:
        instance.release()
    return document if isinstance(document, dict) else {}


def _whole(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default
