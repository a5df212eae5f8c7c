"""Rollouts under load: a good update loses no request, and a bad one is rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.server import LocalAws
from tests.callers import Callers
from tests.contract.conftest import ClientFactory, connect
from tests.contract.jobs import until
from tests.contract.serving import BUCKET, ask, create_config, push_image, start_endpoint, wait_while
from tests.forked import ForkedAws

MINUTE = 0.01
"""A local minute in the server of this module: an alarm's period of 60 s passes in 0.6 s."""


@pytest.fixture(scope="module")
def fast_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A local AWS whose rollouts and alarms run a hundred times as fast."""
    with ForkedAws(tmp_path_factory.mktemp("fast-aws"), time_scale=MINUTE) as aws:
        yield aws


@pytest.fixture(scope="module")
def client(fast_aws: LocalAws) -> ClientFactory:
    """boto3 clients of it."""
    return connect(fast_aws)


@pytest.fixture(scope="module")
def image(fast_aws: LocalAws, client: ClientFactory) -> str:
    """The tiny image's URI."""
    return push_image(fast_aws, client)


def load(client: ClientFactory, endpoint: str) -> Callers:
    """Three callers; each answer is the name of the artefact that gave it."""
    return Callers(lambda turn: str(ask(client, endpoint)["name"]), people=3, pause=0.03)


def alarm(client: ClientFactory, endpoint: str, metric: str, threshold: float, statistic: str = "Sum") -> str:
    """An alarm on one metric of the endpoint, as the serving stack has them: 2 of 3 minutes."""
    name = f"{endpoint}-{metric}"
    client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        Namespace="AWS/SageMaker",
        MetricName=metric,
        Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "primary"}],
        Statistic=statistic,
        Period=60,
        EvaluationPeriods=3,
        DatapointsToAlarm=2,
        Threshold=threshold,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="notBreaching",
    )
    return name


def canary(alarms: list[str], minutes: float = 5, kind: str = "CANARY") -> dict[str, Any]:
    """A DeploymentConfig as the serving stack writes it."""
    routing: dict[str, Any] = {"Type": kind, "WaitIntervalInSeconds": int(minutes * 60)}
    size = {"Type": "CAPACITY_PERCENT", "Value": 50}
    routing |= {"CANARY": {"CanarySize": size}, "LINEAR": {"LinearStepSize": size}}.get(kind, {})
    config = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": 60}}
    watched = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]}}
    return config | (watched if alarms else {})


@pytest.mark.parametrize("kind", ["ALL_AT_ONCE", "CANARY", "LINEAR"])
def test_a_good_update_loses_no_request(client: ClientFactory, image: str, kind: str) -> None:
    """Old and new answer side by side, then only the new one; no caller gets an error."""
    endpoint = f"good-{kind.lower().replace('_', '-')}"
    old, new = (create_config(client, f"{endpoint}-{name}", image, instances=2) for name in ("old", "new"))
    start_endpoint(client, endpoint, old)
    config = canary([alarm(client, endpoint, "Invocation5XXErrors", 1)], minutes=1, kind=kind)
    with load(client, endpoint).calling() as callers:
        until(lambda: callers.answers)
        client("sagemaker").update_endpoint(EndpointName=endpoint, EndpointConfigName=new, DeploymentConfig=config)
        during = client("sagemaker").describe_endpoint(EndpointName=endpoint)
        assert during["EndpointStatus"] == "Updating"
        assert during["PendingDeploymentSummary"]["EndpointConfigName"] == new
        after = wait_while(client, endpoint, "Updating")
    assert callers.errors == []
    assert set(callers.answers) == {old, new}
    assert (after["EndpointConfigName"], after["EndpointStatus"]) == (new, "InService")
    assert "FailureReason" not in after and "PendingDeploymentSummary" not in after
    assert {ask(client, endpoint)["name"] for _ in range(5)} == {new}
    client("sagemaker").delete_endpoint(EndpointName=endpoint)


def rolling(wait: int, alarms: list[str], **more: Any) -> dict[str, Any]:
    """A DeploymentConfig of batches of one instance."""
    policy = {"MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1}, "WaitIntervalInSeconds": wait, **more}
    watched = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]}}
    return {"RollingUpdatePolicy": policy} | (watched if alarms else {})


