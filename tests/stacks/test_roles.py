"""Least privilege: no role may do everything, anywhere, or pass its permissions on."""

from __future__ import annotations

import re
from typing import Any

import pytest

from stacks.settings import load
from tests.rights import Deployment, Request, allows
from tests.stacks.templates import as_list, changed, flat, resources, statements, synthesize, templates

# What the services offer no resource for, so that `*` is all there is.
WITHOUT_RESOURCE_LEVEL = {
    "application-autoscaling:DescribeScalableTargets",
    "application-autoscaling:DescribeScalingPolicies",
    "application-autoscaling:DescribeScheduledActions",
    "cloudwatch:GetMetricStatistics",
    "cloudwatch:PutMetricData",
    "ecr:GetAuthorizationToken",
    "sagemaker:ListEndpointConfigs",
    "sagemaker:ListModels",
}


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


def test_jobs_write_their_own_results_and_nothing_that_another_step_made() -> None:
    """Training writes neither shards nor archives that are served; Ingest no features."""
    template = templates("dev")["Training"]
    of = "executions/*"
    for role, places in {
        "RolesIngestPolicy": {"Data": [f"{of}/ingest"]},
        "RolesTrainingPolicy": {
            "Data": [f"{of}/embed", f"{of}/ingest/report/embed-checkpoints", "checkpoints"],
            "Model": [f"{of}/tune", f"{of}/train"],
        },
        "RolesEvaluatePolicy": {"Model": [f"{of}/evaluation", f"{of}/serving"]},
    }.items():
        written = _resources_of(_policy(template, role), "s3:PutObject")
        expected = {(bucket, prefix) for bucket, prefixes in places.items() for prefix in prefixes}
        found = {
            (bucket, resource.partition("/")[2].removesuffix("/*"))
            for resource in written
            for bucket in ("Data", "Model")
            if f"{bucket}Bucket" in resource
        }
        assert found == expected, role
        deleted = {resource.partition("/")[2] for resource in _resources_of(_policy(template, role), "s3:DeleteObject")}
        # SageMaker deletes those checkpoints that a training deletes in its folder, which are the older ones.
        assert deleted == ({"checkpoints/*/step-*"} if role == "RolesTrainingPolicy" else set()), role


def test_jobs_may_read_the_code_of_an_earlier_version_and_no_asset_of_another_system() -> None:
    """An execution names the code that it began with, and a deployment may come before its next step."""
    roles = Deployment(templates("dev")).roles()
    jobs = {name: roles[f"Training.{name}"] for name in roles_of_jobs()}
    bucket, earlier = "arn:aws:s3:::cdk-hnb659fds-assets-123456789012-us-east-1", f"{64 * 'a'}.gz"
    for name, held in jobs.items():
        own = f"binventory-dev/{earlier}"
        assert allows(held, Request("s3:GetObject", f"{bucket}/{own}")), name
        assert allows(held, Request("s3:ListBucket", bucket, (("s3:prefix", own),))), name
        for other in (earlier, f"binventory-prod/{earlier}", f"others/{earlier}", "binventory-dev/template.json"):
            assert not allows(held, Request("s3:GetObject", f"{bucket}/{other}")), (name, other)
            assert not allows(held, Request("s3:ListBucket", bucket, (("s3:prefix", other),))), (name, other)


def roles_of_jobs() -> set[str]:
    """Logical ids of the roles that run the training code."""
    names = resources(templates("dev")["Training"], "AWS::IAM::Role")
    return {name for name in names if re.match("Roles(Ingest|Training|Evaluate)", name)}


