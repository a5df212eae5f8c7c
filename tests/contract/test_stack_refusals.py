"""What CloudFormation refuses on AWS, it refuses here: docs/local-jobs.md names the source of each."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.server import LocalAws
from stacks.settings import load
from tests.contract.conftest import ClientFactory
from tests.contract.serving import ROLE, push_image, put_artefact
from tests.contract.stacked import Stack, Template
from tests.contract.test_cloudformation import serving
from tests.stacks.templates import changed, only, synthesize

ACCOUNT = "123456789012"


@pytest.fixture(scope="module")
def image(local_aws: LocalAws, client: ClientFactory) -> str:
    """The tiny image's URI."""
    return push_image(local_aws, client)


def budgets(client: ClientFactory) -> list[str]:
    """The names of the account's budgets."""
    return [item["BudgetName"] for item in client("budgets").describe_budgets(AccountId=ACCOUNT).get("Budgets", [])]


def money(**values: Any) -> Template:
    """The money stack of dev with some of its settings changed."""
    return synthesize(changed(load("dev"), "money", **values))["Money"]


def test_a_budget_with_other_alerts_is_another_budget(client: ClientFactory) -> None:
    """The name is free for the replacement only once the old budget is gone, which is too late."""
    stack, fixed = Stack(client, "fixed-name"), money()
    only(fixed, "AWS::Budgets::Budget")["Properties"]["Budget"]["BudgetName"] = "fixed"
    assert stack.create(fixed) == "CREATE_COMPLETE", stack.reasons()
    renotified = copy.deepcopy(fixed)
    only(renotified, "AWS::Budgets::Budget")["Properties"]["NotificationsWithSubscribers"].pop()
    assert stack.update(renotified) == "UPDATE_ROLLBACK_COMPLETE"
    assert "already exists" in stack.reasons()
    stack.delete()


@pytest.mark.parametrize("values", [{"alert_emails": ["ops@example.com"]}, {"guard_percent": 90}])
def test_alerts_of_the_money_stack_can_be_changed(client: ClientFactory, values: dict[str, Any]) -> None:
    stack = Stack(client, "binventory-dev-money")
    assert stack.create(money()) == "CREATE_COMPLETE", stack.reasons()
    before = budgets(client)
    assert stack.update(money(**values)) == "UPDATE_COMPLETE", stack.reasons()
    after = budgets(client)
    assert len(before) == len(after) == 1 and before != after, "replaced, the old one removed"
    assert stack.update(money(**values, monthly_budget_usd=77)) == "UPDATE_COMPLETE", stack.reasons()
    assert budgets(client) == after, "the amount changes in place"
    stack.delete()
    assert budgets(client) == []


def importing(template: Template, stack: str) -> Template:
    """A template that imports every export of another one."""
    exports = [output["Export"]["Name"] for output in template["Outputs"].values() if "Export" in output]
    assert exports and all(name.startswith(f"{stack}:") for name in exports)
    handle = {"Type": "AWS::CloudFormation::WaitConditionHandle"}
    values = {f"Value{number}": {"Value": {"Fn::ImportValue": name}} for number, name in enumerate(exports)}
    return {"Resources": {"Handle": handle}, "Outputs": values}


def test_what_another_stack_imports_can_neither_be_deleted_nor_changed(client: ClientFactory) -> None:
    name = "binventory-dev-money"
    producer, consumer, template = Stack(client, name), Stack(client, "consumer"), money()
    assert producer.create(template) == "CREATE_COMPLETE", producer.reasons()
    assert consumer.create(importing(template, name)) == "CREATE_COMPLETE", consumer.reasons()
    with pytest.raises(ClientError, match=f"Export {name}:.* is imported by stack consumer"):
        client("cloudformation").delete_stack(StackName=name)
    removed = copy.deepcopy(template)
    export = next(key for key, output in removed["Outputs"].items() if "Export" in output)
    del removed["Outputs"][export]
    assert producer.update(removed) == "UPDATE_ROLLBACK_COMPLETE"
    assert f"{export} cannot be deleted as it is in use by consumer" in producer.reasons()
    renamed = copy.deepcopy(template)
    renamed["Outputs"][export]["Value"] = "another"
    assert producer.update(renamed) == "UPDATE_ROLLBACK_COMPLETE"
    assert f"{export} cannot be updated as it is in use by consumer" in producer.reasons()
    consumer.delete()
    assert producer.update(removed) == "UPDATE_COMPLETE", producer.reasons()
    producer.delete()