def counts(description: dict[str, Any]) -> tuple[int, int, str]:
    """Old instances, new instances, and how the new ones stand."""
    (old,) = description["ProductionVariants"]
    (new,) = description.get("PendingDeploymentSummary", {}).get("ProductionVariants", [{}])
    status = new.get("VariantStatus", [{"Status": ""}])[0]["Status"]
    return old["CurrentInstanceCount"], new.get("CurrentInstanceCount", 0), status


def test_a_rolling_update_goes_by_batches_and_loses_no_request(client: ClientFactory, image: str) -> None:
    old, new = (create_config(client, f"rolling-{name}", image, instances=2) for name in ("old", "new"))
    start_endpoint(client, "rolling", old)
    seen: set[tuple[int, int, str]] = set()
    with load(client, "rolling").calling() as callers:
        until(lambda: callers.answers)
        client("sagemaker").update_endpoint(
            EndpointName="rolling", EndpointConfigName=new, DeploymentConfig=rolling(120, [])
        )
        while (found := client("sagemaker").describe_endpoint(EndpointName="rolling"))["EndpointStatus"] == "Updating":
            seen.add(counts(found))
    assert callers.errors == []
    assert set(callers.answers) == {old, new}
    assert {(2, 1, "Baking"), (1, 2, "Baking")} <= seen, seen
    assert max(before + after for before, after, _ in seen) == 3, "never more than one batch above what was there"
    assert (found["EndpointConfigName"], found["EndpointStatus"]) == (new, "InService")
    assert counts(found) == (2, 0, "")
    assert {ask(client, "rolling")["name"] for _ in range(5)} == {new}
    client("sagemaker").delete_endpoint(EndpointName="rolling")


def test_several_variants_are_not_updated_by_batches(client: ClientFactory, image: str) -> None:
    """An exclusion of AWS's deployment guardrails."""
    model = create_config(client, "several", image)
    variants = [
        {"VariantName": variant, "ModelName": model, "InstanceType": "ml.m5.large", "InitialInstanceCount": 2}
        for variant in ("one", "other")
    ]
    client("sagemaker").create_endpoint_config(EndpointConfigName="several-two", ProductionVariants=variants)
    start_endpoint(client, "several", "several-two")
    with pytest.raises(ClientError, match="RollingUpdatePolicy needs an endpoint of one variant"):
        client("sagemaker").update_endpoint(
            EndpointName="several", EndpointConfigName="several-two", DeploymentConfig=rolling(0, [])
        )
    client("sagemaker").delete_endpoint(EndpointName="several")


def ring(client: ClientFactory, endpoint: str) -> None:
    """Let the alarm ring from when the first batch has replaced an old instance, until the update has ended."""
    described = client("sagemaker").describe_endpoint
    while counts(found := described(EndpointName=endpoint))[0] == 2:
        assert found["EndpointStatus"] == "Updating", found.get("FailureReason")
    while described(EndpointName=endpoint)["EndpointStatus"] == "Updating":
        client("cloudwatch").put_metric_data(
            Namespace="Own", MetricData=[{"MetricName": endpoint, "Value": 1.0, "Unit": "Count"}]
        )


def own_alarm(client: ClientFactory, endpoint: str) -> str:
    client("cloudwatch").put_metric_alarm(
        AlarmName=f"{endpoint}-own",
        Namespace="Own",
        MetricName=endpoint,
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="notBreaching",
    )
    return f"{endpoint}-own"