def test_no_job_writes_what_was_sealed_and_no_machine_what_an_execution_made() -> None:
    """Ingest may write below every execution, so what it left is recorded where it may not."""
    roles = Deployment(synthesize(changed(load("dev"), "ec2", enabled=True))).roles()
    jobs = {
        role: found for role, found in roles.items() if re.search("Roles(Ingest|Training|Evaluate)|Ec2.Machine", role)
    }
    assert len(jobs) == 4
    written: dict[str, set[str]] = {}
    for role, found in jobs.items():
        for key in ("seals/0a1b", "seals/ingest/x", "hcq96k8svw45/ingest/train/digests.json", "ec2-20261129-1/log"):
            request = Request("s3:PutObject", f"arn:aws:s3:::Storage.DataBucketE3889A50/executions/{key}")
            if allows(found, request):
                written.setdefault(key, set()).add(role.partition(".")[2].rstrip("0123456789ABCDEF"))
    assert "seals/0a1b" not in written
    assert written["hcq96k8svw45/ingest/train/digests.json"] == {"RolesIngest"}
    assert written["ec2-20261129-1/log"] == {"Machine"}


def test_ingest_reads_the_photos_and_labels_of_the_settings() -> None:
    settings = changed(
        load("dev"), "data", photos_uri="s3://my-bins/site-7/", labels_uri="s3://my-labels/truth/labels.csv"
    )
    policy = _policy(synthesize(settings)["Training"], "RolesIngestPolicy")
    read = set(_resources_of(policy, "s3:GetObject"))
    assert "arn:<AWS::Partition>:s3:::my-bins/site-7/*" in read
    assert "arn:<AWS::Partition>:s3:::my-labels/truth/labels.csv" in read
    assert not any("aft-vbi-pds" in resource for resource in read)


def test_fingerprint_lists_what_settings_name_and_writes_listings() -> None:
    settings = changed(
        load("dev"), "data", photos_uri="s3://my-bins/site-7/", labels_uri="s3://my-labels/truth/labels.csv"
    )
    settings = changed(settings, "training", weights="s3://my-weights/net.pth")
    policy = _policy(synthesize(settings)["Training"], "FingerprintListPolicy")
    listed = {
        flat(item["Resource"]).rpartition(":")[2]: as_list(item["Condition"]["StringLike"]["s3:prefix"])
        for item in policy
        if item["Action"] == "s3:ListBucket"
    }
    assert listed == {
        "my-bins": ["site-7", "site-7/*"],
        "my-labels": ["truth/labels.csv*"],
        "my-weights": ["net.pth*"],
    }
    listings, seals = _resources_of(policy, "s3:PutObject")
    assert listings.endswith("/executions/listings/*") and seals.endswith("/executions/seals/*")
    lists, read = _resources_of(policy, "s3:GetObject")
    assert lists.endswith("/executions/*/ingest/*/digests.json") and read == seals, "no photo, and no shard"


def test_the_pipeline_invokes_one_function() -> None:
    template = templates("dev")["Training"]
    (invoked,) = _resources_of(_policy(template, "RolesPipelinePolicy"), "lambda:InvokeFunction")
    function = template["Resources"][invoked.strip("<>").removesuffix(".Arn")]["Properties"]
    assert (function["FunctionName"], function["Handler"]) == ("binventory-dev-fingerprint", "fingerprint.handler")
    assert function["Timeout"] <= 350, "the answer must come back on the connection that asked"


def test_functions_write_to_log_groups_that_end(stacks: dict[str, dict[str, Any]]) -> None:
    for template in stacks.values():
        groups = resources(template, "AWS::Logs::LogGroup")
        for group in groups.values():
            assert group["Properties"]["RetentionInDays"] > 0
        for name, function in resources(template, "AWS::Lambda::Function").items():
            assert flat(function["Properties"]["LoggingConfig"]["LogGroup"]).strip("<>") in groups, name


def test_who_lists_the_streams_of_a_log_group_may_by_both_forms_of_its_name(
    stacks: dict[str, dict[str, Any]],
) -> None:
    """CloudWatch Logs asks for a group with `:*` behind its name, or without."""
    seen = 0
    for template in stacks.values():
        for name, statement in statements(template):
            if {"logs:DescribeLogStreams", "logs:FilterLogEvents"} & set(as_list(statement["Action"])):
                groups = {flat(resource) for resource in as_list(statement["Resource"])}
                plain = {group.removesuffix(":*") for group in groups}
                seen += 1
                assert groups == plain | {f"{group}:*" for group in plain}, name
    assert seen > 3
