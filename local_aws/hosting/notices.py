"""The test notification of an asynchronous endpoint, by which SageMaker looks at its topics and at its role.

https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-create-endpoint-create-endpoint.html
"""

from __future__ import annotations

import json

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.core.context import Context
from local_aws.core.errors import AwsError
from local_aws.core.protocol import Document
from local_aws.hosting.fleet import DeploymentFailed

_TEST = json.dumps({"eventVersion": "1.0", "eventSource": "aws:sagemaker", "eventName": "TestNotification"})


def try_topics(context: Context, plan: Document) -> None:
    """Publish to each topic of a plan as its model's role, or fail in AWS's words.

    Seen: https://github.com/aws/amazon-sagemaker-examples/issues/4461
    """
    output = plan["Async"]["OutputConfig"] if plan.get("Async") else {}
    named = output.get("NotificationConfig", {})
    role = plan["Variants"][0].get("Role")
    for topic in dict.fromkeys(filter(None, (named.get("SuccessTopic"), named.get("ErrorTopic")))):
        try:
            with context.acting(role):
                context.client("sns").publish(TopicArn=topic, Message=_TEST)
        except (AwsError, ClientError, BotoCoreError) as error:
            raise DeploymentFailed(
                f'The provided role "{role}" is invalid. Please ensure the role exists, that its trust relationship '
                'policy allows the action "sts:AssumeRole" for the service principal "sagemaker.amazonaws.com", and '
                f'has "sns:Publish" permissions for topic "{topic}".'
            ) from error
