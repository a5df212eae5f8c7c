"""What rules, schedules, topics and alarms deliver, and what policies keep them from."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local_aws.server import LocalAws
from tests.contract.conftest import SCHEDULE_ROLE, ClientFactory
from tests.contract.functions import make_function
from tests.contract.jobs import until
from tests.contract.test_authorisation import role, statement

ACCOUNT = "123456789012"
BUCKET = "delivered"
EVENT = {"Source": "tests", "DetailType": "Delivery", "Detail": "{}"}
FAILS_FIRST = """
import boto3
s3 = boto3.client("s3")
tries = s3.list_objects_v2(Bucket="delivered", Prefix=context.function_name + "/").get("Contents", [])
s3.put_object(Bucket="delivered", Key=f"{context.function_name}/{len(tries)}", Body=b"")
if not tries:
    raise ValueError("not yet")
"""


def tries(client: ClientFactory, function: str) -> int:
    """How often a function has run."""
    return int(client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"{function}/")["KeyCount"])


def arn_of(client: ClientFactory, queue: str) -> str:
    """The ARN of a new queue."""
    client("sqs").create_queue(QueueName=queue)
    return f"arn:aws:sqs:us-east-1:{ACCOUNT}:{queue}"


def messages(client: ClientFactory, queue: str) -> list[str]:
    """The messages that are in a queue now."""
    url = client("sqs").get_queue_url(QueueName=queue)["QueueUrl"]
    return [item["Body"] for item in client("sqs").receive_message(QueueUrl=url).get("Messages", [])]


def on_event(client: ClientFactory, name: str, target: str) -> str:
    """The ARN of a rule for events of `name`."""
    arn: str = client("events").put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))["RuleArn"]
    client("events").put_targets(Rule=name, Targets=[{"Id": "one", "Arn": target}])
    return arn


def soon(client: ClientFactory, name: str, target: str, role_arn: str) -> None:
    """A schedule for the next second."""
    when = datetime.now(UTC) + timedelta(seconds=1)
    client("scheduler").create_schedule(
        Name=name,
        ScheduleExpression=f"at({when:%Y-%m-%dT%H:%M:%S})",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": target, "RoleArn": role_arn, "Input": json.dumps({"by": name})},
    )


@pytest.mark.parametrize("by", ["rule", "schedule", "topic"])
def test_an_event_that_a_function_fails_on_is_repeated(client: ClientFactory, by: str) -> None:
    client("s3").create_bucket(Bucket=BUCKET)
    function = make_function(client, f"fails-first-{by}", FAILS_FIRST)
    if by == "rule":
        on_event(client, "tests.repeated", function)
        client("events").put_events(Entries=[{**EVENT, "Source": "tests.repeated"}])
    elif by == "schedule":
        soon(client, "repeated", function, SCHEDULE_ROLE)
    else:
        topic = client("sns").create_topic(Name="repeated")["TopicArn"]
        client("sns").subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function)
        client("sns").publish(TopicArn=topic, Message="once")
    until(lambda: tries(client, f"fails-first-{by}") == 2)


def test_an_event_that_a_function_never_takes_is_sent_on(client: ClientFactory) -> None:
    given_up = arn_of(client, "given-up")
    function = make_function(client, "never", "raise ValueError('no')", DeadLetterConfig={"TargetArn": given_up})
    client("lambda").put_function_event_invoke_config(FunctionName="never", MaximumRetryAttempts=0)
    on_event(client, "tests.never", function)
    client("events").put_events(Entries=[{**EVENT, "Source": "tests.never"}])
    (message,) = until(lambda: messages(client, "given-up"))
    assert json.loads(message)["requestPayload"]["source"] == "tests.never"


def test_a_rule_reaches_what_its_targets_policy_lets_it(strict_aws: LocalAws, root: ClientFactory) -> None:
    """A function without a permission for this rule is not invoked, as on AWS, and the log says so."""
    root("s3").create_bucket(Bucket=BUCKET)
    runs = role(root, "runs", {"Service": "lambda.amazonaws.com"}, statement("s3:*"))
    counts = (
        'import boto3; boto3.client("s3").put_object(Bucket="delivered", Key=f"{context.function_name}/1", Body=b"")'
    )
    closed, open_ = (make_function(root, name, counts, runs) for name in ("closed", "open"))
    others = on_event(root, "tests.others", closed)
    rules = {name: on_event(root, f"tests.{name}", arn) for name, arn in (("closed", closed), ("open", open_))}
    for name, rule in (("closed", others), ("open", rules["open"])):
        root("lambda").add_permission(
            FunctionName=name, StatementId="one", Action="lambda:InvokeFunction", Principal="events.amazonaws.com",
            SourceArn=rule,
        )  # fmt: skip
    root("events").put_events(Entries=[{**EVENT, "Source": f"tests.{name}"} for name in ("closed", "open")])
    until(lambda: tries(root, "open") == 1)
    assert (
        f"{rules['closed']} did not deliver to {closed}: its policy does not allow" in strict_aws.log_path.read_text()
    )
    assert tries(root, "closed") == 0


def test_a_schedule_reaches_what_its_role_may(strict_aws: LocalAws, root: ClientFactory) -> None:
    allowed, other = arn_of(root, "scheduled"), arn_of(root, "not-scheduled")
    sends = role(root, "sends", {"Service": "scheduler.amazonaws.com"}, statement("sqs:SendMessage", resource=allowed))
    soon(root, "to-other", other, sends)
    soon(root, "to-allowed", allowed, sends)
    assert until(lambda: messages(root, "scheduled")) == ['{"by": "to-allowed"}']
    until(lambda: "not authorized to perform: sqs:SendMessage" in strict_aws.log_path.read_text())
    assert messages(root, "not-scheduled") == []


def topic_with(root: ClientFactory, name: str, policy: list[dict[str, Any]]) -> str:
    """A topic with this policy, or with the one that every topic begins with, and a queue of its name behind it."""
    arn: str = root("sns").create_topic(Name=name)["TopicArn"]
    queue = arn_of(root, name)
    takes = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:*", "Resource": queue}
    url = root("sqs").get_queue_url(QueueName=name)["QueueUrl"]
    attributes = {"Policy": json.dumps({"Version": "2012-10-17", "Statement": [takes]})}
    root("sqs").set_queue_attributes(QueueUrl=url, Attributes=attributes)
    root("sns").subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue)
    if policy:
        document = {"Version": "2012-10-17", "Statement": [{**item, "Resource": arn} for item in policy]}
        root("sns").set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=json.dumps(document))
    return arn


def test_an_alarm_reaches_the_topics_that_let_it(strict_aws: LocalAws, root: ClientFactory) -> None:
    """Those with the policy that a topic begins with, and those whose own policy names CloudWatch."""
    plain = {"Effect": "Deny", "Principal": "*", "Action": "sns:Publish"}
    tls = {**plain, "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    own = {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    named = {"Effect": "Allow", "Action": "sns:Publish", "Condition": own}
    policies = {
        "by-default": [],
        "by-name": [tls, {**named, "Principal": {"Service": "cloudwatch.amazonaws.com"}}],
        "for-budgets": [tls, {**named, "Principal": {"Service": "budgets.amazonaws.com"}}],
    }
    topics = [topic_with(root, name, policy) for name, policy in policies.items()]
    root("cloudwatch").put_metric_alarm(
        AlarmName="rings", Namespace="Tests", MetricName="Rings", Statistic="Sum", Period=60, EvaluationPeriods=1,
        Threshold=0, ComparisonOperator="GreaterThanThreshold", AlarmActions=topics,
    )  # fmt: skip
    root("cloudwatch").put_metric_data(Namespace="Tests", MetricData=[{"MetricName": "Rings", "Value": 1}])
    until(lambda: messages(root, "by-default"))
    until(lambda: messages(root, "by-name"))
    assert f"alarm:rings did not deliver to {topics[2]}" in strict_aws.log_path.read_text()
    assert messages(root, "for-budgets") == []


def test_a_budget_reaches_the_topics_that_let_it(strict_aws: LocalAws, root: ClientFactory) -> None:
    """The policy that a topic begins with does not: it lets in what names the topic's owner."""
    named = {"Effect": "Allow", "Action": "sns:Publish", "Principal": {"Service": "budgets.amazonaws.com"}}
    topics = [topic_with(root, name, policy) for name, policy in (("spent", [named]), ("spent-by-default", []))]
    alert = {"NotificationType": "ACTUAL", "ComparisonOperator": "GREATER_THAN", "Threshold": 50}
    root("budgets").create_budget(
        AccountId=ACCOUNT,
        Budget={
            "BudgetName": "notifying",
            "BudgetType": "COST",
            "TimeUnit": "MONTHLY",
            "BudgetLimit": {"Amount": "1", "Unit": "USD"},
        },
        NotificationsWithSubscribers=[
            {
                "Notification": alert,
                "Subscribers": [{"SubscriptionType": "SNS", "Address": topic} for topic in topics],
            }
        ],
    )
    strict_aws.administer("budgets/spend", {"BudgetName": "notifying", "Amount": "1"})
    until(lambda: messages(root, "spent"))
    assert f"budget notifying did not notify {topics[1]}" in strict_aws.log_path.read_text()
    assert messages(root, "spent-by-default") == []
