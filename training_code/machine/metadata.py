"""What EC2 tells a machine about itself: its tags, and that spot takes it back in two minutes. IMDSv2 only."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from typing import Final

LINK_LOCAL: Final = "http://169.254.169.254"
_TOKEN_SECONDS: Final = "21600"
_TIMEOUT: Final = 5.0


class InstanceMetadata:
    """The metadata service at the address that the AWS SDKs use too."""

    def __init__(self, endpoint: str | None = None) -> None:
        given = endpoint or os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or LINK_LOCAL
        self._endpoint = given.rstrip("/")

    def tag(self, name: str) -> str | None:
        """The value of one of the instance's tags; None without it."""
        return self._get(f"/latest/meta-data/tags/instance/{name}")

    def interruption(self) -> str | None:
        """What EC2 is about to do and when, as JSON, from two minutes before; None while nothing is planned."""
        return self._get("/latest/meta-data/spot/instance-action")

    def _get(self, path: str) -> str | None:
        # A token for every look: one that ran out would make the machine deaf to its end.
        try:
            token = self._open("/latest/api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": _TOKEN_SECONDS})
            return self._open(path, "GET", {"X-aws-ec2-metadata-token": token})
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def _open(self, path: str, method: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(self._endpoint + path, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as reply:
            return bytes(reply.read()).decode()
