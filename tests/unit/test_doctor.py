"""The doctor finds what is missing and names the cure, against a bare local AWS and against none."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from binventory.cli import run
from binventory.core.aws import connect
from binventory.core.errors import Exit, Problem
from binventory.doctor import tools
from binventory.doctor.checks import examine
from binventory.doctor.permissions import policy_source
from binventory.doctor.quotas import needs
from binventory.doctor.tools import examine_tools
from local_aws.other_services.quotas import VALUE
from local_aws.server import LocalAws
from stacks.settings import load
from tests.forked import ForkedAws


@pytest.fixture(scope="module")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with ForkedAws(tmp_path_factory.mktemp("aws")) as started:
        yield started


@pytest.fixture(scope="module")
def strict_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with ForkedAws(tmp_path_factory.mktemp("strict"), enforce_iam=True) as started:
        yield started


@pytest.fixture
def signed_in(monkeypatch: pytest.MonkeyPatch, local_aws: LocalAws) -> LocalAws:
    for name, value in local_aws.environment().items():
        monkeypatch.setenv(name, value)
    return local_aws


def test_without_credentials_the_account_is_not_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert run(["doctor", "--json"]) == Exit.NOT_READY
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["credentials"]["state"] == "missing"
    assert "AWS_REGION" in checks["credentials"]["cure"]
    assert "bootstrap" not in checks
    assert checks["python"]["state"] == "good"


def test_a_bare_account_lacks_bootstrap_and_stacks(signed_in: LocalAws, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == Exit.NOT_READY
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["credentials"]["state"] == "good"
    assert signed_in.account in checks["credentials"]["found"]
    assert signed_in.endpoint_url in checks["region"]["found"]
    assert checks["bootstrap"]["cure"] == "run: npx cdk bootstrap"
    for stack in ("storage", "money", "training", "serving", "monitoring"):
        assert checks[f"stack {stack}"]["state"] == "missing"
        assert checks[f"stack {stack}"]["cure"] == "run: npx cdk deploy --all -c env=dev"
    assert checks["ml.m5.large for endpoint usage"]["state"] == "good"
    assert "needed 4 (serving.max_instances, twice" in checks["ml.m5.large for endpoint usage"]["found"]
    assert checks["cost allocation tag"]["state"] == "missing"
    assert "not listed yet" in checks["cost allocation tag"]["found"]


def test_a_quota_below_what_a_setting_needs_is_named_with_its_code_and_the_request(
    signed_in: LocalAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = int(VALUE) + 5
    monkeypatch.setenv("BINVENTORY_TUNING__PARALLEL_JOBS", str(wanted))
    monkeypatch.setenv("BINVENTORY_TUNING__JOBS", str(wanted))

    def check() -> dict[str, str]:
        assert run(["doctor", "--json"]) == Exit.NOT_READY
        checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
        return dict(checks["ml.m5.xlarge for spot training job usage"])

    found = check()
    assert (found["state"], found["found"]) == ("missing", f"quota 20, needed {wanted} (tuning.parallel_jobs)")
    command = re.search(r"aws service-quotas request-service-quota-increase (.*)", found["cure"])
    assert command is not None
    words = dict(zip(command[1].split()[::2], command[1].split()[1::2], strict=True))
    assert words["--quota-code"] in found["cure"].partition(":")[0]
    connect(signed_in.environment()).client("service-quotas").request_service_quota_increase(
        ServiceCode=words["--service-code"],
        QuotaCode=words["--quota-code"],
        DesiredValue=float(words["--desired-value"]),
    )
    assert check()["state"] == "good"


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("ingest", "instance_count", 7),
        ("embed", "instance_count", 7),
        ("training", "instance_count", 7),
        ("tuning", "parallel_jobs", 7),
        ("serving", "max_instances", 7),
        ("batch", "instance_count", 7),
        ("training", "spot", False),
        ("training", "on_demand_after_reclaims", 2),
        ("serving", "instance_type", "ml.c5.large"),
        ("ec2", "enabled", True),
    ],
)
def test_a_setting_that_says_how_many_machines_run_changes_what_is_needed(
    section: str, field: str, value: object
) -> None:
    dev = load("dev")
    document = dev.model_dump()
    document["tuning"]["jobs"] = 10
    document["training"]["strategy"] = "full"  # only this strategy trains on several machines
    before = type(dev).model_validate(document)
    document[section][field] = value
    assert needs(type(dev).model_validate(document)) != needs(before)


def test_the_tag_that_costs_are_counted_by_must_be_active(
    signed_in: LocalAws, capsys: pytest.CaptureFixture[str]
) -> None:
    aws = connect(signed_in.environment())
    aws.client("s3").create_bucket(Bucket="tagged")
    aws.client("s3").put_bucket_tagging(Bucket="tagged", Tagging={"TagSet": [{"Key": "deployment", "Value": "x"}]})

    def check() -> dict[str, str]:
        assert run(["doctor", "--json"]) == Exit.NOT_READY
        return next(item for item in json.loads(capsys.readouterr().out) if item["name"] == "cost allocation tag")

    def activate(status: str) -> None:
        tags = [{"TagKey": "deployment", "Status": status}]
        aws.client("ce").update_cost_allocation_tags_status(CostAllocationTagsStatus=tags)

    assert check()["state"] == "good"
    activate("Inactive")
    found = check()
    assert (found["state"], found["found"].partition(";")[0]) == ("missing", "deployment is not active")
    assert found["cure"].startswith("run: aws ce update-cost-allocation-tags-status ")
    activate("Active")
    signed_in.administer("billing/account", {"Kind": "member"})
    found = check()
    signed_in.administer("billing/account", {"Kind": "own"})
    assert found["state"] == "unknown"
    assert found["cure"].startswith("the owner of the management account must run: aws ce ")


def test_a_project_of_ones_own_is_looked_for_by_its_name(
    signed_in: LocalAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BINVENTORY_PROJECT", "acme-bins")
    assert run(["doctor", "--json"]) == Exit.NOT_READY
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["stack storage"]["found"] == "acme-bins-dev-storage is not deployed"


def test_stacks_that_only_some_settings_have_are_looked_for_too(
    signed_in: LocalAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "EC2__ENABLED": "true", "GITHUB__REPOSITORY": "acme/bins",
        "NETWORK__MODE": "create", "TRAINING__WEIGHTS": "none",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"BINVENTORY_{name}", value)
    assert run(["doctor", "--json"]) == Exit.NOT_READY
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    for stack in ("network", "ec2", "github"):
        assert checks[f"stack {stack}"]["found"] == f"binventory-dev-{stack} is not deployed"


def test_a_stack_that_the_settings_no_longer_have_is_found_with_the_command_that_deletes_it(
    signed_in: LocalAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The CDK's commands pass over it, and the endpoints of a network bill by the hour."""
    cloudformation = connect(os.environ).client("cloudformation")
    template = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    for name, protected in (("binventory-dev-network", False), ("binventory-dev-ec2", True)):
        cloudformation.create_stack(StackName=name, TemplateBody=template, EnableTerminationProtection=protected)
        cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 0.2})

    def checks() -> dict[str, dict[str, str]]:
        assert run(["doctor", "--json"]) == Exit.NOT_READY
        return {check["name"]: check for check in json.loads(capsys.readouterr().out)}

    found = checks()
    assert "stack github" not in found
    for stack in ("network", "ec2"):
        assert found[f"stack {stack}"]["state"] == "unknown"
        assert "the settings no longer have it" in found[f"stack {stack}"]["found"]
        command = found[f"stack {stack}"]["cure"].split(": ", 1)[1]
        for line in command.split(" && "):
            verb, *options = line.removeprefix("aws cloudformation ").split()
            named = options[options.index("--stack-name") + 1]
            if verb == "delete-stack":
                cloudformation.delete_stack(StackName=named)
            else:
                assert "--no-enable-termination-protection" in options
                cloudformation.update_termination_protection(StackName=named, EnableTerminationProtection=False)
        cloudformation.get_waiter("stack_delete_complete").wait(
            StackName=f"binventory-dev-{stack}", WaiterConfig={"Delay": 0.2}
        )
    assert not {"stack network", "stack ec2"} & set(checks())


