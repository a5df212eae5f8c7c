"""EventBridge gets the stack events that CloudFormation sends on AWS."""

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
