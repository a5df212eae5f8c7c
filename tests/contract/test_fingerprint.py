"""The function of the step Fingerprint: any change changes its listing; unreadable input is refused by name."""

from __future__ import annotations

import gzip
import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Any

import pytest

import fingerprint
from fingerprint import FingerprintError
from stacks.shared.assets import lambda_files
from tests.contract.conftest import ClientFactory, connect
from tests.contract.functions import make_function
from tests.contract.test_authorisation import role, statement
from tests.forked import ForkedAws

DATA = "data"
LISTINGS = f"s3://{DATA}/executions/listings"


class Lambda:
    """The context of an invocation with some seconds left."""

    def __init__(self, seconds: float) -> None:
        self._milliseconds = int(seconds * 1000)

    def get_remaining_time_in_millis(self) -> int:
        return self._milliseconds


@dataclass
class Bins:
    """A bucket of bins under a prefix, and the function's answer for it."""

    client: ClientFactory
    bucket: str
    labels: str = "none"
    weights: str = "torchvision"
    photos: str = ""

    def put(self, key: str, body: bytes) -> None:
        self.client("s3").put_object(Bucket=self.bucket, Key=key, Body=body)

    def delete(self, key: str) -> None:
        self.client("s3").delete_object(Bucket=self.bucket, Key=key)

    def looked_at(self, seconds: float = 60) -> dict[str, Any]:
        photos = self.photos or f"s3://{self.bucket}/site-7"
        event = {"PhotosUri": photos, "LabelsUri": self.labels, "Weights": self.weights}
        return fingerprint.handler(event, Lambda(seconds))


@pytest.fixture
def bins(client: ClientFactory, signed_in: None, monkeypatch: pytest.MonkeyPatch) -> Bins:
    monkeypatch.setenv("LISTINGS", LISTINGS)
    monkeypatch.setenv("SEALS", f"s3://{DATA}/executions/seals")
    s3 = client("s3")
    if DATA not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=DATA)
    made = Bins(client, f"bins-{uuid.uuid4().hex[:8]}")
    s3.create_bucket(Bucket=made.bucket)
    for number in ("00100", "00101", "00200"):
        made.put(f"site-7/bin-images/{number}.jpg", b"photo " + number.encode())
        made.put(f"site-7/metadata/{number}.json", b"{}")
    made.put("site-70/bin-images/00300.jpg", b"of another site")
    return made


def test_the_listing_lies_under_its_sha256_and_names_every_object(bins: Bins) -> None:
    bins.put("labels.csv", b"image_id,count\n")
    bins.labels = f"s3://{bins.bucket}/labels.csv"
    found = bins.looked_at()
    assert (found["Photos"], found["Metadata"], found["Weights"]) == (3, 3, "torchvision")
    key = found["Listing"].removeprefix(f"s3://{DATA}/")
    lines = gzip.decompress(bins.client("s3").get_object(Bucket=DATA, Key=key)["Body"].read())
    assert found["Listing"] == f"{LISTINGS}/{hashlib.sha256(lines).hexdigest()}.gz"
    md5 = hashlib.md5(b"photo 00100").hexdigest()
    rows = [line.split("\t") for line in lines.decode().splitlines()]
    assert [row[2] for row in rows] == [
        "bin-images/00100.jpg",
        "bin-images/00101.jpg",
        "bin-images/00200.jpg",
        "labels",
        "metadata/00100.json",
        "metadata/00101.json",
        "metadata/00200.json",
    ]
    assert rows[0][:2] == ["11", md5]


def test_what_is_read_decides_and_nothing_else(bins: Bins) -> None:
    first = bins.looked_at()
    assert bins.looked_at() == first
    bins.put("site-70/bin-images/00301.jpg", b"of another site")
    bins.put("site-7/notes.txt", b"not read by ingest")
    bins.put("site-7/bin-images/00100.jpg", b"photo 00100")  # the same bytes once more
    assert bins.looked_at() == first


@pytest.mark.parametrize(
    ("key", "body"),
    [
        ("site-7/bin-images/00201.jpg", b"one more photo"),
        ("site-7/bin-images/00100.jpg", b"photo 0010X"),
        ("site-7/metadata/00100.json", b"[]"),
        ("site-7/bin-images/00200.jpg", None),
        ("labels.csv", b"image_id,count\n00100,2\n"),
    ],
)
def test_photos_metadata_and_labels_change_the_listing(bins: Bins, key: str, body: bytes | None) -> None:
    bins.put("labels.csv", b"image_id,count\n00100,1\n")
    bins.labels = f"s3://{bins.bucket}/labels.csv"
    first = bins.looked_at()
    if body is None:
        bins.delete(key)
    else:
        bins.put(key, body)
    second = bins.looked_at()
    assert second["Listing"] != first["Listing"]
    assert second["Weights"] == first["Weights"]