def test_a_log_group_that_exists_is_not_created_again(client: ClientFactory) -> None:
    """A stack takes it over by an import only, and then keeps what is in it."""
    logs = client("logs")
    logs.create_log_group(logGroupName="/kept")
    logs.create_log_stream(logGroupName="/kept", logStreamName="first")
    group = {"Type": "AWS::Logs::LogGroup", "DeletionPolicy": "RetainExceptOnCreate"}
    template = {"Resources": {"Logs": {**group, "Properties": {"LogGroupName": "/kept"}}}}
    stack = Stack(client, "logs")
    assert stack.create(template) == "ROLLBACK_COMPLETE"
    assert "already exists" in stack.reasons()
    stack.delete()
    (stream,) = logs.describe_log_streams(logGroupName="/kept")["logStreams"]
    assert stream["logStreamName"] == "first"


def test_what_a_failed_first_deployment_has_made_is_deleted_though_a_destroy_keeps_it(client: ClientFactory) -> None:
    def template(policy: str, name: str) -> Template:
        made = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": name}, "DeletionPolicy": policy}
        fails = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/taken"}, "DependsOn": "Made"}
        return {"Resources": {"Made": made, "Fails": fails}}

    logs = client("logs")
    logs.create_log_group(logGroupName="/taken")
    for policy, left in (("Retain", ["/first/Retain"]), ("RetainExceptOnCreate", [])):
        stack = Stack(client, policy)
        assert stack.create(template(policy, f"/first/{policy}")) == "ROLLBACK_COMPLETE"
        stack.delete()
        found = logs.describe_log_groups(logGroupNamePrefix=f"/first/{policy}")["logGroups"]
        assert [group["logGroupName"] for group in found if group["logGroupName"] == f"/first/{policy}"] == left


def test_a_variant_that_is_scaled_keeps_its_instance_type(client: ClientFactory, image: str) -> None:
    """One update cannot end the scaling first: CloudFormation removes the target after it has updated the endpoint."""
    stack, template = Stack(client, "scaled"), serving(image)
    template["Resources"]["Group"]["Properties"]["ModelPackageGroupName"] = "scaled"
    artefact = put_artefact(client, "scaled")
    assert stack.create(template, Artefact=artefact) == "CREATE_COMPLETE", stack.reasons()
    other = copy.deepcopy(template)
    other["Resources"]["Config"]["Properties"]["ProductionVariants"][0]["InstanceType"] = "ml.c5.xlarge"
    unscaled = copy.deepcopy(other)
    del unscaled["Resources"]["Target"], unscaled["Resources"]["Policy"]
    for refused in (other, unscaled):
        assert stack.update(refused, Artefact=artefact) == "UPDATE_ROLLBACK_COMPLETE"
        assert "must be deregistered as scalable targets" in stack.reasons()
    before = copy.deepcopy(template)
    del before["Resources"]["Target"], before["Resources"]["Policy"]
    for step in (before, unscaled, other):
        assert stack.update(step, Artefact=artefact) == "UPDATE_COMPLETE", stack.reasons()
    stack.delete()


def test_an_endpoint_that_is_scaled_no_longer_keeps_its_machines_only_where_it_should_retain_them(
    client: ClientFactory, image: str
) -> None:
    stack, template = Stack(client, "fixed"), serving(image)
    template["Resources"]["Group"]["Properties"]["ModelPackageGroupName"] = "fixed"
    artefact = put_artefact(client, "fixed")
    assert stack.create(template, Artefact=artefact) == "CREATE_COMPLETE", stack.reasons()
    sagemaker = client("sagemaker")

    def machines() -> int:
        (variant,) = sagemaker.describe_endpoint(EndpointName="stacked")["ProductionVariants"]
        return int(variant["DesiredInstanceCount"])

    desired = [{"VariantName": "primary", "DesiredInstanceCount": 2}]
    sagemaker.update_endpoint_weights_and_capacities(EndpointName="stacked", DesiredWeightsAndCapacities=desired)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="stacked", WaiterConfig={"Delay": 1})
    assert machines() == 2
    del template["Resources"]["Target"], template["Resources"]["Policy"]
    for retained, left in (("true", 2), ("false", 1)):
        template["Resources"]["Endpoint"]["Properties"]["RetainAllVariantProperties"] = retained
        assert stack.update(template, Artefact=artefact) == "UPDATE_COMPLETE", stack.reasons()
        assert machines() == left
    stack.delete()