@pytest.mark.parametrize("batch", [None, {"Type": "CAPACITY_PERCENT", "Value": 50}], ids=["at once", "by batches"])
def test_a_rolling_update_is_undone_when_its_alarm_rings(
    client: ClientFactory, image: str, batch: dict[str, Any] | None
) -> None:
    endpoint = f"unrolled-{'batch' if batch else 'whole'}"
    old, new = (create_config(client, f"{endpoint}-{name}", image, instances=2) for name in ("old", "new"))
    start_endpoint(client, endpoint, old)
    config = rolling(300, [own_alarm(client, endpoint)], **({"RollbackMaximumBatchSize": batch} if batch else {}))
    with load(client, endpoint).calling() as callers:
        client("sagemaker").update_endpoint(EndpointName=endpoint, EndpointConfigName=new, DeploymentConfig=config)
        ring(client, endpoint)
    assert callers.errors == []
    after = client("sagemaker").describe_endpoint(EndpointName=endpoint)
    assert (after["EndpointConfigName"], after["EndpointStatus"]) == (old, "InService")
    assert counts(after) == (2, 0, "") and "in ALARM state" in after["FailureReason"]
    client("sagemaker").delete_endpoint(EndpointName=endpoint)


def test_a_rollback_that_fails_leaves_both_and_the_next_update_ends_it(
    fast_aws: LocalAws, client: ClientFactory, image: str
) -> None:
    before = set(fast_aws.processes())
    old, new = (create_config(client, f"stuck-{name}", image, instances=2) for name in ("old", "new"))
    start_endpoint(client, "stuck", old)
    client("s3").copy_object(Bucket=BUCKET, Key="kept", CopySource=f"{BUCKET}/{old}/model.tar.gz")
    client("s3").delete_object(Bucket=BUCKET, Key=f"{old}/model.tar.gz")
    config = rolling(300, [own_alarm(client, "stuck")])
    client("sagemaker").update_endpoint(EndpointName="stuck", EndpointConfigName=new, DeploymentConfig=config)
    ring(client, "stuck")
    stuck = client("sagemaker").describe_endpoint(EndpointName="stuck")
    assert stuck["EndpointStatus"] == "UpdateRollbackFailed"
    assert "in ALARM state" in stuck["FailureReason"] and "The rollback failed, too" in stuck["FailureReason"]
    assert {ask(client, "stuck")["name"] for _ in range(40)} == {old, new}
    client("sagemaker").update_endpoint(EndpointName="stuck", EndpointConfigName=new)
    again = wait_while(client, "stuck", "Updating")
    assert again["EndpointStatus"] == "UpdateRollbackFailed" and "model data" in again["FailureReason"]
    client("s3").copy_object(Bucket=BUCKET, Key=f"{old}/model.tar.gz", CopySource=f"{BUCKET}/kept")
    client("sagemaker").update_endpoint(EndpointName="stuck", EndpointConfigName=new)
    assert wait_while(client, "stuck", "Updating")["EndpointConfigName"] == new
    assert {ask(client, "stuck")["name"] for _ in range(5)} == {new}
    client("sagemaker").delete_endpoint(EndpointName="stuck")
    until(lambda: not set(fast_aws.processes()) - before)


def test_a_package_that_crashes_at_load_never_gets_a_request(client: ClientFactory, image: str) -> None:
    """The old one answers all the time, and the endpoint's failure reason says why."""
    old = create_config(client, "load-old", image)
    start_endpoint(client, "load", old)
    new = create_config(client, "load-new", image, crash=True)
    with load(client, "load").calling() as callers:
        client("sagemaker").update_endpoint(EndpointName="load", EndpointConfigName=new, DeploymentConfig=canary([]))
        after = wait_while(client, "load", "Updating")
    assert callers.errors == []
    assert set(callers.answers) == {old}
    assert (after["EndpointConfigName"], after["EndpointStatus"]) == (old, "InService")
    assert "cannot load the model" in after["FailureReason"]
    client("sagemaker").delete_endpoint(EndpointName="load")


