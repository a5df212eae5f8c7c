"""CloudFormation acts with the service role of a stack: it has its rights and no others, now and later."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.server import LocalAws
from tests.contract.conftest import ClientFactory
from tests.contract.test_authorisation import ACCOUNT, as_role, grant, role, statement

CLOUDFORMATION = {"Service": "cloudformation.amazonaws.com"}
STACK = f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/small/*"
LOG = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "small-log"}}


def alarm(name: str, threshold: int = 1) -> dict[str, Any]:
    """An alarm in a template."""
    metric = {"Namespace": "Any", "MetricName": "Any", "Period": 60, "EvaluationPeriods": 1, "Statistic": "Sum"}
    compared = {"ComparisonOperator": "GreaterThanThreshold", "Threshold": threshold}
    return {"Type": "AWS::CloudWatch::Alarm", "Properties": {"AlarmName": name, **metric, **compared}}


@pytest.fixture(scope="module")
def narrow(root: ClientFactory) -> str:
    """A service role that may change alarms whose names begin with `small`."""
    alarms = f"arn:aws:cloudwatch:us-east-1:{ACCOUNT}:alarm:small*"
    changing = [f"cloudwatch:{verb}" for verb in ("PutMetricAlarm", "DeleteAlarms", "TagResource", "UntagResource")]
    return role(
        root,
        "narrow",
        CLOUDFORMATION,
        statement(*changing, "cloudwatch:ListTagsForResource", resource=alarms),
        statement("cloudwatch:DescribeAlarms", resource=f"arn:aws:cloudwatch:us-east-1:{ACCOUNT}:alarm:*"),
    )


def ended(root: ClientFactory, name: str) -> str:
    """The status of a stack at rest."""
    cloudformation = root("cloudformation")
    for _ in range(200):
        status = str(cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])
        if not status.endswith("_IN_PROGRESS"):
            return status
        cloudformation.describe_stack_events(StackName=name)
    raise AssertionError(status)


def refusals(root: ClientFactory, name: str) -> str:
    """Why resources of a stack failed, the last first."""
    events = root("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
    return " ".join(event.get("ResourceStatusReason", "") for event in events if "FAILED" in event["ResourceStatus"])


def body(**resources: Any) -> str:
    """A template."""
    return json.dumps({"Resources": resources})


def test_a_stack_is_changed_with_the_rights_of_its_role_now_and_later(root: ClientFactory, narrow: str) -> None:
    cloudformation = root("cloudformation")
    template = {"Log": LOG, "Alarm": alarm("small-a")}
    cloudformation.create_stack(StackName="small", TemplateBody=body(**template))
    assert ended(root, "small") == "CREATE_COMPLETE"
    assert "RoleARN" not in cloudformation.describe_stacks(StackName="small")["Stacks"][0]

    template["Alarm"] = alarm("small-a", threshold=2)
    cloudformation.update_stack(StackName="small", TemplateBody=body(**template), RoleARN=narrow)
    assert ended(root, "small") == "UPDATE_COMPLETE", refusals(root, "small")
    assert cloudformation.describe_stacks(StackName="small")["Stacks"][0]["RoleARN"] == narrow

    # Without a role, CloudFormation takes the one that it took last.
    cloudformation.update_stack(StackName="small", TemplateBody=body(**template, Other=alarm("other")))
    assert ended(root, "small") == "UPDATE_ROLLBACK_COMPLETE"
    assert f"cloudwatch:PutMetricAlarm on resource: arn:aws:cloudwatch:us-east-1:{ACCOUNT}:alarm:other" in refusals(
        root, "small"
    )
    cloudformation.update_stack(StackName="small", TemplateBody=body(**template, Topic={"Type": "AWS::SNS::Topic"}))
    assert ended(root, "small") == "UPDATE_ROLLBACK_COMPLETE"
    assert "assumed-role/narrow/AWSCloudFormation is not authorized to perform: sns:CreateTopic" in refusals(
        root, "small"
    )
    cloudformation.delete_stack(StackName="small")
    assert ended(root, "small") == "DELETE_FAILED"
    assert "logs:DescribeLogGroups" in refusals(root, "small")

    # As cdk deploy and cdk destroy do: they name the role that deploys.
    everything = role(root, "deploys", CLOUDFORMATION, statement("*"))
    cloudformation.delete_stack(StackName="small", RoleARN=everything)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName="small", WaiterConfig={"Delay": 0.2})


def test_a_change_set_brings_its_role_to_the_stack(root: ClientFactory, narrow: str) -> None:
    cloudformation = root("cloudformation")
    made = {"StackName": "planned", "ChangeSetName": "first"}
    cloudformation.create_change_set(
        **made, ChangeSetType="CREATE", TemplateBody=body(Alarm=alarm("small-b"), Log=LOG), RoleARN=narrow
    )
    cloudformation.get_waiter("change_set_create_complete").wait(**made, WaiterConfig={"Delay": 0.2})
    cloudformation.execute_change_set(**made)
    assert ended(root, "planned") == "ROLLBACK_COMPLETE"
    assert "logs:DescribeLogGroups" in refusals(root, "planned")
    assert cloudformation.describe_stacks(StackName="planned")["Stacks"][0]["RoleARN"] == narrow
    cloudformation.delete_stack(StackName="planned")


def test_a_role_is_passed_by_who_may_and_only_if_cloudformation_may_assume_it(
    strict_aws: LocalAws, root: ClientFactory, narrow: str
) -> None:
    cloudformation = root("cloudformation")
    cloudformation.create_stack(StackName="small-too", TemplateBody=body(Alarm=alarm("small-c")))
    assert ended(root, "small-too") == "CREATE_COMPLETE"
    changed = {"StackName": "small-too", "TemplateBody": body(Alarm=alarm("small-c", threshold=3))}
    jobs = role(root, "jobs-only", {"Service": "sagemaker.amazonaws.com"})
    for stranger in (jobs, f"arn:aws:iam::{ACCOUNT}:role/never-made"):
        with pytest.raises(ClientError, match=f"Role {stranger} is invalid or cannot be assumed"):
            cloudformation.update_stack(**changed, RoleARN=stranger)

    updating = statement("cloudformation:UpdateStack", resource=STACK.replace("small", "small-too"))
    caller = role(root, "updates", {"AWS": ACCOUNT}, updating)
    limited = as_role(strict_aws, root, caller)("cloudformation")
    with pytest.raises(ClientError, match=f"not authorized to perform: iam:PassRole on resource: {narrow}"):
        limited.update_stack(**changed, RoleARN=narrow)
    to_jobs = statement(
        "iam:PassRole", resource=narrow, StringEquals={"iam:PassedToService": "sagemaker.amazonaws.com"}
    )
    grant(root, "updates", updating, to_jobs)
    with pytest.raises(ClientError, match="not authorized to perform: iam:PassRole"):
        limited.update_stack(**changed, RoleARN=narrow)
    passing = statement(
        "iam:PassRole", resource=narrow, StringEquals={"iam:PassedToService": CLOUDFORMATION["Service"]}
    )
    grant(root, "updates", updating, passing)
    limited.update_stack(**changed, RoleARN=narrow)
    assert ended(root, "small-too") == "UPDATE_COMPLETE"


def test_autoscaling_asks_for_the_rights_on_what_it_scales(strict_aws: LocalAws, root: ClientFactory) -> None:
    """As its user guide documents: first it tries the caller's rights in the other services."""
    endpoint = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/scaled"
    named = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/scaled/variant/primary",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    own = statement(
        "application-autoscaling:RegisterScalableTarget",
        resource=f"arn:aws:application-autoscaling:us-east-1:{ACCOUNT}:scalable-target/*",
        StringEquals={"application-autoscaling:service-namespace": "sagemaker"},
    )
    caller = role(root, "scales", {"AWS": ACCOUNT}, own)
    scaling = as_role(strict_aws, root, caller)("application-autoscaling")

    def refusal(**changed: str) -> str:
        with pytest.raises(ClientError) as caught:
            scaling.register_scalable_target(**(named | changed), MinCapacity=1, MaxCapacity=2)
        return str(caught.value)

    foreign = {"ServiceNamespace": "ecs", "ResourceId": "service/a/b", "ScalableDimension": "ecs:service:DesiredCount"}
    assert "application-autoscaling:RegisterScalableTarget" in refusal(**foreign)
    assert "sagemaker:DescribeEndpoint" in refusal()
    reading = statement("sagemaker:DescribeEndpoint", resource=endpoint)
    grant(root, "scales", own, reading)
    words = refusal()
    assert "sagemaker:DescribeEndpointConfig" in words and ":endpoint-config/scaled" not in words, "of a made-up name"
    configurations = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint-config/*"
    trying = statement("sagemaker:DescribeEndpointConfig", resource=configurations)
    grant(root, "scales", own, reading, trying)
    assert "sagemaker:UpdateEndpointWeightsAndCapacities" in refusal()
    weighing = statement("sagemaker:UpdateEndpointWeightsAndCapacities", resource=endpoint)
    grant(root, "scales", own, reading, trying, weighing)
    assert "iam:CreateServiceLinkedRole" in refusal()
    grant(root, "scales", own, reading, trying, weighing, statement("iam:CreateServiceLinkedRole"))
    assert "is not a variant of an endpoint that exists" in refusal(), "the rights are enough"
