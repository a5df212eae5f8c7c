"""Broken model packages are promoted: the rollout is rolled back with an alert, and callers keep their answers.

Nothing is simulated but the time, which runs faster: the deployed stacks and their function, the serving image, ONNX
models, two instances and a canary are real.
"""

from __future__ import annotations

import json
import time
import timeit
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from local_aws.server import LocalAws
from tests import broken_model, grey_model
from tests.callers import Callers
from tests.contract.jobs import until
from tests.rehearsal.deployed import NAME, Deployed

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]
SETTINGS = {
    "BINVENTORY_SERVING__MIN_INSTANCES": "2",
    "BINVENTORY_SERVING__LATENCY_P95_MILLISECONDS": "250",
    "BINVENTORY_SERVING__SERVER_ERRORS_PER_MINUTE": "1",
    "BINVENTORY_MONEY__IDLE_HOURS": "24",
}
BUCKET = "packages"
# On one core, where numpy computes here.
_SLOW_SECONDS = 1.0


def slow() -> bytes:
    """A graph of right answers that multiplies large matrices first, for half a second on two cores of any kind.

    Longer than the alarm allows, and so short that every minute of the rollout has answers.
    """
    size = 1536
    large = np.full((size, size), 1 / size, np.float32)  # products stay as large as the photo's mean
    rounds = round(_SLOW_SECONDS / min(timeit.repeat(lambda: large @ large, number=1, repeat=5)))
    nodes = [
        helper.make_node("Cast", ["photos"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[0, 1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["large", "mean"], ["m0"]),
        *(helper.make_node("MatMul", [f"m{turn}", "large"], [f"m{turn + 1}"]) for turn in range(rounds)),
        helper.make_node("ReduceMean", [f"m{rounds}"], ["one"], axes=[0, 1], keepdims=0),
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["scores"]),
        helper.make_node("Add", ["scores", "one"], ["logits"]),
    ]
    return broken_model.graph(nodes, large=large, weights=np.full((3, 5), 0.01, np.float32))


class Rollouts:
    """A deployed system whose alerts can be read."""

    def __init__(self, deployed: Deployed, folder: Path) -> None:
        self._deployed = deployed
        self._folder = folder
        self.client = deployed.client
        definition = self.client("sagemaker").describe_pipeline(PipelineName=NAME)["PipelineDefinition"]
        self._image = next(_images(json.loads(definition)))
        self.client("s3").create_bucket(Bucket=BUCKET)
        outputs = self.client("cloudformation").describe_stacks(StackName=f"{NAME}-money")["Stacks"][0]["Outputs"]
        topic = next(item["OutputValue"] for item in outputs if item["OutputKey"] == "AlertsTopicArn")
        sqs = self.client("sqs")
        self._queue = sqs.create_queue(QueueName="alerts")["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])["Attributes"]
        self.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=attributes["QueueArn"])

    def approve(self, name: str, onnx: bytes | None = None, **description: Any) -> str:
        """Registers a package of the real image with this model and approves it; returns its ARN."""
        folder = grey_model.write(self._folder / name, onnx=onnx, **description)
        archive = grey_model.pack(folder, self._folder / f"{name}.tar.gz")
        self.client("s3").put_object(Bucket=BUCKET, Key=f"{name}/model.tar.gz", Body=archive.read_bytes())
        container = {"Image": self._image, "ModelDataUrl": f"s3://{BUCKET}/{name}/model.tar.gz"}
        sagemaker = self.client("sagemaker")
        package = sagemaker.create_model_package(
            ModelPackageGroupName=NAME,
            ModelApprovalStatus="PendingManualApproval",
            InferenceSpecification={
                "Containers": [container],
                "SupportedContentTypes": ["image/jpeg"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
        )["ModelPackageArn"]
        sagemaker.update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")
        return str(package)

    def refused(self, package: str) -> str:
        """The registry's description of a package that was rolled back."""
        describe = self.client("sagemaker").describe_model_package
        # The alert is sent first.
        until(lambda: describe(ModelPackageName=package)["ModelApprovalStatus"] == "Rejected", seconds=30)
        return str(describe(ModelPackageName=package)["ApprovalDescription"])

    def stack(self) -> tuple[str, str]:
        """The serving stack's state and package as they are now."""
        status, parameters = self._deployed.stack()
        return status, parameters["ModelPackageArn"]

    def settled(self, seconds: float = 180) -> tuple[str, str]:
        """The serving stack's state and package once the update that was just asked for has ended."""
        deadline = time.monotonic() + seconds
        begun = False
        while time.monotonic() < deadline:
            status, parameters = self._deployed.stack()
            begun = begun or status.endswith("_IN_PROGRESS")
            if begun and not status.endswith("_IN_PROGRESS"):
                return status, parameters["ModelPackageArn"]
            time.sleep(0.05)
        raise AssertionError(f"the serving stack is still {status}")

    def alert(self, subject: str, about: str = "", seconds: float = 30) -> str:
        """The text of the next alert with this subject that names `about`: one of an earlier rollout may come twice."""
        deadline = time.monotonic() + seconds
        seen = []
        while time.monotonic() < deadline:
            for message in self.client("sqs").receive_message(QueueUrl=self._queue).get("Messages", []):
                self.client("sqs").delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
                alert = json.loads(message["Body"])
                seen.append(alert.get("Subject"))
                if alert.get("Subject") == subject and about in alert["Message"]:
                    return str(alert["Message"])
            time.sleep(0.2)
        raise AssertionError(f"no alert {subject!r} among {seen}")


def _images(document: Any) -> Iterator[str]:
    """Image URIs of the model packages that a pipeline definition registers."""
    if isinstance(document, dict):
        if "InferenceSpecification" in document:
            yield document["InferenceSpecification"]["Containers"][0]["Image"]
        for value in document.values():
            yield from _images(value)
    elif isinstance(document, list):
        for value in document:
            yield from _images(value)


def callers_with(rollouts: Rollouts, *photos: bytes) -> Callers:
    """Two callers that send these photos in turn; each answer names its package."""
    runtime = rollouts.client("sagemaker-runtime")

    def package(turn: int) -> str:
        body = photos[turn % len(photos)]
        reply = runtime.invoke_endpoint(EndpointName=NAME, Body=body, ContentType="image/jpeg")
        return str(json.loads(reply["Body"].read())["model"]["package"])

    return Callers(package, people=2, pause=0.05)


@pytest.fixture(scope="module")
def rollouts(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rollouts]:
    """Two instances in service; a minute of rollouts and alarms takes 1.2 s."""
    with LocalAws(tmp_path_factory.mktemp("local-aws"), time_scale=0.02) as aws:
        deployed = Deployed(aws, repository, SETTINGS)
        deployed.cdk("bootstrap")
        deployed.cdk("deploy", "--all", "--require-approval", "never")
        yield Rollouts(deployed, tmp_path_factory.mktemp("packages"))
        deployed.cdk("destroy", "--all", "--force")


def test_broken_packages_are_rolled_back_with_an_alert(rollouts: Rollouts) -> None:
    good = rollouts.approve("good")
    assert rollouts.settled()[1] == good

    with callers_with(rollouts, grey_model.photo(60), grey_model.photo(120)).calling() as callers:
        for name, description, reason in (
            ("crashes", {"temperature": -1}, "temperature must be a number from"),
            ("other-classes", {"classes": [0, 1, 2, 3, 4]}, "this endpoint promises 1,2,3,4,5"),
        ):
            refused = rollouts.approve(name, **description)
            status, package = rollouts.settled()
            assert (status, package) == ("UPDATE_ROLLBACK_COMPLETE", good)
            alert = rollouts.alert(f"{NAME}: promotion rolled back", refused)
            assert reason in alert and f"the endpoint serves {good}" in alert, alert
            assert reason in rollouts.refused(refused)
    assert callers.errors == []
    assert set(callers.answers) == {good}, "a package that cannot be loaded never gets a request"

    for name, graph in (("answers-500", broken_model.broken_on_bright_photos()), ("answers-slowly", slow())):
        with callers_with(rollouts, grey_model.photo(broken_model.BRIGHT)).calling() as callers:
            refused = rollouts.approve(name, graph)
            status, package = rollouts.settled()
            assert (status, package) == ("UPDATE_ROLLBACK_COMPLETE", good), name
            errors = len(callers.errors)
            callers.answers.clear()
            time.sleep(1)
            assert len(callers.errors) == errors, "none once it is undone"
            assert set(callers.answers) == {good}
        assert "ALARM" in rollouts.alert(f"{NAME}: promotion rolled back", refused)
        assert bool(callers.errors) == (name == "answers-500"), "only the canary's share, until the alarm"

    with callers_with(rollouts, grey_model.photo(120)).calling() as callers:
        better = rollouts.approve("better")
        assert rollouts.settled() == ("UPDATE_COMPLETE", better)
    assert callers.errors == []
    assert set(callers.answers) == {good, better}, "a good update loses no request"


def test_of_several_approvals_during_a_canary_the_newest_that_is_still_approved_is_rolled_out(
    rollouts: Rollouts,
) -> None:
    rollouts.approve("first")
    until(lambda: rollouts.stack()[0].endswith("_IN_PROGRESS"))
    waiting = [rollouts.approve(name) for name in ("second", "third", "fourth")]
    rollouts.client("sagemaker").update_model_package(ModelPackageArn=waiting[-1], ModelApprovalStatus="Rejected")
    assert rollouts.stack()[0].endswith("_IN_PROGRESS")
    with callers_with(rollouts, grey_model.photo(120)).calling() as callers:
        until(lambda: rollouts.stack() == ("UPDATE_COMPLETE", waiting[1]), seconds=180)
    assert callers.errors == []
    assert waiting[0] not in callers.answers and waiting[2] not in callers.answers


def test_an_endpoint_changed_by_hand_is_noticed(rollouts: Rollouts) -> None:
    sagemaker = rollouts.client("sagemaker")
    before = sagemaker.describe_endpoint(EndpointName=NAME)["EndpointConfigName"]
    model = sagemaker.describe_endpoint_config(EndpointConfigName=before)["ProductionVariants"][0]
    by_hand = {key: model[key] for key in ("VariantName", "ModelName", "InstanceType", "InitialInstanceCount")}
    sagemaker.create_endpoint_config(EndpointConfigName="by-hand", ProductionVariants=[by_hand])
    sagemaker.update_endpoint(EndpointName=NAME, EndpointConfigName="by-hand")
    while sagemaker.describe_endpoint(EndpointName=NAME)["EndpointStatus"] != "InService":
        time.sleep(0.1)
    alert = rollouts.alert(f"{NAME}: not what was asked for")
    # The stack knows its configuration by an ARN, in small letters.
    assert "by-hand" in alert and before.lower() in alert.lower()
