"""A stack takes over nothing that exists: CloudFormation refuses to create it again, as on AWS.

ministack empties an existing log group, and gives a stack the role, function, alarm, dashboard, rule or schedule of
another one, which goes when the stack goes.

Uses these internals of version 1.5.33: `services.cloudwatch_logs._log_groups`, `services.iam._roles`,
`services.lambda_svc._functions`, `services.cloudwatch` `_alarms` and `_dashboards`, `services.eventbridge` `_rules` and
`_rule_key`, and `services.scheduler._schedules`.
tests/contract/test_hooks.py fails for one that moved when ministack is upgraded.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from local_aws.ministack.stack_resources import Properties, refuse


def keep_what_exists() -> None:
    """Make CloudFormation refuse to create what exists under the name that the template gives it."""
    from ministack.services import cloudwatch, cloudwatch_logs, eventbridge, iam, lambda_svc, scheduler

    def rule(properties: Properties) -> bool:
        bus = str(properties.get("EventBusName") or "default").rpartition("/")[2]
        return eventbridge._rule_key(properties["Name"], bus) in eventbridge._rules

    def schedule(properties: Properties) -> bool:
        return f"{properties.get('GroupName') or 'default'}/{properties['Name']}" in scheduler._schedules

    _check("AWS::Logs::LogGroup", "LogGroupName", lambda given: given["LogGroupName"] in cloudwatch_logs._log_groups)
    _check("AWS::IAM::Role", "RoleName", lambda given: given["RoleName"] in iam._roles)
    _check("AWS::Lambda::Function", "FunctionName", lambda given: given["FunctionName"] in lambda_svc._functions)
    _check("AWS::CloudWatch::Alarm", "AlarmName", lambda given: given["AlarmName"] in cloudwatch._alarms)
    _check(
        "AWS::CloudWatch::Dashboard", "DashboardName", lambda given: given["DashboardName"] in cloudwatch._dashboards
    )
    _check("AWS::Events::Rule", "Name", rule)
    _check("AWS::Scheduler::Schedule", "Name", schedule)


def _check(kind: str, member: str, exists: Callable[[Properties], bool]) -> None:
    def problem(properties: Properties) -> str:
        if not properties.get(member) or not exists(properties):
            return ""
        identifier = json.dumps({f"/properties/{member}": properties[member]}, separators=(",", ":"))
        return (
            f"Resource of type '{kind}' with identifier '{identifier}' already exists. "
            "(HandlerErrorCode: AlreadyExists)"
        )

    refuse(kind, problem, "create")