def test_a_deployment_to_a_second_region_is_refused_before_it_fails_at_the_budget(
    signed_in: LocalAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def checks() -> dict[str, dict[str, str]]:
        assert run(["doctor", "--json"]) == Exit.NOT_READY
        return {check["name"]: check for check in json.loads(capsys.readouterr().out)}

    budgets = connect(os.environ).client("budgets")

    def budget(name: str) -> None:
        limit = {"Amount": "10", "Unit": "USD"}
        described = {"BudgetName": name, "BudgetType": "COST", "TimeUnit": "MONTHLY", "BudgetLimit": limit}
        budgets.create_budget(AccountId=signed_in.account, Budget=described)

    budget("binventory-dev-of-somebody")
    assert "other regions" not in checks()
    budget("binventory-dev-0123abcd")
    found = checks()["other regions"]
    assert found["state"] == "missing" and "the budget binventory-dev-0123abcd of binventory-dev" in found["found"]
    assert "destroy the environment in its other region first" in found["cure"]
    with monkeypatch.context() as moved:
        moved.setenv("BINVENTORY_REGION", "eu-west-1")
        assert "other regions" not in checks(), "a shell of a wrong region: nothing is to be destroyed in the right one"
    budgets.delete_budget(AccountId=signed_in.account, BudgetName="binventory-dev-0123abcd")
    assert "other regions" not in checks()


def test_another_region_than_that_of_the_settings_is_found(
    signed_in: LocalAws, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    assert {check.name: check for check in examine(repository, load("dev"))}["region"].state == "good"
    monkeypatch.setenv("BINVENTORY_REGION", "eu-west-1")
    found = {check.name: check for check in examine(repository, load("dev"))}["region"]
    assert (found.state, found.cure.partition(",")[0]) == ("missing", "export AWS_REGION=eu-west-1")


def test_settings_that_are_not_usable_end_the_command_or_are_named_where_only_the_project_matters(
    signed_in: LocalAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--env", "staging"]) == Exit.USAGE
    assert "must be one of dev, prod" in capsys.readouterr().err
    monkeypatch.setenv("BINVENTORY_REGION", "us-gov-west-1")
    for command, code in ((["doctor"], Exit.USAGE), (["endpoint", "status"], Exit.NOT_READY)):
        assert run(command) == code
        assert "region = 'us-gov-west-1'" in capsys.readouterr().err


def fake(folder: Path, name: str, script: str) -> Path:
    """A builder that answers as this script does: none is installed here."""
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("script", "state", "words"),
    [
        ('echo \'[["driver-type","io.containerd.snapshotter.v1"]]\'', "good", "containerd store"),
        ('echo \'[["Backing Filesystem","extfs"]]\'', "good", "Docker's own store"),
        ("exit 1", "missing", "its daemon does not answer"),
        ("exec sleep 60", "missing", "its daemon does not answer"),
        ('[ "$1" = info ] && echo null || exit 1', "missing", "it has no BuildKit"),
    ],
)
def test_docker_must_be_able_to_write_a_docker_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path, script: str, state: str, words: str
) -> None:
    fake(tmp_path, "docker", script)
    monkeypatch.delenv("CDK_DOCKER", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(tools, "_SECONDS", 2)
    found = {check.name: check for check in examine_tools(repository)}["docker"]
    assert found.state == state
    assert words in found.found


@pytest.mark.parametrize("name", ["docker", "node"])
@pytest.mark.parametrize("content", ["#!/nowhere/sh\n", "#!/bin/sh\nexit 3\n"])
def test_a_tool_that_does_not_start_is_missing_and_the_others_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path, name: str, content: str
) -> None:
    """A link of another computer's programs in PATH, or a file of another processor."""
    fake(tmp_path, name, "").write_text(content)
    monkeypatch.delenv("CDK_DOCKER", raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    found = {check.name: check for check in examine_tools(repository)}
    assert list(found) == ["python", "node", "cdk", "docker"]
    assert found[name].state == "missing" and found[name].cure


@pytest.mark.parametrize(
    ("name", "script", "state"),
    [
        ("finch", "echo '  -o, --output=type=local,dest=path'", "good"),
        ("old", "echo nothing", "missing"),
        ("podman", "echo '  -o, --output=type=local,dest=path'", "missing"),
    ],
)
def test_another_builder_must_be_able_to_write_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path, name: str, script: str, state: str
) -> None:
    monkeypatch.setenv("CDK_DOCKER", str(fake(tmp_path, name, script)))
    found = {check.name: check for check in examine_tools(repository)}["docker"]
    assert found.state == state
    assert found.cure == "" or "Docker or Finch" in found.cure


def test_a_bootstrap_with_a_qualifier_of_ones_own_is_found_by_it(signed_in: LocalAws, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"devDependencies": {"aws-cdk": "2.0.1"}}')
    (tmp_path / "cdk.json").write_text('{"context": {"@aws-cdk/core:bootstrapQualifier": "acme1"}}')
    found = {check.name: check for check in examine(tmp_path, load("dev"))}["bootstrap"]
    assert found.cure == "run: npx cdk bootstrap --qualifier acme1 --toolkit-stack-name CDKToolkit-acme1"
    ssm = connect(signed_in.environment()).client("ssm")
    ssm.put_parameter(Name="/cdk-bootstrap/acme1/version", Value="30", Type="String")
    assert {check.name: check for check in examine(tmp_path, load("dev"))}["bootstrap"].state == "good"


def test_an_old_bootstrap_is_found(signed_in: LocalAws, repository: Path) -> None:
    ssm = connect(signed_in.environment()).client("ssm")
    for version, state in (("5", "missing"), ("30", "good")):
        ssm.put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value=version, Type="String", Overwrite=True)
        checks = {check.name: check for check in examine(repository, load("dev"))}
        assert checks["bootstrap"].state == state
        assert version in checks["bootstrap"].found
    ssm.delete_parameter(Name="/cdk-bootstrap/hnb659fds/version")


