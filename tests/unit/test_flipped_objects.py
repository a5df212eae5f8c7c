"""A byte that the network flips is never believed: commands read the object again, jobs and functions name it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch
from safetensors.torch import save

from benchmarks.object_server import BUCKET, Fault, ObjectServer, store
from binventory import executions
from binventory.core.aws import Aws
from binventory.core.contents import DamagedError
from binventory.core.errors import Problem
from binventory.ec2 import runs
from binventory.ec2.plan import Place
from binventory.rehearsal import agreement
from functions.aws import read_object
from ingestion.source import read_file
from jobs.container import JobContainer, JobError
from machine.aws import Exchange
from modelling.weights import read_weights
from sealing import SealError, seal
from stacks.environments import FingerprintEnvironment, variables_of
from tests.conftest import NAMES

WHERE = Place(BUCKET, BUCKET, "", (), "", "", 1, 1)
ROW = {"id": "00001", "count": 2, "split": "test"}
RUN = {
    "executions/r/run.json": {"run": "r"},
    "executions/r/status.json": {"state": "running"},
    "executions/r/evaluation/evaluation.json": {"accuracy": 1},
    "executions/r/log.txt": "a line",
    "report/manifest-0.jsonl": ROW,
}
COMMANDS: dict[str, tuple[str, Callable[[Aws], Any], Any]] = {
    "a report": (
        "executions/r/evaluation/evaluation.json",
        lambda aws: executions.read_json(aws, f"s3://{BUCKET}/executions/r/evaluation/evaluation.json"),
        {"accuracy": 1},
    ),
    "the plan of a machine": (
        "executions/r/run.json",
        lambda aws: runs.read_plan(aws, NAMES, WHERE, "r"),
        {"run": "r"},
    ),
    "the evaluation of a machine": (
        "executions/r/evaluation/evaluation.json",
        lambda aws: runs.evaluation(aws, WHERE, "r"),
        {"accuracy": 1},
    ),
    "the log of a machine": ("executions/r/log.txt", lambda aws: runs.log_tail(aws, WHERE, "r"), ('"a line"',)),
    "the test photos of a rehearsal": (
        "report/manifest-0.jsonl",
        lambda aws: agreement.test_photos(aws, f"s3://{BUCKET}/report"),
        [("00001", 2)],
    ),
}


class Flips:
    """A bucket whose first answers for each object, or all, have a flipped byte."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __call__(self, key: str, before: int) -> Fault | None:
        return Fault.FLIP if not key.startswith("?") and before < self.first else None


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    """The bucket, which every client finds by AWS's variables; its first answer for an object has a flipped byte."""
    objects = {key: json.dumps(value).encode() for key, value in RUN.items()}
    with ObjectServer(objects, fault=Flips(1)) as server:
        for name, value in {
            "AWS_ENDPOINT_URL": server.endpoint_url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        monkeypatch.setattr("binventory.core.objects.time.sleep", lambda seconds: None)
        yield server


@pytest.mark.parametrize("what", COMMANDS)
def test_a_command_reads_the_object_again(bucket: ObjectServer, what: str) -> None:
    """Until its bytes are those that S3 names; where they never are, the command ends with the address."""
    key, read, expected = COMMANDS[what]
    aws = Aws(boto3.Session(), bucket.endpoint_url)
    assert read(aws) == expected and bucket.requests[key] == 2
    bucket.fault = Flips(100)
    with pytest.raises(Problem, match=f"s3://{BUCKET}/{key} was not read") as ended:
        read(aws)
    assert "as its ETag says" in ended.value.why


def test_a_machine_and_a_function_name_the_object(bucket: ObjectServer) -> None:
    """What they read then is the object."""
    for read in (Exchange().read_json, lambda uri: json.loads(read_object(uri))):
        bucket.requests.clear()
        uri = f"s3://{BUCKET}/executions/r/run.json"
        with pytest.raises(DamagedError, match=f"{uri} arrived damaged"):
            read(uri)
        assert read(uri) == {"run": "r"}


def test_the_step_seal_names_the_list_of_shards(bucket: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded, a wrong digest would refuse the shards of every later execution."""
    environment = FingerprintEnvironment(listings="s3://b/l", seals="s3://b/s")
    for name, value in variables_of(environment).items():
        monkeypatch.setenv(name, value)
    bucket.objects |= {"train/digests.json": bucket.objects["executions/r/run.json"]}
    with pytest.raises(SealError, match=f"s3://{BUCKET}/train/digests.json arrived damaged"):
        seal({"train": f"s3://{BUCKET}/train/"})


def test_weights_from_s3_are_held_to_the_md5(bucket: ObjectServer, tmp_path: Path) -> None:
    """A flipped weight is a finite number of the right shape."""
    bucket.objects |= store({"w.safetensors": save({"weight": torch.ones(64)})})
    uri, container = f"s3://{BUCKET}/w.safetensors", JobContainer(tmp_path)
    bucket.fault = Flips(2)  # boto3 asks for the size first
    with pytest.raises(JobError, match=f"weights {uri} arrived damaged"):
        read_weights("resnet50", uri, container)
    assert read_weights("resnet50", uri, container)[1]["weight"].tolist() == [1.0] * 64


@pytest.mark.parametrize(("etag", "requests"), [("", 2), ("0" * 32, 3), ("0" * 32 + "-2", 3)])
def test_labels_are_read_until_they_are_known_to_be_whole(bucket: ObjectServer, etag: str, requests: int) -> None:
    """By the MD5 of their ETag; an ETag under KMS or of several parts is none, and then by two readings that agree."""
    (labels,) = store({"labels.csv": b"image_id,count\n00001,2\n"}).values()
    bucket.objects["labels.csv"] = replace(labels, etag=etag or labels.etag)
    assert asyncio.run(read_file(f"s3://{BUCKET}/labels.csv")) == labels.body
    assert bucket.requests["labels.csv"] == requests
