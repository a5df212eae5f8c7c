"""`binventory leftovers` on a local AWS with planted leftovers: all are found, priced, and removed by its commands."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from binventory.account import strays
from binventory.account.resources import AccountReader, AccountResource
from binventory.account.sagemaker import KINDS
from binventory.cli import leftovers, run
from binventory.core.aws import Aws, connect
from binventory.core.errors import Exit
from local_aws.images.builder import ImageBuilder
from local_aws.images.docker_cli import put_image
from local_aws.server import LocalAws
from tests.conftest import NAMES
from tests.contract.serving import IMAGE_FOLDER
from tests.forked import ForkedAws

NAME = "binventory-dev"
TAGS = [{"Key": "deployment", "Value": NAME}]
ENVIRONMENT = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
BUCKET_STACK = {"Resources": {"Held": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": f"{NAME}-held"}}}}


@pytest.fixture(scope="module")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with ForkedAws(tmp_path_factory.mktemp("aws")) as started:
        yield started


@pytest.fixture
def aws(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    for name, value in local_aws.environment().items():
        monkeypatch.setenv(name, value)
    connected = connect(local_aws.environment())
    # Clients take longer to make than to use: the command gets those of the test.
    monkeypatch.setattr(leftovers, "connect", lambda environment: connected)
    return connected


def _serving(aws: Aws) -> tuple[str, str]:
    aws.client("ecr").create_repository(repositoryName="somebody-elses")
    put_image(aws.client("ecr"), "somebody-elses", "1", ImageBuilder(IMAGE_FOLDER).build())
    trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = aws.client("iam").create_role(RoleName="somebody-elses", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/somebody-elses:1"
    sagemaker = aws.client("sagemaker")
    sagemaker.create_model(ModelName=f"{NAME}-m", PrimaryContainer={"Image": image}, ExecutionRoleArn=role)
    variant = {"VariantName": "v", "ModelName": f"{NAME}-m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName=f"{NAME}-c", ProductionVariants=[variant])
    return ("model", f"{NAME}-m"), ("endpoint config", f"{NAME}-c")  # type: ignore[return-value]


def _network(aws: Aws) -> Iterator[tuple[str, str]]:
    ec2 = aws.client("ec2")
    specification = [{"ResourceType": "instance", "Tags": TAGS}]
    started = ec2.run_instances(
        ImageId="ami-1", InstanceType="t3.2xlarge", MinCount=1, MaxCount=1, TagSpecifications=specification
    )
    yield "instance", started["Instances"][0]["InstanceId"]
    volume = ec2.create_volume(
        AvailabilityZone="us-east-1a", Size=100, TagSpecifications=[{"ResourceType": "volume", "Tags": TAGS}]
    )["VolumeId"]
    yield "volume", volume
    snapshot = ec2.create_snapshot(VolumeId=volume, TagSpecifications=[{"ResourceType": "snapshot", "Tags": TAGS}])[
        "SnapshotId"
    ]
    yield "snapshot", snapshot
    ec2.create_launch_template(LaunchTemplateName=f"{NAME}-t", LaunchTemplateData={"InstanceType": "t3.2xlarge"})
    yield "launch template", f"{NAME}-t"


def _alerts(aws: Aws) -> Iterator[tuple[str, str]]:
    cloudwatch = aws.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName=f"{NAME}-alarm", Namespace="N", MetricName="M", Statistic="Sum", Period=60, EvaluationPeriods=1,
        Threshold=1, ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip
    yield "alarm", f"{NAME}-alarm"
    cloudwatch.put_dashboard(DashboardName=NAME, DashboardBody=json.dumps({"widgets": []}))
    yield "dashboard", NAME
    topic = aws.client("sns").create_topic(Name=f"{NAME}-alerts")["TopicArn"]
    yield "topic", f"{NAME}-alerts"
    events = aws.client("events")
    events.put_rule(Name=f"{NAME}-rule", ScheduleExpression="rate(1 day)")
    events.put_targets(Rule=f"{NAME}-rule", Targets=[{"Id": "one", "Arn": topic}])
    yield "event rule", f"{NAME}-rule"
    trust = {"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = aws.client("iam").create_role(RoleName="any", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    aws.client("scheduler").create_schedule(
        Name=f"{NAME}-schedule", ScheduleExpression="rate(1 day)", FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": topic, "RoleArn": role},
    )  # fmt: skip
    yield "schedule", f"{NAME}-schedule"
    limit = {"BudgetName": NAME, "BudgetType": "COST", "TimeUnit": "MONTHLY"}
    aws.client("budgets").create_budget(
        AccountId="123456789012", Budget={**limit, "BudgetLimit": {"Amount": "1", "Unit": "USD"}}
    )
    yield "budget", NAME


def _rest(aws: Aws) -> Iterator[tuple[str, str]]:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="bins-nobody-remembers")
    s3.put_bucket_tagging(Bucket="bins-nobody-remembers", Tagging={"TagSet": TAGS})
    s3.put_bucket_versioning(Bucket="bins-nobody-remembers", VersioningConfiguration={"Status": "Enabled"})
    for _ in range(2):
        s3.put_object(Bucket="bins-nobody-remembers", Key="photo", Body=b"0" * 1000)
    yield "bucket", "bins-nobody-remembers"
    aws.client("logs").create_log_group(logGroupName=f"/aws/lambda/{NAME}-promotion")
    yield "log group", f"/aws/lambda/{NAME}-promotion"
    aws.client("ecr").create_repository(repositoryName="images", tags=TAGS)
    yield "image repository", "images"
    iam = aws.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    iam.create_role(RoleName=f"{NAME}-role", AssumeRolePolicyDocument=document)
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
    iam.put_role_policy(RoleName=f"{NAME}-role", PolicyName="own", PolicyDocument=json.dumps(policy))
    iam.attach_role_policy(RoleName=f"{NAME}-role", PolicyArn="arn:aws:iam::aws:policy/ReadOnlyAccess")
    iam.create_instance_profile(InstanceProfileName=f"{NAME}-profile")
    iam.add_role_to_instance_profile(InstanceProfileName=f"{NAME}-profile", RoleName=f"{NAME}-role")
    yield "role", f"{NAME}-role"
    aws.client("sagemaker").create_model_package_group(ModelPackageGroupName=NAME)
    aws.client("sagemaker").create_model_package(
        ModelPackageGroupName=NAME,
        InferenceSpecification={
            "Containers": [{"Image": "any:1", "ModelDataUrl": "s3://bins/model.tar.gz"}],
            "SupportedContentTypes": ["image/jpeg"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )
    yield "model package group", NAME
    key = aws.client("kms").create_key()["KeyMetadata"]["KeyId"]
    aws.client("kms").create_alias(AliasName=f"alias/{NAME}", TargetKeyId=key)
    yield "key", NAME


PLANTERS: tuple[Callable[[Aws], Any], ...] = (_serving, _network, _alerts, _rest)


def obey(command: str, aws: Aws) -> None:
    """Runs a printed command; those of the aws CLI through the operation of the same name."""
    words = shlex.split(command)
    if words[0] == "python":
        environment = {**os.environ, "PATH": os.environ["PATH"]}
        subprocess.run([sys.executable, *words[1:]], check=True, env=environment)
        return
    program, service, operation, *flags = words
    assert program == "aws"
    client = aws.client(service)
    model = client.meta.service_model.operation_model(
        client.meta.method_to_api_mapping[operation.replace("-", "_")]
    ).input_shape
    members = {xform_name(name, "-"): (name, shape) for name, shape in model.members.items()}
    request: dict[str, Any] = {}
    while flags:
        flag = flags.pop(0).removeprefix("--")
        name, shape = members[flag]
        values = []
        while flags and not flags[0].startswith("--"):
            values.append(flags.pop(0))
        request[name] = _typed(shape.type_name, values)
    getattr(client, operation.replace("-", "_"))(**request)


def _typed(kind: str, values: list[str]) -> Any:
    if kind == "boolean":
        return True
    if kind == "list":
        return values
    return int(values[0]) if kind == "integer" else values[0]


def _ask(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = run(["leftovers", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_planted_strays_are_found_priced_and_go_by_the_printed_commands(
    aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.client("s3").create_bucket(Bucket="somebody-elses")
    aws.client("logs").create_log_group(logGroupName=f"/aws/lambda/{NAME}elopment")
    aws.client("cloudformation").create_stack(StackName=f"{NAME}-storage", TemplateBody=json.dumps(BUCKET_STACK))
    planted = {stray for plant in PLANTERS for stray in plant(aws)}
    code, said = _ask(capsys)
    assert code == Exit.FAILED
    found = {(stray["kind"], stray["name"]): stray for stray in said["strays"]}
    assert set(found) == planted
    dollars = {kind: stray["dollars_a_month"] for (kind, _), stray in found.items()}
    assert dollars["instance"] == pytest.approx(0.3328 * 730)
    assert dollars["volume"] == pytest.approx(8)
    assert dollars["bucket"] == pytest.approx(2000 / 1e9 * 0.023)
    assert dollars["role"] == dollars["model"] == 0
    assert said["dollars_a_month"] == pytest.approx(sum(value or 0 for value in dollars.values()), abs=1e-3)
    order = sorted(found.values(), key=lambda stray: stray["kind"] == "role")
    for stray in order:
        for command in stray["remove"]:
            obey(command, aws)
    assert run(["leftovers"]) == Exit.OK
    assert f"Nothing of {NAME} is left" in capsys.readouterr().out
    assert {bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"]} == {
        "somebody-elses", f"{NAME}-held",
    }  # fmt: skip


def test_a_key_that_a_destroy_keeps_is_listed_without_its_alias_and_not_once_it_goes(aws: Aws) -> None:
    """CloudFormation deletes the alias, which no setting keeps. The tag says whose key it is."""
    kms = aws.client("kms")
    made = kms.create_key(Tags=[{"TagKey": tag["Key"], "TagValue": tag["Value"]} for tag in TAGS])["KeyMetadata"]
    kms.create_alias(AliasName=f"alias/{NAME}-data", TargetKeyId=made["KeyId"])
    for name in (f"{NAME}-data", made["KeyId"]):
        (found,) = strays.find(aws, NAMES).found
        assert (found.kind, found.name, found.arn, found.dollars_a_month) == ("key", name, made["Arn"], 1.0)
        if name != made["KeyId"]:
            kms.delete_alias(AliasName=f"alias/{NAME}-data")
    (command,) = found.remove
    obey(command, aws)
    assert strays.find(aws, NAMES).found == ()


@contextmanager
def denied(aws: Aws, service: str, operation: str, code: str) -> Iterator[None]:
    """AWS denies this operation meanwhile."""

    def deny(**given: Any) -> tuple[Any, dict[str, Any]]:
        return SimpleNamespace(status_code=403), {"Error": {"Code": code, "Message": "no [policy] allows it"}}

    meta = aws.client(service).meta
    event = f"before-call.{meta.service_model.service_id.hyphenize()}.{operation}"
    meta.events.register(event, deny)
    try:
        yield
    finally:
        meta.events.unregister(event, deny)


@pytest.mark.parametrize(
    ("service", "operation", "code", "unseen"),
    [
        ("ec2", "DescribeVolumes", "UnauthorizedOperation", "volumes"),
        ("iam", "ListRoles", "AccessDenied", "roles"),
        ("sns", "ListTopics", "AuthorizationError", "topics"),
        ("resourcegroupstaggingapi", "GetResources", "AccessDeniedException", strays.EVERY_TAGGED),
    ],
)
def test_what_may_not_be_listed_is_named_and_the_rest_is_looked_at(
    service: str, operation: str, code: str, unseen: str, aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ended at the first service that denied it, whatever was left in others."""
    left = f"{NAME}-left"
    with denied(aws, service, operation, code):
        assert run(["leftovers"]) == Exit.NOT_READY
        shown = capsys.readouterr()
        assert f"Not looked at: {unseen} ({code}: no [policy] allows it)" in shown.out
        assert "Of what may be looked at, nothing of" in shown.out
        assert f"these credentials may not list {unseen}" in shown.err
        aws.client("logs").create_log_group(logGroupName=left)
        status, said = _ask(capsys)
        aws.client("logs").delete_log_group(logGroupName=left)
    assert status == Exit.FAILED
    assert [stray["name"] for stray in said["strays"]] == [left]
    assert [each["kind"] for each in said["not_looked_at"]] == [unseen]
    assert unseen not in said["looked_at"]


