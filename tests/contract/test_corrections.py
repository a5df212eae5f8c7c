"""What ministack would answer otherwise than AWS, and the local AWS answers as AWS."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.conftest import ClientFactory
from tests.contract.jobs import until

BUCKET = "corrected"
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)
MIB = 1024 * 1024


@pytest.fixture(scope="module", autouse=True)
def bucket(client: ClientFactory) -> None:
    client("s3").create_bucket(Bucket=BUCKET)
    client("s3").put_object(Bucket=BUCKET, Key="there", Body=b"x")


def test_a_bucket_has_one_owner(client: ClientFactory) -> None:
    s3 = client("s3")
    s3.head_bucket(Bucket=BUCKET, ExpectedBucketOwner="123456789012")
    for read in (s3.head_bucket, s3.list_objects_v2):
        with pytest.raises(ClientError, match=r"403|AccessDenied"):
            read(Bucket=BUCKET, ExpectedBucketOwner="999999999999")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.put_object(Bucket=BUCKET, Key="stranger", Body=b"x", ExpectedBucketOwner="999999999999")
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == ["there"]


@pytest.mark.parametrize(("first", "accepted"), [(5 * MIB, True), (5 * MIB - 1, False)])
def test_every_part_but_the_last_has_five_mebibytes(client: ClientFactory, first: int, accepted: bool) -> None:
    s3, key = client("s3"), f"parts-{first}"
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    parts = []
    for number, size in ((1, first), (2, 3)):
        sent = s3.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=number, Body=b"x" * size)
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    named = {"Bucket": BUCKET, "Key": key, "UploadId": upload, "MultipartUpload": {"Parts": parts}}
    if accepted:
        s3.complete_multipart_upload(**named)
        assert s3.head_object(Bucket=BUCKET, Key=key)["ContentLength"] == first + 3
        return
    with pytest.raises(ClientError, match="EntityTooSmall"):
        s3.complete_multipart_upload(**named)
    s3.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)


def test_parts_are_named_in_their_order(client: ClientFactory) -> None:
    s3 = client("s3")
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="ordered")["UploadId"]
    parts = []
    for number, size in ((1, 5 * MIB), (2, 3)):
        sent = s3.upload_part(Bucket=BUCKET, Key="ordered", UploadId=upload, PartNumber=number, Body=b"x" * size)
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    for wrong, error in ((parts[::-1], "InvalidPartOrder"), ([parts[0]] * 2, "InvalidPartOrder"), ([], "MalformedXML")):
        with pytest.raises(ClientError, match=error):
            s3.complete_multipart_upload(
                Bucket=BUCKET, Key="ordered", UploadId=upload, MultipartUpload={"Parts": wrong}
            )
    s3.complete_multipart_upload(Bucket=BUCKET, Key="ordered", UploadId=upload, MultipartUpload={"Parts": parts})
    assert s3.head_object(Bucket=BUCKET, Key="ordered")["ContentLength"] == 5 * MIB + 3


def test_a_key_has_at_most_1024_bytes(client: ClientFactory) -> None:
    """In UTF-8, however it is written."""
    s3 = client("s3")
    s3.put_object(Bucket=BUCKET, Key="é" * 512, Body=b"x")
    s3.delete_object(Bucket=BUCKET, Key="é" * 512)
    long = {"Bucket": BUCKET, "Key": "é" * 512 + "x"}
    writes: list[tuple[Any, dict[str, Any]]] = [
        (s3.put_object, {"Body": b"x"}),
        (s3.copy_object, {"CopySource": {"Bucket": BUCKET, "Key": "there"}}),
        (s3.create_multipart_upload, {}),
    ]
    for write, more in writes:
        with pytest.raises(ClientError, match="KeyTooLongError"):
            write(**long, **more)


def test_an_upload_is_answered_with_its_checksum(client: ClientFactory) -> None:
    put = client("s3").put_object(Bucket=BUCKET, Key="summed", Body=b"photo", ChecksumAlgorithm="SHA256")
    head = client("s3").head_object(Bucket=BUCKET, Key="summed", ChecksumMode="ENABLED")
    assert put["ChecksumSHA256"] == head["ChecksumSHA256"]
    assert put["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(b"photo").digest()).decode()
    assert put["ChecksumType"] == "FULL_OBJECT"
    plain = client("s3").put_object(Bucket=BUCKET, Key="plain", Body=b"photo")
    assert plain["ChecksumCRC32"], "boto3 adds one"


def statistics(client: ClientFactory, dimensions: list[dict[str, str]]) -> list[float]:
    """The sums of a metric, by both operations that read one."""
    start, end = datetime.now(UTC) - timedelta(minutes=5), datetime.now(UTC) + timedelta(minutes=5)
    metric = {"Namespace": "Corrected", "MetricName": "Count", "Dimensions": dimensions}
    points = client("cloudwatch").get_metric_statistics(
        **metric, StartTime=start, EndTime=end, Period=3600, Statistics=["Sum"]
    )["Datapoints"]
    query = {"Id": "one", "MetricStat": {"Metric": metric, "Period": 3600, "Stat": "Sum"}}
    data = client("cloudwatch").get_metric_data(MetricDataQueries=[query], StartTime=start, EndTime=end)
    values = data["MetricDataResults"][0]["Values"]
    assert sum(point["Sum"] for point in points) == sum(values)
    return [float(value) for value in values]


def test_a_metric_has_exactly_the_dimensions_that_are_asked_for(client: ClientFactory) -> None:
    put: Any = client("cloudwatch").put_metric_data
    for value, dimensions in ((1, []), (10, [{"Name": "Bin", "Value": "a"}]), (100, [{"Name": "Bin", "Value": "b"}])):
        datum = {"MetricName": "Count", "Value": value, "Dimensions": dimensions}
        put(Namespace="Corrected", MetricData=[datum])
    assert sum(statistics(client, [])) == 1
    assert sum(statistics(client, [{"Name": "Bin", "Value": "a"}])) == 10
    assert statistics(client, [{"Name": "Bin", "Value": "c"}]) == []


def test_an_alarm_that_would_never_ring_is_refused(client: ClientFactory) -> None:
    metric = {"Namespace": "Corrected", "MetricName": "Count", "Dimensions": []}
    queries = [
        {"Id": "one", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}, "ReturnData": False},
        {"Id": "twice", "Expression": "one * 2"},
    ]
    alarm = {"AlarmName": "math", "EvaluationPeriods": 1, "ComparisonOperator": "GreaterThanThreshold", "Threshold": 1}
    with pytest.raises(ClientError, match="Metrics of an alarm does not run locally"):
        client("cloudwatch").put_metric_alarm(**alarm, Metrics=queries)
    assert client("cloudwatch").describe_alarms(AlarmNames=["math"])["MetricAlarms"] == []


def test_an_alarm_with_a_unit_looks_at_data_of_this_unit(client: ClientFactory) -> None:
    """One that names a unit that nobody publishes never rings, as on AWS."""
    cloudwatch = client("cloudwatch")
    for unit in ("Count", "Seconds"):
        cloudwatch.put_metric_alarm(
            AlarmName=f"of-{unit}", Namespace="Tests", MetricName="Measured", Statistic="Sum", Period=60, Unit=unit,
            EvaluationPeriods=1, Threshold=0, ComparisonOperator="GreaterThanThreshold",
            TreatMissingData="notBreaching",
        )  # fmt: skip
    data = [{"MetricName": "Measured", "Value": 1, "Unit": "Count"}]
    cloudwatch.put_metric_data(Namespace="Tests", MetricData=data)

    def states() -> dict[str, str]:
        found = cloudwatch.describe_alarms(AlarmNamePrefix="of-")["MetricAlarms"]
        return {item["AlarmName"]: item["StateValue"] for item in found}

    assert until(lambda: states()["of-Count"] == "ALARM")
    assert states()["of-Seconds"] == "OK"


def test_a_query_of_logs_is_answered_whole_or_refused(client: ClientFactory) -> None:
    logs = client("logs")
    logs.create_log_group(logGroupName="/corrected")
    logs.create_log_stream(logGroupName="/corrected", logStreamName="one")
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": text} for text in ("stats | of a bin", "other")]
    logs.put_log_events(logGroupName="/corrected", logStreamName="one", logEvents=events)
    asked = {"logGroupName": "/corrected", "startTime": now // 1000 - 60, "endTime": now // 1000 + 60}
    for query in ("stats count(*) by bin(5m)", "fields @message | parse @message '*' as x | limit 3"):
        with pytest.raises(ClientError, match=r"command (stats|parse) does not run locally"):
            logs.start_query(**asked, queryString=query)
    text = "# stats\nfields @message\n| filter @message like /stats | of/\n| sort @timestamp desc | limit 5"
    identifier = logs.start_query(**asked, queryString=text)["queryId"]
    found = logs.get_query_results(queryId=identifier)["results"]
    assert [field["value"] for row in found for field in row if field["field"] == "@message"] == ["stats | of a bin"]


@pytest.mark.parametrize(
    ("arn", "words"),
    [
        ("arn:aws:iam::123456789012:policy/never-made", "does not exist or is not attachable"),
        ("arn:aws:iam::aws:policy/AdminstratorAccess", "give the role a policy of your own instead"),
    ],
)
def test_a_policy_that_does_not_exist_is_not_attached(client: ClientFactory, arn: str, words: str) -> None:
    iam, role = client("iam"), f"attach-{len(arn)}"
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=TRUST)
    with pytest.raises(iam.exceptions.NoSuchEntityException, match=words):
        iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []


def test_policies_that_exist_are_attached(client: ClientFactory) -> None:
    iam = client("iam")
    iam.create_role(RoleName="attached", AssumeRolePolicyDocument=TRUST)
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    own = iam.create_policy(PolicyName="own", PolicyDocument=document)
    for arn in (own["Policy"]["Arn"], "arn:aws:iam::aws:policy/ReadOnlyAccess"):
        iam.attach_role_policy(RoleName="attached", PolicyArn=arn)
    found = iam.list_attached_role_policies(RoleName="attached")["AttachedPolicies"]
    assert {item["PolicyName"] for item in found} == {"own", "ReadOnlyAccess"}


def test_a_stack_attaches_no_policy_that_does_not_exist(client: ClientFactory) -> None:
    role = {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": json.loads(TRUST),
            "RoleName": "of-a-stack",
            "ManagedPolicyArns": ["arn:aws:iam::aws:policy/NeverMade"],
        },
    }
    cloudformation = client("cloudformation")
    cloudformation.create_stack(StackName="unattached", TemplateBody=json.dumps({"Resources": {"Role": role}}))
    events = cloudformation.describe_stack_events(StackName="unattached")["StackEvents"]
    reasons = [event.get("ResourceStatusReason", "") for event in events]
    assert any("NeverMade does not exist or is not attachable" in reason for reason in reasons), reasons
    with pytest.raises(ClientError, match="not found"):
        client("iam").get_role(RoleName="of-a-stack")


def test_a_stack_with_an_empty_list_of_policies_is_made(client: ClientFactory) -> None:
    """As in the template of `cdk bootstrap`: a parameter that is a list and has no value."""
    role = {
        "Type": "AWS::IAM::Role",
        "Properties": {"AssumeRolePolicyDocument": json.loads(TRUST), "ManagedPolicyArns": {"Ref": "Policies"}},
    }
    parameters = {"Policies": {"Type": "CommaDelimitedList", "Default": ""}}
    template = json.dumps({"Parameters": parameters, "Resources": {"Role": role}})
    client("cloudformation").create_stack(StackName="without-policies", TemplateBody=template)
    (stack,) = client("cloudformation").describe_stacks(StackName="without-policies")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"


@pytest.mark.parametrize(
    ("service", "operation", "request_"),
    [
        ("pricing", "describe_services", {}),
        ("ce", "get_cost_and_usage", {
            "TimePeriod": {"Start": "2026-01-01", "End": "2026-01-02"}, "Granularity": "DAILY",
            "Metrics": ["UsageQuantity"],
        }),
        ("service-quotas", "get_service_quota", {"ServiceCode": "sagemaker", "QuotaCode": "L-1"}),
        ("comprehend", "list_flywheels", {}),
    ],
)  # fmt: skip
def test_what_is_missing_says_so(client: ClientFactory, service: str, operation: str, request_: Any) -> None:
    with pytest.raises(ClientError, match=r"[Tt]he local .*; AWS does") as refused:
        getattr(client(service), operation)(**request_)
    assert refused.value.response["Error"]["Code"] == "NotImplemented"


def test_a_condition_may_join_what_parameters_name(client: ClientFactory) -> None:
    """As in the template of `cdk bootstrap`, whose role that deploys has its policies by such a condition."""
    given = {"Fn::Join": ["", {"Ref": "Policies"}]}
    parts = {"Fn::Join": ["-", ["a", {"Ref": "Word"}]]}
    log = {"Type": "AWS::Logs::LogGroup"}
    template = {
        "Parameters": {
            "Policies": {"Type": "CommaDelimitedList", "Default": ""},
            "Word": {"Type": "String", "Default": "b"},
        },
        "Conditions": {
            "Named": {"Fn::Not": [{"Fn::Equals": ["", given]}]},
            "Unnamed": {"Fn::Equals": ["", given]},
            "Same": {"Fn::Equals": ["a-b", parts]},
        },
        "Resources": {name: {**log, "Condition": name} for name in ("Named", "Unnamed", "Same")},
    }
    cloudformation = client("cloudformation")

    def made(name: str, **values: str) -> set[str]:
        parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()]
        cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(template), Parameters=parameters)
        cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 0.2})
        listed = cloudformation.list_stack_resources(StackName=name)["StackResourceSummaries"]
        return {str(item["LogicalResourceId"]) for item in listed}

    assert made("joins-nothing") == {"Unnamed", "Same"}
    assert made("joins-two", Policies="one, two", Word="c") == {"Named"}


def test_policies_are_simulated_by_the_whole_address_of_a_role_or_user(client: ClientFactory) -> None:
    iam = client("iam")
    role = iam.create_role(RoleName="deep", Path="/a/b/", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    user = iam.create_user(UserName="deep", Path="/a/")["User"]["Arn"]
    policy = json.dumps({"Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}})
    iam.put_role_policy(RoleName="deep", PolicyName="may", PolicyDocument=policy)
    iam.put_user_policy(UserName="deep", PolicyName="may", PolicyDocument=policy)
    for arn in (role, user):
        reply = iam.simulate_principal_policy(PolicySourceArn=arn, ActionNames=["s3:GetObject", "s3:PutObject"])
        assert [one["EvalDecision"] for one in reply["EvaluationResults"]] == ["allowed", "implicitDeny"]
        for wrong in (arn.replace("/a/", "/"), f"{arn}-never-made"):
            with pytest.raises(ClientError, match="NoSuchEntity"):
                iam.simulate_principal_policy(PolicySourceArn=wrong, ActionNames=["s3:GetObject"])


def test_the_events_of_one_request_have_less_than_1_mb_together(client: ClientFactory) -> None:
    def sent(size: int, number: int) -> dict[str, Any]:
        """`size` bytes in all, in texts of two bytes a character and a time of 14."""
        each = size // number
        detail = json.dumps({"x": "é" * ((each - 2 * len("source") - 14 - len('{"x": ""}')) // 2)}, ensure_ascii=False)
        entry = {"Source": "source", "DetailType": "source", "Detail": detail, "Time": datetime.now(UTC)}
        padding = "x" * (each - 12 - 14 - len(detail.encode()))
        found: dict[str, Any] = client("events").put_events(Entries=[{**entry, "Resources": [padding]}] * number)
        return found

    assert sent(1_048_570, 10)["FailedEntryCount"] == 0
    with pytest.raises(ClientError, match="Total size of the entries in the request is over the limit"):
        sent(1_048_576, 1)
    with pytest.raises(ClientError, match="Total size of the entries in the request is over the limit"):
        sent(1_048_580, 10)
