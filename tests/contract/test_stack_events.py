"""EventBridge hears of the states that stacks enter, as CloudFormation tells it on AWS."""

from __future__ import annotations

import json
import time

from local_aws.server import REGION, LocalAws
from tests.contract.conftest import ClientFactory


def test_a_rule_hears_of_a_stack_from_its_creation_to_its_deletion(local_aws: LocalAws, client: ClientFactory) -> None:
    queue = client("sqs").create_queue(QueueName="stack-events")["QueueUrl"]
    arn = f"arn:aws:sqs:{REGION}:{local_aws.account}:stack-events"
    stacks = f"arn:aws:cloudformation:{REGION}:{local_aws.account}:stack/heard/"
    pattern = {
        "source": ["aws.cloudformation"],
        "detail-type": ["CloudFormation Stack Status Change"],
        "detail": {"stack-id": [{"prefix": stacks}]},
    }
    client("events").put_rule(Name="stack-events", EventPattern=json.dumps(pattern))
    client("events").put_targets(Rule="stack-events", Targets=[{"Id": "queue", "Arn": arn}])
    cloudformation = client("cloudformation")
    template = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    for name in ("unheard", "heard"):
        cloudformation.create_stack(StackName=name, TemplateBody=template)
        cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 0.2})
        cloudformation.delete_stack(StackName=name)
    expected = {"CREATE_IN_PROGRESS", "CREATE_COMPLETE", "DELETE_IN_PROGRESS", "DELETE_COMPLETE"}
    heard: set[str] = set()
    deadline = time.monotonic() + 10
    while heard != expected and time.monotonic() < deadline:
        for message in client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            client("sqs").delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            event = json.loads(message["Body"])
            assert event["resources"] == [event["detail"]["stack-id"]]
            heard.add(event["detail"]["status-details"]["status"])
    assert heard == expected


def test_a_stack_that_settles_quickly_is_ready_at_the_first_look(local_aws: LocalAws, client: ClientFactory) -> None:
    """The CDK CLI looks at once and then every five seconds: the resource takes longer than the way to a first look."""
    cloudformation = client("cloudformation")
    # A wait for nobody's signal: a second on a worker thread, then the stack fails.
    slow = {
        "Handle": {"Type": "AWS::CloudFormation::WaitConditionHandle"},
        "Wait": {
            "Type": "AWS::CloudFormation::WaitCondition",
            "Properties": {"Handle": {"Ref": "Handle"}, "Timeout": "1", "Count": 1},
        },
    }
    template = json.dumps({"Resources": slow})
    cloudformation.create_change_set(
        StackName="quick", ChangeSetName="first", ChangeSetType="CREATE", TemplateBody=template
    )
    cloudformation.get_waiter("change_set_create_complete").wait(
        StackName="quick", ChangeSetName="first", WaiterConfig={"Delay": 1}
    )
    cloudformation.execute_change_set(StackName="quick", ChangeSetName="first")
    (stack,) = cloudformation.describe_stacks(StackName="quick")["Stacks"]
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    cloudformation.delete_stack(StackName="quick")
    gone = cloudformation.describe_stacks(StackName=stack["StackId"])["Stacks"][0]["StackStatus"]
    assert gone == "DELETE_COMPLETE"
