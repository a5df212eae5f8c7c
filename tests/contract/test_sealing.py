"""The function of the step Seal: what Ingest left is recorded once, and other shards at that address are refused."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path

import pytest

import fingerprint
from sealing import SealError
from shards.lists import LIST, ShardError, ShardSummary, check_sealed, write_shard_list
from stacks.names import SHARD_LIST
from tests.contract.conftest import ClientFactory

BUCKET = "sealed-data"


@pytest.fixture
def address(client: ClientFactory, signed_in: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """Prefix of a split's shards, of an execution that no other test uses."""
    monkeypatch.setenv("LISTINGS", f"s3://{BUCKET}/executions/listings")
    monkeypatch.setenv("SEALS", f"s3://{BUCKET}/executions/seals")
    if BUCKET not in [bucket["Name"] for bucket in client("s3").list_buckets()["Buckets"]]:
        client("s3").create_bucket(Bucket=BUCKET)
    return f"s3://{BUCKET}/executions/{uuid.uuid4().hex[:12]}/ingest/train"


def put(client: ClientFactory, address: str, body: bytes) -> str:
    """Writes a split's list of shards; returns its SHA-256."""
    client("s3").put_object(Bucket=BUCKET, Key=f"{address.removeprefix(f's3://{BUCKET}/')}/{LIST}", Body=body)
    return hashlib.sha256(body).hexdigest()


def test_the_digest_of_each_list_is_returned_and_again_for_shards_from_the_cache(
    client: ClientFactory, address: str
) -> None:
    other = address.replace("/train", "/test")
    digests = put(client, address, b"list of train"), put(client, other, b"list of test")
    for _ in range(2):
        assert fingerprint.handler({"train": address, "test": other}, None) == {
            "Shards": f"test={digests[1]},train={digests[0]}"
        }


def test_shards_that_were_exchanged_since_are_refused(client: ClientFactory, address: str) -> None:
    """A later execution takes them from the step cache."""
    before = put(client, address, b"list of train")
    fingerprint.handler({"train": address}, None)
    after = put(client, address, b"list of others")
    with pytest.raises(SealError) as caught:
        fingerprint.handler({"train": f"{address}/"}, None)
    assert f"the shards of split train at {address} are not those that Ingest left there" in str(caught.value)
    assert after[:12] in str(caught.value) and before[:12] in str(caught.value) and "--fresh" in str(caught.value)


def test_an_ingest_that_left_no_list_is_named(address: str) -> None:
    with pytest.raises(SealError, match=rf"{address}/{LIST} cannot be read \(NoSuchKey\): Ingest has not finished"):
        fingerprint.handler({"train": address}, None)


def test_the_function_and_the_jobs_mean_the_same_file() -> None:
    assert SHARD_LIST == LIST


def test_what_it_returns_is_what_jobs_hold_shards_to(client: ClientFactory, address: str, tmp_path: Path) -> None:
    folder = tmp_path / "train"
    folder.mkdir()
    write_shard_list(folder, [ShardSummary("train-00000.tar", 1, 10240, "0" * 64, "1" * 64)])
    put(client, address, (folder / LIST).read_bytes())
    sealed = str(fingerprint.handler({"train": address}, None)["Shards"])
    check_sealed("train", folder, sealed)
    with pytest.raises(ShardError, match="was not sealed"):
        check_sealed("validation", folder, sealed)
    (folder / "more").mkdir()
    write_shard_list(folder / "more", [ShardSummary("train-00001.tar", 1, 10240, "2" * 64, "3" * 64)])
    with pytest.raises(ShardError, match="are not those that Ingest left"):
        check_sealed("train", folder, sealed)