@pytest.mark.parametrize(
    ("behaviour", "metric", "threshold", "statistic"),
    [({"status": 500}, "Invocation5XXErrors", 1, "Sum"), ({"seconds": 0.3}, "ModelLatency", 150_000, "Maximum")],
    ids=["answers 500", "is slow"],
)
def test_a_bad_package_is_undone_when_its_alarm_rings(
    client: ClientFactory, image: str, behaviour: dict[str, Any], metric: str, threshold: float, statistic: str
) -> None:
    """Only the canary's share of the requests meets it; afterwards the old one has them all again."""
    endpoint = f"bad-{metric.lower()}"
    old = create_config(client, f"{endpoint}-old", image)
    start_endpoint(client, endpoint, old)
    new = create_config(client, f"{endpoint}-new", image, **behaviour)
    ringing = alarm(client, endpoint, metric, threshold, statistic)
    with load(client, endpoint).calling() as callers:
        client("sagemaker").update_endpoint(
            EndpointName=endpoint, EndpointConfigName=new, DeploymentConfig=canary([ringing], minutes=30)
        )
        after = wait_while(client, endpoint, "Updating")
    with load(client, endpoint).calling() as afterwards:
        until(lambda: sum(afterwards.answers.values()) >= 20 or afterwards.errors)
    assert (set(afterwards.answers), afterwards.errors) == ({old}, []), "only the old one answers once it is undone"
    assert (after["EndpointConfigName"], after["EndpointStatus"]) == (old, "InService")
    assert ringing in after["FailureReason"] and "ALARM" in after["FailureReason"]
    assert all("500" in error for error in callers.errors)
    assert bool(callers.errors) == ("status" in behaviour)
    client("sagemaker").delete_endpoint(EndpointName=endpoint)


def test_another_endpoints_errors_do_not_undo_an_update(client: ClientFactory, image: str) -> None:
    """An alarm looks at its own endpoint's metrics only."""
    start_endpoint(client, "noisy", create_config(client, "noisy-config", image, status=500))
    start_endpoint(client, "quiet", create_config(client, "quiet-old", image))
    new = create_config(client, "quiet-new", image)
    config = canary([alarm(client, "quiet", "Invocation5XXErrors", 1)], minutes=3)
    with load(client, "noisy").calling() as callers:
        until(lambda: callers.errors)
        client("sagemaker").update_endpoint(EndpointName="quiet", EndpointConfigName=new, DeploymentConfig=config)
        assert wait_while(client, "quiet", "Updating")["EndpointConfigName"] == new
    assert callers.errors
    for name in ("noisy", "quiet"):
        client("sagemaker").delete_endpoint(EndpointName=name)