def test_labels_differ_from_no_labels(bins: Bins) -> None:
    bins.put("labels.csv", b"image_id\n")
    without = bins.looked_at()["Listing"]
    bins.labels = f"s3://{bins.bucket}/labels.csv"
    assert bins.looked_at()["Listing"] != without


def test_weights_have_a_fingerprint_of_their_own(bins: Bins) -> None:
    bins.put("weights/small.pth", b"tensors")
    bins.weights = f"s3://{bins.bucket}/weights/small.pth"
    first = bins.looked_at()
    bins.put("weights/other.pth", b"not this one")
    bins.put("weights/small.pth.bak", b"not this one")
    assert bins.looked_at() == first
    bins.put("weights/small.pth", b"tensorS")
    second = bins.looked_at()
    assert second["Weights"] != first["Weights"]
    assert second["Listing"] == first["Listing"], "ingest reads no weights"


@pytest.mark.parametrize(
    ("member", "value", "words"),
    [
        ("photos", "s3://no-such-bucket-here/bins/", "PhotosUri .*there is no bucket no-such-bucket-here"),
        ("photos", "s3://{bucket}/site-8/", "PhotosUri .*lists no photo; it must hold bin-images/<id>.jpg"),
        ("photos", "/home/me/bins", "PhotosUri '/home/me/bins' is no address like s3://"),
        ("photos", "s3:///bins", "is no address like s3://"),
        ("photos", "s3://{bucket}/hall#1/", "PhotosUri .* must be without #, which SageMaker takes in no property"),
        ("weights", "s3://{bucket}/small(1).pth", r"Weights .* must be without \(, which SageMaker"),
        ("labels", f"s3://{{bucket}}/{'a' * 250}", "LabelsUri .* must have at most 256 characters"),
        ("labels", "s3://{bucket}/labels.csv", "LabelsUri .*does not exist; give a labels file, or none"),
        ("labels", "s3://{bucket}/site-7/", "LabelsUri .*does not exist"),
        ("labels", "labels.csv", "LabelsUri 'labels.csv' is no address like s3://"),
        ("weights", "s3://{bucket}/site-7", "Weights .*does not exist; give the address of a file of weights"),
        ("weights", "s3://{bucket}/small.pth", "Weights .*does not exist; give the address of a file of weights"),
    ],
)
def test_an_address_that_cannot_be_read_is_refused_by_name(bins: Bins, member: str, value: str, words: str) -> None:
    setattr(bins, member, value.format(bucket=bins.bucket))
    with pytest.raises(FingerprintError, match=words):
        bins.looked_at()


def test_a_listing_that_does_not_end_in_time_is_refused(bins: Bins) -> None:
    with pytest.raises(FingerprintError, match=r"only 0 objects .* divide it into several prefixes"):
        bins.looked_at(seconds=1)


def test_the_functions_role_is_what_may_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An address that the role may not list is refused with the cure, before anything bills."""
    with ForkedAws(tmp_path_factory.mktemp("strict"), enforce_iam=True) as aws:
        client = connect(aws)
        for bucket in ("own", "foreign", DATA):
            client("s3").create_bucket(Bucket=bucket)
            client("s3").put_object(Bucket=bucket, Key="bin-images/1.jpg", Body=b"photo")
        runs = role(
            client,
            "runs",
            {"Service": "lambda.amazonaws.com"},
            statement("s3:ListBucket", resource="arn:aws:s3:::own"),
            statement("s3:PutObject", resource=f"arn:aws:s3:::{DATA}/executions/listings/*"),
        )
        packed = {name: path.read_text() for name, path in lambda_files().items()}
        function = make_function(
            client, "looks", "import fingerprint; return fingerprint.handler(event, context)", runs,
            files=packed, Environment={"Variables": {"LISTINGS": LISTINGS, "SEALS": f"s3://{DATA}/executions/seals"}},
        )  # fmt: skip

        def answer(bucket: str) -> dict[str, Any]:
            event = {"PhotosUri": f"s3://{bucket}/", "LabelsUri": "none", "Weights": "none"}
            reply = client("lambda").invoke(FunctionName=function, Payload=json.dumps(event).encode())
            said: dict[str, Any] = json.loads(reply["Payload"].read())
            return said

        assert answer("own")["Photos"] == 1
        refused = answer("foreign")
    assert "PhotosUri s3://foreign/: access denied" in refused["errorMessage"]
