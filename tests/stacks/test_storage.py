"""The buckets: private, encrypted, TLS only, logged, with expiry, and deleted with a dev stack."""

from __future__ import annotations

import pytest

from tests.stacks.templates import flat, only, resources, templates

ENVIRONMENTS = pytest.mark.parametrize("environment", ["dev", "prod"])


@ENVIRONMENTS
def test_buckets_are_closed_and_encrypted(environment: str) -> None:
    buckets = resources(templates(environment)["Storage"], "AWS::S3::Bucket")
    assert len(buckets) == 3
    for bucket in buckets.values():
        properties = bucket["Properties"]
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
        assert properties["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
        assert properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]


@ENVIRONMENTS
def test_every_bucket_refuses_what_is_not_tls_and_other_accounts(environment: str) -> None:
    template = templates(environment)["Storage"]
    policies = {
        flat(policy["Properties"]["Bucket"]): policy["Properties"]["PolicyDocument"]["Statement"]
        for policy in resources(template, "AWS::S3::BucketPolicy").values()
    }
    for name in resources(template, "AWS::S3::Bucket"):
        denials = [item for item in policies[f"<{name}>"] if item["Effect"] == "Deny" and item["Action"] == "s3:*"]
        conditions = [item["Condition"] for item in denials]
        assert {"Bool": {"aws:SecureTransport": "false"}} in conditions
        assert {"NumericLessThan": {"s3:TlsVersion": 1.2}} in conditions
        # Other accounts, whatever they were allowed; AWS's own deliveries of logs come from no account.
        assert {
            "StringNotEquals": {"aws:PrincipalAccount": {"Ref": "AWS::AccountId"}},
            "Bool": {"aws:PrincipalIsAWSService": "false"},
        } in conditions
        assert all(item["Principal"] == {"AWS": "*"} and len(item["Resource"]) == 2 for item in denials)


@ENVIRONMENTS
def test_data_and_models_are_logged_and_logs_are_not(environment: str) -> None:
    buckets = resources(templates(environment)["Storage"], "AWS::S3::Bucket")
    logged = {name for name, bucket in buckets.items() if "LoggingConfiguration" in bucket["Properties"]}
    (log_bucket,) = set(buckets) - logged
    assert log_bucket.startswith("LogBucket")
    for name in logged:
        destination = buckets[name]["Properties"]["LoggingConfiguration"]["DestinationBucketName"]
        assert flat(destination) == f"<{log_bucket}>"


@ENVIRONMENTS
def test_nothing_grows_for_ever(environment: str) -> None:
    buckets = resources(templates(environment)["Storage"], "AWS::S3::Bucket")
    for name, bucket in buckets.items():
        rules = bucket["Properties"]["LifecycleConfiguration"]["Rules"]
        assert all(rule["Status"] == "Enabled" for rule in rules)
        assert any("AbortIncompleteMultipartUpload" in rule for rule in rules)
        if bucket["Properties"].get("VersioningConfiguration") == {"Status": "Enabled"}:
            assert any("NoncurrentVersionExpiration" in rule for rule in rules), name
        else:
            assert any("ExpirationInDays" in rule for rule in rules), name


@ENVIRONMENTS
def test_only_models_are_versioned(environment: str) -> None:
    buckets = resources(templates(environment)["Storage"], "AWS::S3::Bucket")
    versioned = [name for name, bucket in buckets.items() if "VersioningConfiguration" in bucket["Properties"]]
    assert [name[: len("ModelBucket")] for name in versioned] == ["ModelBucket"]


def test_a_dev_stack_empties_its_buckets_and_a_prod_stack_keeps_them() -> None:
    dev, prod = (templates(name)["Storage"] for name in ("dev", "prod"))
    for bucket in resources(dev, "AWS::S3::Bucket").values():
        assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Delete"
    emptied = {flat(item["Properties"]["BucketName"]) for item in resources(dev, "Custom::Cleanup").values()}
    assert emptied == {f"<{name}>" for name in resources(dev, "AWS::S3::Bucket")}
    for bucket in resources(prod, "AWS::S3::Bucket").values():
        assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert not resources(prod, "Custom::Cleanup")
    assert not resources(prod, "AWS::Lambda::Function")


@ENVIRONMENTS
def test_a_bucket_that_is_kept_keeps_its_policy(environment: str) -> None:
    template = templates(environment)["Storage"]
    buckets = resources(template, "AWS::S3::Bucket")
    for policy in resources(template, "AWS::S3::BucketPolicy").values():
        bucket = buckets[flat(policy["Properties"]["Bucket"])[1:-1]]
        for member in ("DeletionPolicy", "UpdateReplacePolicy"):
            assert policy[member] == bucket[member]


def test_what_a_cleanup_needs_outlives_it() -> None:
    template = templates("dev")["Storage"]
    function_role = only(template, "AWS::Lambda::Function")["Properties"]["Role"]["Fn::GetAtt"][0]
    for name, cleanup in resources(template, "Custom::Cleanup").items():
        needed = set(cleanup["DependsOn"])
        assert function_role in needed
        assert flat(cleanup["Properties"]["BucketName"]).strip("<>") in needed
        assert any(item in needed for item in resources(template, "AWS::IAM::Policy")), name