def test_another_cdk_than_the_pinned_one_is_found(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"devDependencies": {"aws-cdk": "2.0.1"}}')
    found = next(check for check in examine_tools(tmp_path) if check.name == "cdk")
    assert (found.state, found.found, found.cure) == ("missing", "not installed, wanted 2.0.1", "run: make setup")


def test_the_account_itself_may_do_everything(signed_in: LocalAws, repository: Path) -> None:
    found = {check.name: check for check in examine(repository, load("dev"))}["permissions"]
    assert (found.state, found.found) == ("good", "may deploy, train, approve, endpoint, count")


def test_a_role_that_only_counts_sees_its_missing_permissions(
    signed_in: LocalAws, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = connect(signed_in.environment())
    anyone = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    endpoint = f"arn:aws:sagemaker:{signed_in.region}:{signed_in.account}:endpoint/binventory-dev"
    count = {"Effect": "Allow", "Action": "sagemaker:InvokeEndpoint", "Resource": endpoint}
    iam = aws.client("iam")
    role = iam.create_role(RoleName="counter", AssumeRolePolicyDocument=_document(anyone))["Role"]["Arn"]
    iam.put_role_policy(RoleName="counter", PolicyName="count", PolicyDocument=_document(count))
    _sign_in(signed_in, monkeypatch, role)
    found = {check.name: check for check in examine(repository, load("dev"))}["permissions"]
    assert (found.state, found.found) == ("unknown", "may not deploy, train, approve, endpoint")
    assert "sagemaker:StartPipelineExecution on arn:aws:sagemaker:" in found.cure
    assert "InvokeEndpoint" not in found.cure


def test_the_rights_are_those_of_the_group_and_the_mode_of_these_settings(
    signed_in: LocalAws, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In prod the model package group has an ending, and photos of an asynchronous endpoint go another way."""
    aws = connect(signed_in.environment())
    arn = f"arn:aws:sagemaker:{signed_in.region}:{signed_in.account}"
    may = [
        {"Effect": "Allow", "Action": "sagemaker:UpdateModelPackage", "Resource": f"{arn}:model-package/acme-prod-*/*"},
        {"Effect": "Allow", "Action": "sagemaker:InvokeEndpointAsync", "Resource": f"{arn}:endpoint/acme-prod"},
    ]
    anyone = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    iam = aws.client("iam")
    role = iam.create_role(RoleName="approver", AssumeRolePolicyDocument=_document(anyone))["Role"]["Arn"]
    iam.put_role_policy(RoleName="approver", PolicyName="may", PolicyDocument=_document(*may))
    _sign_in(signed_in, monkeypatch, role)
    monkeypatch.setenv("BINVENTORY_PROJECT", "acme")
    monkeypatch.setenv("BINVENTORY_SERVING__MODE", "async")
    monkeypatch.setenv("BINVENTORY_SERVING__DATA_CAPTURE_PERCENT", "0")

    def check() -> tuple[str, str]:
        found = {check.name: check for check in examine(repository, load("prod"))}["permissions"]
        return found.found, found.cure

    assert check()[0] == "may not deploy, train, endpoint", "before the first deployment"
    output = {"ModelPackageGroupName": {"Value": "acme-prod-0a1b2c3d"}}
    template = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}, "Outputs": output}
    aws.client("cloudformation").create_stack(StackName="acme-prod-training", TemplateBody=json.dumps(template))
    assert check()[0] == "may not deploy, train, endpoint", "the group of the stack"
    iam.delete_role_policy(RoleName="approver", PolicyName="may")
    iam.put_role_policy(RoleName="approver", PolicyName="may", PolicyDocument=_document(may[1] | {"Action": "s3:*"}))
    cure = check()[1]
    assert f"sagemaker:UpdateModelPackage on {arn}:model-package/acme-prod-0a1b2c3d/1" in cure
    assert f"sagemaker:InvokeEndpointAsync on {arn}:endpoint/acme-prod" in cure


SSO = "AWSReservedSSO_Developers_0123456789abcdef"


def test_a_role_of_identity_center_is_simulated_with_its_path(
    signed_in: LocalAws, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session's ARN has no path; without it IAM knows no such role."""
    iam = connect(signed_in.environment()).client("iam")
    role = iam.create_role(
        RoleName=SSO,
        Path="/aws-reserved/sso.amazonaws.com/eu-west-1/",
        AssumeRolePolicyDocument=_document({"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}),
    )["Role"]["Arn"]
    may = {"Effect": "Allow", "Action": "sagemaker:*", "Resource": "*"}
    iam.put_role_policy(RoleName=SSO, PolicyName="may", PolicyDocument=_document(may))
    _sign_in(signed_in, monkeypatch, role)
    found = {check.name: check for check in examine(repository, load("dev"))}["permissions"]
    assert (found.state, found.found) == ("unknown", "may not deploy, endpoint")


@pytest.mark.parametrize(
    ("name", "path", "role"),
    [
        (SSO, "/aws-reserved/sso.amazonaws.com/", f"role/aws-reserved/sso.amazonaws.com/*/{SSO}"),
        ("walled", "/", "role/walled"),
    ],
)
def test_a_role_that_may_not_look_itself_up_is_told_what_to_ask_for(
    strict_aws: LocalAws, repository: Path, monkeypatch: pytest.MonkeyPatch, name: str, path: str, role: str
) -> None:
    iam = connect(strict_aws.environment()).client("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": strict_aws.account}, "Action": "sts:AssumeRole"}
    made = iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=_document(trust))
    _sign_in(strict_aws, monkeypatch, made["Role"]["Arn"])
    checks = {check.name: check for check in examine(repository, load("dev"))}
    found = checks["permissions"]
    assert (found.state, found.found) == (
        "unknown",
        f"the path of the role {name} is not known: it may not call iam:GetRole",
    )
    assert found.cure == (
        f"ask for iam:GetRole and iam:SimulatePrincipalPolicy on arn:aws:iam::{strict_aws.account}:{role}"
    )
    assert checks["bootstrap"].cure.startswith("ask for the permission to do this")


def test_a_caller_that_iam_does_not_simulate_is_named(signed_in: LocalAws) -> None:
    """GetFederationToken makes such sessions."""
    with pytest.raises(Problem, match="neither a role nor a user") as caught:
        policy_source(connect(signed_in.environment()), "arn:aws:sts::123456789012:federated-user/me")
    assert caught.value.cure.startswith("sign in with a role or a user")


def _sign_in(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    sts = connect(local_aws.environment()).client("sts")
    session = sts.assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
    for variable, value in local_aws.environment().items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", session["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", session["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", session["SessionToken"])


def _document(*statements: Mapping[str, object]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def test_the_table_names_the_cure(signed_in: LocalAws, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == Exit.NOT_READY
    assert "cdk bootstrap" in capsys.readouterr().out
