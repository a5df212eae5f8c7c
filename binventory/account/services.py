"""Lists the resources of other services: buckets, logs, functions, images, alarms, dashboards, roles, budgets, keys."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator

from botocore.exceptions import ClientError

from binventory.account.resources import (
    FREE,
    AccountReader,
    AccountResource,
    ResourceKind,
    all_unless_gone,
    command,
    entries,
)
from binventory.core.aws import DENIED, error_code

_GB = 1e9
_KEY = re.compile(r"^arn:[^:]+:kms:[^:]*:\d*:key/")
_BEING_DELETED = "PendingDeletion"
_MOST_VERSIONS = 20_000  # more versions in a bucket are not added up: its price is unknown
# Deletes the objects' versions too, which `aws s3 rb --force` leaves in the way.
_EMPTY_BUCKET = (
    "import boto3, sys; bucket = boto3.resource('s3').Bucket(sys.argv[1]); "
    "bucket.object_versions.delete(); bucket.delete()"
)


def _stacks(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "cloudformation", "list_stacks", "StackSummaries"):
        name, status = raw["StackName"], raw["StackStatus"]
        if status != "DELETE_COMPLETE":
            remove = command("aws", "cloudformation", "delete-stack", "--stack-name", name)
            yield AccountResource("stack", name, raw["StackId"], FREE, (remove,), {"status": status})


def _buckets(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "s3", "list_buckets", "Buckets"):
        name = raw["Name"]
        try:
            dollars = _bucket_dollars(reader, name)
        except ClientError as error:
            # S3 lists a bucket for some time after it was deleted.
            if error_code(error) == "NoSuchBucket":
                continue
            raise
        remove = shlex.join(["python", "-c", _EMPTY_BUCKET, name])
        yield AccountResource("bucket", name, f"arn:aws:s3:::{name}", dollars, (remove,))


def _bucket_dollars(reader: AccountReader, name: str) -> float | None:
    versions = entries(reader.aws, "s3", "list_object_versions", "Versions", Bucket=name)
    try:
        sizes = [int(item["Size"]) for item in itertools.islice(versions, _MOST_VERSIONS + 1)]
    except ClientError as error:
        # The policy of somebody else's bucket may refuse everybody but its owner.
        if error_code(error) not in DENIED:
            raise
        return None
    return None if len(sizes) > _MOST_VERSIONS else reader.unit("s3_gb_month", sum(sizes) / _GB)


def _log_groups(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "logs", "describe_log_groups", "logGroups"):
        name = raw["logGroupName"]
        dollars = reader.unit("log_gb_stored_month", raw.get("storedBytes", 0) / _GB)
        remove = command("aws", "logs", "delete-log-group", "--log-group-name", name)
        arn = str(raw.get("arn", "")).removesuffix(":*")
        yield AccountResource("log group", name, arn, dollars, (remove,))


def _functions(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "lambda", "list_functions", "Functions"):
        name = raw["FunctionName"]
        remove = command("aws", "lambda", "delete-function", "--function-name", name)
        yield AccountResource("function", name, raw["FunctionArn"], FREE, (remove,))


def _rules(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "events", "list_rules", "Rules"):
        name = raw["Name"]
        listed = all_unless_gone(entries(reader.aws, "events", "list_targets_by_rule", "Targets", Rule=name))
        if listed is None:
            continue
        targets = [str(item["Id"]) for item in listed]
        remove = [command("aws", "events", "remove-targets", "--rule", name, "--ids", *targets)] if targets else []
        remove.append(command("aws", "events", "delete-rule", "--name", name))
        yield AccountResource("event rule", name, raw["Arn"], FREE, tuple(remove))


def _schedules(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "scheduler", "list_schedules", "Schedules"):
        name = raw["Name"]
        remove = command("aws", "scheduler", "delete-schedule", "--name", name, "--group-name", raw["GroupName"])
        yield AccountResource("schedule", name, raw["Arn"], FREE, (remove,))


def _topics(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "sns", "list_topics", "Topics"):
        arn = raw["TopicArn"]
        remove = command("aws", "sns", "delete-topic", "--topic-arn", arn)
        yield AccountResource("topic", arn.rsplit(":", 1)[-1], arn, FREE, (remove,))


def _alarms(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "cloudwatch", "describe_alarms", "MetricAlarms"):
        name = raw["AlarmName"]
        remove = command("aws", "cloudwatch", "delete-alarms", "--alarm-names", name)
        yield AccountResource("alarm", name, raw["AlarmArn"], reader.unit("alarm_month"), (remove,))


def _dashboards(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "cloudwatch", "list_dashboards", "DashboardEntries"):
        name = raw["DashboardName"]
        remove = command("aws", "cloudwatch", "delete-dashboards", "--dashboard-names", name)
        yield AccountResource("dashboard", name, raw["DashboardArn"], reader.unit("dashboard_month"), (remove,))


def _budgets(reader: AccountReader) -> Iterator[AccountResource]:
    account = reader.aws.client("sts").get_caller_identity()["Account"]
    for raw in entries(reader.aws, "budgets", "describe_budgets", "Budgets", AccountId=account):
        name = raw["BudgetName"]
        remove = command("aws", "budgets", "delete-budget", "--account-id", account, "--budget-name", name)
        yield AccountResource("budget", name, "", FREE, (remove,))


def _anomaly_monitors(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "ce", "get_anomaly_monitors", "AnomalyMonitors"):
        arn = raw["MonitorArn"]
        remove = command("aws", "ce", "delete-anomaly-monitor", "--monitor-arn", arn)
        yield AccountResource("anomaly monitor", raw["MonitorName"], arn, FREE, (remove,))


def _repositories(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "ecr", "describe_repositories", "repositories"):
        name = raw["repositoryName"]
        listed = entries(reader.aws, "ecr", "describe_images", "imageDetails", repositoryName=name)
        images = all_unless_gone(listed)
        if images is None:
            continue
        size = sum(int(item.get("imageSizeInBytes", 0)) for item in images)
        remove = command("aws", "ecr", "delete-repository", "--repository-name", name, "--force")
        dollars = reader.unit("registry_gb_month", size / _GB)
        yield AccountResource("image repository", name, raw["repositoryArn"], dollars, (remove,))


def _keys(reader: AccountReader) -> Iterator[AccountResource]:
    """Keys of the account itself, by an alias or else by their id: a destroy that keeps a key deletes its alias."""
    named = {
        alias["TargetKeyId"]: str(alias["AliasName"]).removeprefix("alias/")
        for alias in entries(reader.aws, "kms", "list_aliases", "Aliases")
        if "TargetKeyId" in alias
    }
    for raw in entries(reader.aws, "kms", "list_keys", "Keys"):
        key = str(raw["KeyId"])
        name = named.get(key, key)
        if name.startswith("aws/") or _is_of_aws_or_being_deleted(reader, key):
            continue
        remove = command("aws", "kms", "schedule-key-deletion", "--key-id", key, "--pending-window-in-days", "7")
        yield AccountResource("key", name, raw["KeyArn"], reader.unit("kms_key_month"), (remove,))


def _is_of_aws_or_being_deleted(reader: AccountReader, key: str) -> bool:
    try:
        found = reader.aws.client("kms").describe_key(KeyId=key)["KeyMetadata"]
    except ClientError as error:
        # A listing may be older than a key's end. The policy of somebody else's key may refuse everybody but its owner.
        if error_code(error) not in {"NotFoundException", *DENIED}:
            raise
        return error_code(error) == "NotFoundException"
    return bool(found.get("KeyManager") == "AWS" or found["KeyState"] == _BEING_DELETED)


def goes_by_itself(reader: AccountReader, arn: str) -> bool:
    """Whether a resource, of which the ARN is known, is a key that KMS deletes after its waiting time, at no cost."""
    return _KEY.search(arn) is not None and _is_of_aws_or_being_deleted(reader, arn)


def _roles(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "iam", "list_roles", "Roles"):
        if raw["Path"].startswith("/aws-service-role/"):
            continue
        remove = all_unless_gone(_remove_role(reader, raw["RoleName"]))
        if remove is not None:
            yield AccountResource("role", raw["RoleName"], raw["Arn"], FREE, tuple(remove))


def _remove_role(reader: AccountReader, name: str) -> Iterator[str]:
    role = ("--role-name", name)
    for policy in entries(reader.aws, "iam", "list_role_policies", "PolicyNames", RoleName=name):
        yield command("aws", "iam", "delete-role-policy", *role, "--policy-name", str(policy))
    for policy in entries(reader.aws, "iam", "list_attached_role_policies", "AttachedPolicies", RoleName=name):
        yield command("aws", "iam", "detach-role-policy", *role, "--policy-arn", policy["PolicyArn"])
    for profile in entries(reader.aws, "iam", "list_instance_profiles_for_role", "InstanceProfiles", RoleName=name):
        of = ("--instance-profile-name", profile["InstanceProfileName"])
        yield command("aws", "iam", "remove-role-from-instance-profile", *of, *role)
        yield command("aws", "iam", "delete-instance-profile", *of)
    yield command("aws", "iam", "delete-role", *role)


KINDS = (
    ResourceKind("stacks", _stacks),
    ResourceKind("buckets", _buckets),
    ResourceKind("image repositories", _repositories),
    ResourceKind("log groups", _log_groups),
    ResourceKind("functions", _functions),
    ResourceKind("event rules", _rules),
    ResourceKind("schedules", _schedules),
    ResourceKind("topics", _topics),
    ResourceKind("alarms", _alarms),
    ResourceKind("dashboards", _dashboards),
    ResourceKind("budgets", _budgets),
    ResourceKind("anomaly monitors", _anomaly_monitors),
    ResourceKind("keys", _keys),
    ResourceKind("roles", _roles),
)