def test_updates_that_cannot_be_are_refused(client: ClientFactory, image: str) -> None:
    """An alarm that does not exist, a canary without its size, a second update during the first."""
    old, new = (create_config(client, f"refused-{name}", image) for name in ("old", "new"))
    start_endpoint(client, "refused", old)
    update = client("sagemaker").update_endpoint

    def refusal(**arguments: Any) -> str:
        with pytest.raises(ClientError) as caught:
            update(EndpointName="refused", EndpointConfigName=new, **arguments)
        assert caught.value.response["Error"]["Code"] == "ValidationException"
        return str(caught.value)

    assert "absent" in refusal(DeploymentConfig=canary(["absent"]))
    without_size = canary([])
    del without_size["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["CanarySize"]
    assert "CanarySize" in refusal(DeploymentConfig=without_size)
    for kind, member, size in (
        ("CANARY", "CanarySize", {"Type": "CAPACITY_PERCENT", "Value": 60}),
        ("CANARY", "CanarySize", {"Type": "INSTANCE_COUNT", "Value": 1}),
        ("LINEAR", "LinearStepSize", {"Type": "CAPACITY_PERCENT", "Value": 5}),
    ):
        too_large = canary([], kind=kind)
        too_large["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"][member] = size
        assert f"{member} {size['Value']} ({size['Type']}) must be" in refusal(DeploymentConfig=too_large)
    short = canary([])
    short["BlueGreenUpdatePolicy"]["MaximumExecutionTimeoutInSeconds"] = 2 * 300 + 60
    assert "must be larger than the waits of the update, 660 s" in refusal(DeploymentConfig=short)
    rolling = {"MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1}, "WaitIntervalInSeconds": 0}
    assert "MaximumBatchSize 1" in refusal(DeploymentConfig={"RollingUpdatePolicy": rolling})
    update(EndpointName="refused", EndpointConfigName=new, DeploymentConfig=canary([], minutes=1))
    assert "Updating" in refusal()
    wait_while(client, "refused", "Updating")
    client("sagemaker").delete_endpoint(EndpointName="refused")
    with pytest.raises(ClientError, match="not found"):
        ask(client, "refused")


def test_an_endpoint_is_deleted_once_between_its_changes_and_leaves_no_process(
    fast_aws: LocalAws, client: ClientFactory, image: str, tmp_path: Path
) -> None:
    """DeleteEndpoint is refused while it is created, updated or deleted: what is refused changes nothing."""
    before = set(fast_aws.processes())
    started, updated, seen, answered = (tmp_path / name for name in ("started", "updated", "seen", "answered"))
    create_config(client, "whole-old", image, ready=str(started))
    create_config(client, "whole-new", image, ready=str(updated), seen=str(seen), until=str(answered))
    sagemaker, names = client("sagemaker"), {"EndpointName": "whole", "EndpointConfigName": "whole-old"}

    def cannot_be_deleted() -> None:
        with pytest.raises(ClientError, match="Cannot update in-progress endpoint") as caught:
            sagemaker.delete_endpoint(EndpointName="whole")
        assert caught.value.response["Error"]["Code"] == "ValidationException"

    sagemaker.create_endpoint(**names)
    cannot_be_deleted()
    started.touch()
    assert wait_while(client, "whole", "Creating")["EndpointStatus"] == "InService"
    sagemaker.update_endpoint(EndpointName="whole", EndpointConfigName="whole-new")
    cannot_be_deleted()
    updated.touch()
    assert wait_while(client, "whole", "Updating")["EndpointConfigName"] == "whole-new"
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(ask, client, "whole")
        until(seen.exists)
        sagemaker.delete_endpoint(EndpointName="whole")
        cannot_be_deleted()
        with pytest.raises(ClientError, match="already existing endpoint"):
            sagemaker.create_endpoint(**names)
        answered.touch()
        assert asked.result()["name"] == "whole-new"
    with pytest.raises(ClientError, match="Could not find endpoint"):
        wait_while(client, "whole", "Deleting")
    assert not set(fast_aws.processes()) - before
    assert start_endpoint(client, "whole", "whole-old")["EndpointStatus"] == "InService"
    sagemaker.delete_endpoint(EndpointName="whole")
    until(lambda: not set(fast_aws.processes()) - before)


@pytest.mark.parametrize("operation", ["update_endpoint", "update_endpoint_weights_and_capacities"])
def test_a_failed_endpoint_can_only_be_deleted(client: ClientFactory, image: str, operation: str) -> None:
    name = f"failed-{len(operation)}"
    config = create_config(client, name, image, crash=True)
    assert start_endpoint(client, name, config)["EndpointStatus"] == "Failed"
    desired = [{"VariantName": "primary", "DesiredInstanceCount": 2}]
    asked: dict[str, Any] = {"DesiredWeightsAndCapacities": desired}
    asked = {"EndpointConfigName": config} if operation == "update_endpoint" else asked
    with pytest.raises(ClientError, match="DeleteEndpoint is the only operation"):
        getattr(client("sagemaker"), operation)(EndpointName=name, **asked)
    client("sagemaker").delete_endpoint(EndpointName=name)
    with pytest.raises(ClientError, match="Could not find endpoint"):
        wait_while(client, name, "Deleting")


def test_manual_capacity_is_kept_when_asked_for(client: ClientFactory, image: str, tmp_path: Path) -> None:
    """RetainAllVariantProperties keeps counts and weights that autoscaling has set."""
    start_endpoint(client, "kept", create_config(client, "kept-old", image))
    client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName="kept", DesiredWeightsAndCapacities=[{"VariantName": "primary", "DesiredInstanceCount": 2}]
    )
    wait_while(client, "kept", "Updating")
    half = canary([], minutes=0)
    half["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["CanarySize"] = {"Type": "INSTANCE_COUNT", "Value": 1}
    for name, options, count in (
        ("kept-with", {"RetainAllVariantProperties": True, "DeploymentConfig": half}, 2),
        ("kept-without", {}, 1),
    ):
        create_config(client, name, image)
        client("sagemaker").update_endpoint(EndpointName="kept", EndpointConfigName=name, **options)
        (variant,) = wait_while(client, "kept", "Updating")["ProductionVariants"]
        assert variant["CurrentInstanceCount"] == count
    client("sagemaker").delete_endpoint(EndpointName="kept")