def test_without_knowing_what_stacks_hold_nothing_is_called_left(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    with denied(aws, "cloudformation", "DescribeStacks", "AccessDenied"):
        assert run(["leftovers"]) == Exit.FAILED
    shown = capsys.readouterr()
    assert "AWS refused DescribeStacks" in shown.err and not shown.out


def test_a_machine_is_a_stray_once_it_should_have_ended(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    def start(ends_by: datetime) -> str:
        tags = [*TAGS, {"Key": strays.ENDS_BY, "Value": ends_by.isoformat()}]
        specification = [{"ResourceType": "instance", "Tags": tags}]
        started = aws.client("ec2").run_instances(
            ImageId="ami-1", InstanceType="p9.huge", MinCount=1, MaxCount=1, TagSpecifications=specification
        )
        return str(started["Instances"][0]["InstanceId"])

    now = datetime.now(UTC)
    working, stuck = start(now + timedelta(hours=1)), start(now - timedelta(minutes=1))
    strays_found = strays.find(aws, NAMES)
    assert [resource.name for resource in strays_found.found] == [stuck]
    # The price of an unknown type is reported as unknown.
    assert (strays_found.dollars_a_month, strays_found.unpriced) == (0, 1)
    leftovers._show(strays_found, aws.place)
    text = capsys.readouterr().out
    assert "unknown" in text
    assert f"aws ec2 terminate-instances --instance-ids {stuck}" in text
    aws.client("ec2").terminate_instances(InstanceIds=[working, stuck])


def test_a_stopped_machine_is_not_called_free(aws: Aws) -> None:
    """Its volumes bill on."""
    ec2 = aws.client("ec2")
    specification = [{"ResourceType": "instance", "Tags": TAGS}]
    started = ec2.run_instances(
        ImageId="ami-1", InstanceType="t3.2xlarge", MinCount=1, MaxCount=1, TagSpecifications=specification
    )
    machine = started["Instances"][0]["InstanceId"]
    ec2.stop_instances(InstanceIds=[machine])
    found = strays.find(aws, NAMES)
    assert [(resource.name, resource.dollars_a_month) for resource in found.found] == [(machine, None)]
    assert found.unpriced == 1
    ec2.terminate_instances(InstanceIds=[machine])


def test_an_endpoint_whose_configuration_was_deleted_is_listed_without_a_price() -> None:
    sagemaker = boto3.client("sagemaker", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    endpoint = {
        "EndpointName": NAME,
        "EndpointArn": f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{NAME}",
        "EndpointStatus": "InService",
        "CreationTime": datetime.now(UTC),
        "LastModifiedTime": datetime.now(UTC),
    }
    stubber = Stubber(sagemaker)
    stubber.add_response("list_endpoints", {"Endpoints": [endpoint]})
    stubber.add_response("describe_endpoint", endpoint | {"EndpointConfigName": "deleted"})
    why = 'Could not find endpoint configuration "deleted".'
    stubber.add_client_error("describe_endpoint_config", "ValidationException", why)
    with stubber:
        reader = AccountReader(SimpleNamespace(client=lambda service: sagemaker), None)  # type: ignore[arg-type]
        (found,) = next(kind for kind in KINDS if kind.label == "endpoints").find(reader)
    assert (found.name, found.dollars_a_month) == (NAME, None)


def test_a_bucket_is_listed_without_a_price_where_its_policy_refuses_and_not_once_it_is_deleted() -> None:
    """S3 lists a deleted bucket for some time, and refuses whatever else is asked of it."""
    s3 = boto3.client("s3", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    stubber = Stubber(s3)
    stubber.add_response("list_buckets", {"Buckets": [{"Name": name} for name in ("trail", "deleted", "broken")]})
    stubber.add_client_error("list_object_versions", "AccessDenied", "explicit deny in a resource-based policy")
    stubber.add_client_error("list_object_versions", "NoSuchBucket", "The specified bucket does not exist")
    stubber.add_client_error("list_object_versions", "InternalError", "We encountered an internal error")
    with stubber:
        found = _listed("buckets", s3)
        trail = next(found)
        assert (trail.name, trail.dollars_a_month) == ("trail", None)
        with pytest.raises(ClientError, match="InternalError"):
            next(found)


_NOW = datetime(2026, 11, 30, tzinfo=UTC)
# Label of the kind: service, operation that lists, member and items of its answer, what is asked of each item, and code
# and words of the error about one that has gone.
GONE: dict[str, tuple[str, str, str, Callable[[str], dict[str, Any]], str, str, str]] = {
    "roles": (
        "iam", "list_roles", "Roles",
        lambda name: {
            "RoleName": name, "Path": "/", "RoleId": "R" * 16, "Arn": f"arn:aws:iam::123456789012:role/{name}",
            "CreateDate": _NOW,
        },
        "list_role_policies", "NoSuchEntity", "The role with name gone cannot be found.",
    ),
    "event rules": (
        "events", "list_rules", "Rules",
        lambda name: {"Name": name, "Arn": f"arn:aws:events:us-east-1:123456789012:rule/{name}"},
        "list_targets_by_rule", "ResourceNotFoundException", "Rule gone does not exist on EventBus default.",
    ),
    "image repositories": (
        "ecr", "describe_repositories", "repositories",
        lambda name: {"repositoryName": name, "repositoryArn": f"arn:aws:ecr:us-east-1:123456789012:repository/{name}"},
        "describe_images", "RepositoryNotFoundException", "The repository with name 'gone' does not exist",
    ),
    "endpoints": (
        "sagemaker", "list_endpoints", "Endpoints",
        lambda name: {
            "EndpointName": name, "EndpointArn": f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{name}",
            "CreationTime": _NOW, "LastModifiedTime": _NOW, "EndpointStatus": "InService",
        },
        "describe_endpoint", "ValidationException", 'Could not find endpoint "gone".',
    ),
    "model package groups": (
        "sagemaker", "list_model_package_groups", "ModelPackageGroupSummaryList",
        lambda name: {
            "ModelPackageGroupName": name, "CreationTime": _NOW, "ModelPackageGroupStatus": "Completed",
            "ModelPackageGroupArn": f"arn:aws:sagemaker:us-east-1:123456789012:model-package-group/{name}",
        },
        "list_model_packages", "ValidationException", "Model Package Group gone does not exist.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("label", GONE)
def test_what_is_listed_after_it_was_deleted_is_passed_over(label: str) -> None:
    """A destroy has just deleted it. Another error ends the command."""
    service, listing, key, described, asking, code, words = GONE[label]
    make: Any = boto3.client
    client = make(service, "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    stubber = Stubber(client)
    stubber.add_response(listing, {key: [described("gone"), described("other")]})
    stubber.add_client_error(asking, code, words)
    stubber.add_client_error(asking, "InternalFailure", "try again")
    with stubber, pytest.raises(ClientError, match="InternalFailure"):
        next(_listed(label, client))


_OF_KEYS = ("aws/s3", "closed", "gone", "broken")


def test_a_key_whose_policy_refuses_is_listed_and_one_that_has_gone_is_not() -> None:
    kms = boto3.client("kms", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    stubber = Stubber(kms)
    aliases = [
        {"AliasName": f"alias/{name}", "AliasArn": f"arn:aws:kms:us-east-1:1:alias/{name}", "TargetKeyId": f"id-{name}"}
        for name in _OF_KEYS
    ]
    keys = [{"KeyId": f"id-{name}", "KeyArn": f"arn:aws:kms:us-east-1:1:key/id-{name}"} for name in _OF_KEYS]
    stubber.add_response("list_aliases", {"Aliases": aliases})
    stubber.add_response("list_keys", {"Keys": keys})
    stubber.add_client_error("describe_key", "AccessDeniedException", "no resource-based policy allows it")
    stubber.add_client_error("describe_key", "NotFoundException", "Key 'gone' does not exist")
    stubber.add_client_error("describe_key", "KMSInternalException", "try again")
    with stubber:
        found = _listed("keys", kms)
        assert next(found).name == "closed"
        with pytest.raises(ClientError, match="KMSInternalException"):
            next(found)


def _listed(label: str, client: Any) -> Iterator[AccountResource]:
    aws = SimpleNamespace(client=lambda service: client, is_local=False)
    return next(kind for kind in strays.KINDS if kind.label == label).find(AccountReader(aws, None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        (NAME, True),
        (f"{NAME}-serving", True),
        (f"/aws/sagemaker/Endpoints/{NAME}", True),
        (f"{NAME}2", False),
        (f"my-{NAME}", False),
        ("binventory-prod", False),
    ],
)
def test_a_name_is_ours_when_it_begins_with_the_prefix(name: str, ours: bool) -> None:
    assert strays._named(name, NAMES) is ours


def test_without_credentials_three_lines_say_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert run(["leftovers"]) == Exit.NOT_READY
    assert "No AWS credentials were found" in capsys.readouterr().err


STACK = "arn:aws:cloudformation:us-east-1:123456789012:stack/binventory-dev-serving/1"
MODELS = "arn:aws:sagemaker:us-east-1:123456789012:model/"


def _event(identifier: str, status: str) -> dict[str, str]:
    return {"StackId": STACK, "PhysicalResourceId": identifier, "ResourceStatus": status}


# The newest first: an update replaces the alarm and the model, and has not ended.
EVENTS = [
    _event(f"{MODELS}{NAME}-new", "CREATE_IN_PROGRESS"),
    _event(f"{NAME}-alarm-old", "UPDATE_IN_PROGRESS"),
    _event(STACK, "UPDATE_IN_PROGRESS"),
    _event(f"{NAME}-alarm-of-an-earlier-update", "DELETE_COMPLETE"),
    _event(STACK, "UPDATE_IN_PROGRESS"),
]


@pytest.mark.parametrize(
    ("status", "needed"),
    [
        ("UPDATE_IN_PROGRESS", True),
        ("UPDATE_ROLLBACK_IN_PROGRESS", True),
        ("UPDATE_ROLLBACK_FAILED", True),
        ("UPDATE_COMPLETE", False),
    ],
)
def test_what_an_update_replaces_is_needed_until_it_is_over(
    status: str, needed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {
        "describe_stacks": [{"StackName": f"{NAME}-serving", "StackStatus": status}],
        "list_stack_resources": [{"PhysicalResourceId": f"{NAME}-alarm-now"}],
        "describe_stack_events": EVENTS,
    }
    monkeypatch.setattr(strays, "entries", lambda aws, service, operation, key, **request: answers[operation])
    found = strays._stacks(connect(ENVIRONMENT), NAMES)
    assert f"{NAME}-alarm-now" in found.held
    assert ({f"{NAME}-alarm-old", f"{NAME}-new"} <= found.held) is needed
    assert f"{NAME}-alarm-of-an-earlier-update" not in found.held
    assert found.busy is needed
