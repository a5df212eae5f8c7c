"""AWS from an EC2 machine: files in S3, the instance's tags, and the spot interruption notice (IMDSv2 only)."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.exceptions import ClientError

from binventory.core import contents
from binventory.core.contents import bucket_and_key
from jobs.checkpoint_files import KEPT, is_checkpoint, whole

LINK_LOCAL: Final = "http://169.254.169.254"
_TOKEN_SECONDS: Final = "21600"
_TIMEOUT: Final = 5.0


class Exchange:
    """Transfers between one machine and S3. Not safe for several threads."""

    def __init__(self) -> None:
        self._s3: Any = boto3.client("s3")
        self._sent: dict[Path, tuple[int, int]] = {}

    def fetch(self, uri: str, folder: Path) -> int:
        """Downloads all objects under a prefix into a folder; returns their number. Of checkpoints the newest suffice.

        They are shards, features and checkpoints, which the steps hold to digests of their own.
        """
        bucket, prefix = bucket_and_key(uri)
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        found = [item for page in pages for item in page.get("Contents", ())]
        # By the time of the upload: a run that began anew, with other code, has lower steps than the one before.
        found.sort(key=lambda item: (item["LastModified"], item["Key"]), reverse=True)
        count = checkpoints = 0
        for item in found:
            if item["Key"].endswith("/"):
                continue  # The key of a folder, which consoles make.
            path = folder / item["Key"][len(prefix) :]
            if is_checkpoint(path.name) and checkpoints == KEPT:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            self._s3.download_file(bucket, item["Key"], str(path))
            if is_checkpoint(path.name):
                if whole(path) is None:
                    print(f"warning: checkpoint {path.name} is torn in S3 and skipped", file=sys.stderr, flush=True)
                    path.unlink()
                    continue
                checkpoints += 1
            self._sent[path] = _state(path)
            count += 1
        return count

    def send_checkpoints(self, folder: Path, uri: str) -> None:
        """Uploads new and changed files of a folder; then deletes in S3 the checkpoints that have given way to them."""
        self.send(folder, uri)
        for path in [path for path in self._sent if path.parent == folder and is_checkpoint(path.name)]:
            if path.exists():
                continue
            bucket, key = bucket_and_key(f"{uri.rstrip('/')}/{path.name}")
            try:
                self._s3.delete_object(Bucket=bucket, Key=key)
            except ClientError as error:
                print(f"warning: the old checkpoint {key} stays in S3 ({error})", file=sys.stderr, flush=True)
            del self._sent[path]

    def send(self, path: Path, uri: str) -> None:
        """Uploads a file, or the new and changed files of a folder without those that are still being written."""
        if path.is_file():
            self._send_file(path, uri)
            return
        for file in sorted(path.rglob("*")):
            if file.is_file() and file.suffix != ".partial":
                self._send_file(file, f"{uri.rstrip('/')}/{file.relative_to(path).as_posix()}")

    def read_json(self, uri: str) -> Any:
        """The JSON document at an address."""
        bucket, key = bucket_and_key(uri)
        return json.loads(contents.whole(self._s3.get_object(Bucket=bucket, Key=key), uri))

    def write_json(self, uri: str, value: Any) -> None:
        """Writes a JSON document to an address."""
        bucket, key = bucket_and_key(uri)
        self._s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(value, indent=2, sort_keys=True).encode())

    def _send_file(self, path: Path, uri: str) -> None:
        try:
            state = _state(path)
            if self._sent.get(path) == state:
                return
            bucket, key = bucket_and_key(uri)
            self._s3.upload_file(str(path), bucket, key)
        except FileNotFoundError:
            return  # An older checkpoint, since replaced by a newer one.
        self._sent[path] = state


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


class InstanceMetadata:
    """The metadata service at the address that the AWS SDKs use too."""

    def __init__(self, endpoint: str | None = None) -> None:
        given = endpoint or os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or LINK_LOCAL
        self._endpoint = given.rstrip("/")

    def tag(self, name: str) -> str | None:
        """The value of one of the instance's tags; None without it."""
        return self._get(f"/latest/meta-data/tags/instance/{name}")

    def interruption(self) -> str | None:
        """The spot interruption notice, as JSON, two minutes ahead; None without one."""
        return self._get("/latest/meta-data/spot/instance-action")

    def _get(self, path: str) -> str | None:
        # A new token each time: with an expired one the notice would be missed.
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
