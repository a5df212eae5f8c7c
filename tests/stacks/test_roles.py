"""Least privilege: no role may do everything, anywhere, or hand its rights on freely."""

from __future__ import annotations

from typing import Any

import pytest

from stacks.settings import load
from tests.stacks.templates import as_list, changed, flat, resources, statements, synthesize, templates

# What the services offer no resource for, so that `*` is all there is.
WITHOUT_RESOURCE_LEVEL = {"cloudwatch:GetMetricStatistics", "cloudwatch:PutMetricData", "ecr:GetAuthorizationToken"}


@pytest.fixture(scope="module", params=["dev", "prod"])
def stacks(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    """The templates of an environment."""
    return templates(request.param)


def test_no_statement_allows_everything(stacks: dict[str, dict[str, Any]]) -> None:
    seen = 0
    for template in stacks.values():
        for name, statement in statements(template):
            seen += 1
            assert "NotAction" not in statement and "NotResource" not in statement, name
            for action in as_list(statement["Action"]):
                assert "*" not in action, f"{name}: {action}"
            if "*" in [flat(resource) for resource in as_list(statement["Resource"])]:
                assert set(as_list(statement["Action"])) <= WITHOUT_RESOURCE_LEVEL, name
    assert seen > 20


def test_no_role_has_a_policy_made_elsewhere(stacks: dict[str, dict[str, Any]]) -> None:
    for template in stacks.values():
        for name, role in resources(template, "AWS::IAM::Role").items():
            assert "ManagedPolicyArns" not in role["Properties"], name


def test_sagemaker_assumes_roles_for_this_account_only(stacks: dict[str, dict[str, Any]]) -> None:
    for template in stacks.values():
        for name, role in resources(template, "AWS::IAM::Role").items():
            (trust,) = role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
            if trust["Principal"] == {"Service": "sagemaker.amazonaws.com"}:
                assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}, name


def _policy(template: dict[str, Any], start: str) -> list[dict[str, Any]]:
    found = [statement for name, statement in statements(template) if name.startswith(start)]
    assert found, start
    return found


def _resources_of(policy: list[dict[str, Any]], action: str) -> list[str]:
    return [
        flat(resource)
        for statement in policy
        if action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    ]


def test_the_pipeline_passes_its_own_job_roles_to_sagemaker_and_approves_nothing() -> None:
    policy = _policy(templates("dev")["Training"], "RolesPipelinePolicy")
    (passing,) = [item for item in policy if "iam:PassRole" in as_list(item["Action"])]
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    roles = {flat(resource) for resource in as_list(passing["Resource"])}
    assert len(roles) == 3 and all(role.startswith("<Roles") and role.endswith(".Arn>") for role in roles)
    (creating,) = [item for item in policy if "sagemaker:CreateModelPackage" in as_list(item["Action"])]
    assert creating["Condition"] == {"StringEqualsIfExists": {"sagemaker:ModelApprovalStatus": "PendingManualApproval"}}
    assert not _resources_of(policy, "sagemaker:UpdateModelPackage")


def test_jobs_write_where_their_results_belong() -> None:
    template = templates("dev")["Training"]
    for role, places in {
        "RolesIngestPolicy": {"Data": ["executions"]},
        "RolesTrainingPolicy": {"Data": ["executions", "checkpoints"], "Model": ["executions"]},
        "RolesEvaluatePolicy": {"Model": ["executions"]},
    }.items():
        written = _resources_of(_policy(template, role), "s3:PutObject")
        expected = {(bucket, prefix) for bucket, prefixes in places.items() for prefix in prefixes}
        found = {
            (bucket, resource.rsplit("/", 2)[1])
            for resource in written
            for bucket in ("Data", "Model")
            if f"{bucket}Bucket" in resource
        }
        assert found == expected, role
        assert not _resources_of(_policy(template, role), "s3:DeleteObject"), role


def test_ingest_reads_the_photos_and_labels_of_the_settings() -> None:
    settings = changed(
        load("dev"), "data", photos_uri="s3://my-bins/site-7/", labels_uri="s3://my-labels/truth/labels.csv"
    )
    policy = _policy(synthesize(settings)["Training"], "RolesIngestPolicy")
    read = set(_resources_of(policy, "s3:GetObject"))
    assert "arn:<AWS::Partition>:s3:::my-bins/site-7/*" in read
    assert "arn:<AWS::Partition>:s3:::my-labels/truth/labels.csv" in read
    assert not any("aft-vbi-pds" in resource for resource in read)


def test_promotion_may_change_one_stack_and_not_by_another_role_or_template() -> None:
    policy = _policy(templates("dev")["Training"], "PromotionPromotePolicy")
    (update,) = [item for item in policy if "cloudformation:UpdateStack" in as_list(item["Action"])]
    assert flat(update["Resource"]).endswith(":stack/binventory-dev-serving/*")
    assert update["Condition"] == {"Null": {"cloudformation:RoleArn": "true", "cloudformation:TemplateUrl": "true"}}
    actions = {action for item in policy for action in as_list(item["Action"])}
    assert actions == {
        "cloudformation:DescribeStacks",
        "cloudformation:UpdateStack",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "sagemaker:DescribeModelPackage",
    }


def test_promotion_hears_the_approvals_of_its_own_group() -> None:
    template = templates("dev")["Training"]
    rules = resources(template, "AWS::Events::Rule").values()
    (rule,) = (rule for rule in rules if rule["Properties"]["Name"] == "binventory-dev-model-approved")
    pattern = rule["Properties"]["EventPattern"]
    assert pattern["source"] == ["aws.sagemaker"]
    assert pattern["detail-type"] == ["SageMaker Model Package State Change"]
    assert pattern["detail"] == {
        "ModelPackageGroupName": ["binventory-dev"],
        "ModelApprovalStatus": ["Approved"],
    }
    (function,) = [
        name
        for name, item in resources(template, "AWS::Lambda::Function").items()
        if item["Properties"]["Handler"] == "promotion.handler"
    ]
    assert flat(rule["Properties"]["Targets"][0]["Arn"]) == f"<{function}.Arn>"
    permissions = [item["Properties"] for item in resources(template, "AWS::Lambda::Permission").values()]
    assert [item for item in permissions if item["Principal"] != "events.amazonaws.com"] == []
    assert f"<{function}.Arn>" in [flat(item["FunctionName"]) for item in permissions]


def test_functions_write_to_log_groups_that_end(stacks: dict[str, dict[str, Any]]) -> None:
    for template in stacks.values():
        groups = resources(template, "AWS::Logs::LogGroup")
        for group in groups.values():
            assert group["Properties"]["RetentionInDays"] > 0
        for name, function in resources(template, "AWS::Lambda::Function").items():
            assert flat(function["Properties"]["LoggingConfig"]["LogGroup"]).strip("<>") in groups, name