def test_what_is_retained_of_a_variant_cannot_leave_out_its_data_capture(client: ClientFactory, image: str) -> None:
    stack, template = Stack(client, "captured"), serving(image)
    template["Resources"]["Group"]["Properties"]["ModelPackageGroupName"] = "captured"
    del template["Resources"]["Target"], template["Resources"]["Policy"]
    assert stack.create(template, Artefact=put_artefact(client, "one")) == "CREATE_COMPLETE", stack.reasons()
    template["Resources"]["Endpoint"]["Properties"] |= {
        "RetainAllVariantProperties": "true",
        "ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DataCaptureConfig"}],
    }
    assert stack.update(template, Artefact=put_artefact(client, "two")) == "UPDATE_ROLLBACK_COMPLETE"
    assert "DataCaptureConfig is not currently supported" in stack.reasons()
    stack.delete()


def test_an_endpoint_whose_configuration_is_gone_cannot_be_updated(client: ClientFactory, image: str) -> None:
    """So a stack keeps the configuration that a rollback may bring back, until nothing uses it."""
    stack, template = Stack(client, "forgotten"), serving(image)
    template["Resources"]["Group"]["Properties"]["ModelPackageGroupName"] = "forgotten"
    del template["Resources"]["Target"], template["Resources"]["Policy"]
    assert stack.create(template, Artefact=put_artefact(client, "kept")) == "CREATE_COMPLETE", stack.reasons()
    sagemaker = client("sagemaker")
    used = sagemaker.describe_endpoint(EndpointName="stacked")["EndpointConfigName"]
    sagemaker.delete_endpoint_config(EndpointConfigName=used)
    assert stack.update(template, Artefact=put_artefact(client, "next")) == "UPDATE_ROLLBACK_COMPLETE"
    assert "Could not find endpoint configuration" in stack.reasons()
    sagemaker.delete_endpoint(EndpointName="stacked")
    stack.delete()


def test_a_package_is_served_on_the_instance_types_that_it_lists(client: ClientFactory, image: str) -> None:
    sagemaker = client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="listed")
    package = sagemaker.create_model_package(
        ModelPackageGroupName="listed",
        ModelApprovalStatus="Approved",
        InferenceSpecification={
            "Containers": [{"Image": image, "ModelDataUrl": put_artefact(client, "listed")}],
            "SupportedContentTypes": ["image/jpeg"],
            "SupportedResponseMIMETypes": ["application/json"],
            "SupportedRealtimeInferenceInstanceTypes": ["ml.m5.large"],
        },
    )["ModelPackageArn"]
    container = {"ModelPackageName": package}
    sagemaker.create_model(ModelName="listed", ExecutionRoleArn=ROLE, Containers=[container])
    variant = {"VariantName": "primary", "ModelName": "listed", "InitialInstanceCount": 1, "InitialVariantWeight": 1.0}
    for instance_type in ("ml.m5.large", "ml.c5.xlarge"):
        sagemaker.create_endpoint_config(
            EndpointConfigName=instance_type.replace(".", "-"),
            ProductionVariants=[{**variant, "InstanceType": instance_type}],
        )
    with pytest.raises(ClientError, match=r"ml\.c5\.xlarge is not supported by model package"):
        sagemaker.create_endpoint(EndpointName="listed", EndpointConfigName="ml-c5-xlarge")
    sagemaker.create_endpoint(EndpointName="listed", EndpointConfigName="ml-m5-large")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="listed", WaiterConfig={"Delay": 1})
    sagemaker.delete_endpoint(EndpointName="listed")
