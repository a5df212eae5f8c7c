"""What the other services hold: buckets, logs, functions, images, alarms, dashboards, roles, budgets, keys."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator

from binventory.account.things import FREE, Kind, Look, Thing, command, entries

_GB = 1e9
_MOST_VERSIONS = 20_000  # of a bucket are added up; what a larger one costs is not said
# Deletes the objects' versions too, which `aws s3 rb --force` leaves in the way.
_EMPTY_BUCKET = (
    "import boto3, sys; bucket = boto3.resource('s3').Bucket(sys.argv[1]); "
    "bucket.object_versions.delete(); bucket.delete()"
)


def _stacks(look: Look) -> Iterator[Thing]:
    for raw in entries(look.aws, "cloudformation", "list_stacks", "StackSummaries"):
        name, status = raw["StackName"], raw["StackStatus"]
        if status != "DELETE_COMPLETE":
            remove = command("aws", "cloudformation", "delete-stack", "--stack-name", name)
            yield Thing("stack", name, raw["StackId"], FREE, (remove,), {"status": status})


def _buckets(look: Look) -> Iterator[Thing]:
    for raw in entries(look.aws, "s3", "list_buckets", "Buckets"):
        name = raw["Name"]
        remove = shlex.join(["python", "-c", _EMPTY_BUCKET, name])
        yield Thing("bucket", name, f"arn:aws:s3:::{name}", _bucket_dollars(look, name), (remove,))


def _bucket_dollars(look: Look, name: str) -> float | None:
    versions = entries(look.aws, "s3", "list_object_versions", "Versions", Bucket=name)
    sizes = [int(item["Size"]) for item in itertools.islice(versions, _MOST_VERSIONS + 1)]
    return None if len(sizes) > _MOST_VERSIONS else look.unit("s3_gb_month", sum(sizes) / _GB)


def _log_groups(look: Look) -> Iterator[Thing]:
    for raw in entries(look.aws, "logs", "describe_log_groups", "logGroups"):
        name = raw["logGroupName"]
        dollars = look.unit("log_gb_stored_month", raw.get("storedBytes", 0) / _GB)
        remove = command("aws", "logs", "delete-log-group", "--log-group-name", name)
        arn = str(raw.get("arn", "")).removesuffix(":*")
        yield Thing("log group", name, arn, dollars, (remove,))


def _functions(look: Look) -> Iterator[Thing]:
    for raw in entries(look.aws, "lambda", "list_functions", "Functions"):
        name = raw["FunctionName"]
        remove = command("aws", "lambda", "delete-function", "--function-name", name)
        yield Thing("function", name, raw["FunctionArn"], FREE, (remove,))


def _rules(look: Look) -> Iterator[Thing]:
    for raw in entries(look.aws, "events", "list_rules", "Rules"):
        name = raw["Name"]
        targets = [item["Id"] for item in entries(look.aws, "events", "list_targets_by_rule", "Targets", Rule=name)]
        remove = [command("aws", "events", "remove-targets", "--rule", name, "--ids", *targets)] if targets else []
        remove.append(command("aws", "events", "delete-rule", "--name", name))
        yield Thing("event rule", name, raw["Arn"], FREE, tuple(remove))


def _schedules(look: Look) -> Iterator[Thing]:
    for raw in entries(look.aws, "scheduler", "list_schedules", "Schedules"):
        name = raw["Name"]
        remove = command("aws", "scheduler", "delete-schedule", "--name", name, "--group-name", raw["GroupName"])
        yield Thing("schedule", name, raw["Arn"], FREE, (remove,))


def _topics(look: Look) -> Iterator[Thing]:
    for raw in entries(look.aws, "sns", "list_topics", "Topics"):
        arn = raw["TopicArn"]
        remove = command("aws", "sns", "delete-topic", "--topic-arn", arn)
        yield Thing("topic", arn.rsplit(":", 1)[-1], arn, FREE, (remove,))


def _alarms(look: Look) -> Iterator[Thing]:
    for raw in entries(look.aws, "cloudwatch", "describe_alarms", "MetricAlarms"):
        name = raw["AlarmName"]
        remove = command("aws", "cloudwatch", "delete-alarms", "--alarm-names", name)
        yield Thing("alarm", name, raw["AlarmArn"], look.unit("alarm_month"), (remove,))


def _dashboards(look: Look) -> Iterator[Thing]:
    for raw in entries(look.aws, "cloudwatch", "list_dashboards", "DashboardEntries"):
        name = raw["DashboardName"]
        remove = command("aws", "cloudwatch", "delete-dashboards", "--dashboard-names", name)
        yield Thing("dashboard", name, raw["DashboardArn"], look.unit("dashboard_month"), (remove,))


def _budgets(look: Look) -> Iterator[Thing]:
    account = look.aws.client("sts").get_caller_identity()["Account"]
    for raw in entries(look.aws, "budgets", "describe_budgets", "Budgets", AccountId=account):
        name = raw["BudgetName"]
        remove = command("aws", "budgets", "delete-budget", "--account-id", account, "--budget-name", name)
        yield Thing("budget", name, "", FREE, (remove,))


def _anomaly_monitors(look: Look) -> Iterator[Thing]:
    for raw in entries(look.aws, "ce", "get_anomaly_monitors", "AnomalyMonitors"):
        arn = raw["MonitorArn"]
        remove = command("aws", "ce", "delete-anomaly-monitor", "--monitor-arn", arn)
        yield Thing("anomaly monitor", raw["MonitorName"], arn, FREE, (remove,))


def _repositories(look: Look) -> Iterator[Thing]:
    for raw in entries(look.aws, "ecr", "describe_repositories", "repositories"):
        name = raw["repositoryName"]
        images = entries(look.aws, "ecr", "describe_images", "imageDetails", repositoryName=name)
        size = sum(int(item.get("imageSizeInBytes", 0)) for item in images)
        remove = command("aws", "ecr", "delete-repository", "--repository-name", name, "--force")
        dollars = look.unit("registry_gb_month", size / _GB)
        yield Thing("image repository", name, raw["repositoryArn"], dollars, (remove,))


def _keys(look: Look) -> Iterator[Thing]:
    for alias in entries(look.aws, "kms", "list_aliases", "Aliases"):
        name = alias["AliasName"]
        if name.startswith("alias/aws/") or "TargetKeyId" not in alias:
            continue
        key = alias["TargetKeyId"]
        if look.aws.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"] != "PendingDeletion":
            remove = command("aws", "kms", "schedule-key-deletion", "--key-id", key, "--pending-window-in-days", "7")
            yield Thing("key", name.removeprefix("alias/"), alias["AliasArn"], look.unit("kms_key_month"), (remove,))


def _roles(look: Look) -> Iterator[Thing]:
    for raw in entries(look.aws, "iam", "list_roles", "Roles"):
        if not raw["Path"].startswith("/aws-service-role/"):
            yield Thing("role", raw["RoleName"], raw["Arn"], FREE, tuple(_remove_role(look, raw["RoleName"])))


def _remove_role(look: Look, name: str) -> Iterator[str]:
    role = ("--role-name", name)
    for policy in entries(look.aws, "iam", "list_role_policies", "PolicyNames", RoleName=name):
        yield command("aws", "iam", "delete-role-policy", *role, "--policy-name", str(policy))
    for policy in entries(look.aws, "iam", "list_attached_role_policies", "AttachedPolicies", RoleName=name):
        yield command("aws", "iam", "detach-role-policy", *role, "--policy-arn", policy["PolicyArn"])
    for profile in entries(look.aws, "iam", "list_instance_profiles_for_role", "InstanceProfiles", RoleName=name):
        of = ("--instance-profile-name", profile["InstanceProfileName"])
        yield command("aws", "iam", "remove-role-from-instance-profile", *of, *role)
        yield command("aws", "iam", "delete-instance-profile", *of)
    yield command("aws", "iam", "delete-role", *role)


KINDS = (
    Kind("stacks", _stacks),
    Kind("buckets", _buckets),
    Kind("image repositories", _repositories),
    Kind("log groups", _log_groups),
    Kind("functions", _functions),
    Kind("event rules", _rules),
    Kind("schedules", _schedules),
    Kind("topics", _topics),
    Kind("alarms", _alarms),
    Kind("dashboards", _dashboards),
    Kind("budgets", _budgets),
    Kind("anomaly monitors", _anomaly_monitors),
    Kind("keys", _keys),
    Kind("roles", _roles),
)
