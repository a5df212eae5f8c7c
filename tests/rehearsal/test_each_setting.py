"""Every setting of a deployed environment can be changed: CloudFormation updates what is there, one setting at a time.

The templates are synthesized here and given to CloudFormation, because a synthesis by the CDK CLI takes longer than
everything else. From one change to the next the earlier one is taken back, so every setting is changed in both
directions.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import boto3
import pytest
from botocore.exceptions import ClientError, WaiterError

import app as application
from local_aws.server import LocalAws
from stacks.settings import Settings, load
from stacks.shared.assets import TRAINING_CODE
from stacks.training import stack as training_stack
from tests.rehearsal.each_setting import NOT_ALONE, changes
from tests.stacks.templates import REPOSITORY, changed
from tests.unit.test_train_requirements import pins

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(3600)]
_POLL = {"Delay": 0.1, "MaxAttempts": 3000}
# What CloudFormation refuses, in words that docs/operations.md explains.
REFUSED = {"security.role_path": "cannot be updated as it is in use by"}
IN_USE = "cannot be deleted as it is in use by"
Templates = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with LocalAws(tmp_path_factory.mktemp("local-aws")) as running:
        yield running


class Environment:
    """A deployed environment and the templates that it has now."""

    def __init__(self, aws: LocalAws, settings: Settings, folder: Path) -> None:
        session = boto3.Session(
            aws_access_key_id=aws.environment()["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=aws.environment()["AWS_SECRET_ACCESS_KEY"],
            region_name=aws.region,
        )
        self.sagemaker: Any = session.client("sagemaker", endpoint_url=aws.endpoint_url)
        self._cloudformation: Any = session.client("cloudformation", endpoint_url=aws.endpoint_url)
        self._s3: Any = session.client("s3", endpoint_url=aws.endpoint_url)
        self._bucket = f"cdk-hnb659fds-assets-{aws.account}-{aws.region}"
        self._folder = folder
        self._settings = settings
        self._now: Templates = {}
        if self._bucket not in {bucket["Name"] for bucket in self._s3.list_buckets()["Buckets"]}:
            self._s3.create_bucket(Bucket=self._bucket)

    def change(self, settings: Settings) -> list[str]:
        """Updates the stacks whose templates change, as `cdk deploy --all` does; returns what went wrong."""
        wanted = self._synthesize(settings)
        wrong = []
        for role in wanted:
            if wanted[role] != self._now.get(role):
                found = self._deploy(role, wanted[role], new=role not in self._now)
                if found:
                    wanted[role] = self._now.get(role, {})  # rolled back
                wrong += found
        for role in reversed([role for role in self._now if role not in wanted]):
            name = self._settings.stack_name(role.lower())
            self._cloudformation.delete_stack(StackName=name)
            self._cloudformation.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig=_POLL)
        self._now = wanted
        return wrong

    def _synthesize(self, settings: Settings) -> Templates:
        """The templates; the files that they name are in the bucket of assets afterwards."""
        context = json.loads((REPOSITORY / "cdk.json").read_text())["context"]
        app = cdk.App(
            context=context,
            outdir=str(self._folder),
            builtin_cloud_formation_validation=False,
            analytics_reporting=False,
        )
        application.build(app, settings)
        assembly = app.synth()
        there = {item["Key"] for item in self._s3.list_objects_v2(Bucket=self._bucket).get("Contents", [])}
        for manifest in Path(assembly.directory).glob("*.assets.json"):
            for file in json.loads(manifest.read_text())["files"].values():
                (place,) = file["destinations"].values()
                path = Path(assembly.directory) / file["source"]["path"]
                if place["objectKey"] not in there and path.suffix != ".json":
                    packed = shutil.make_archive(str(path), "zip", path) if path.is_dir() else path
                    self._s3.put_object(Bucket=self._bucket, Key=place["objectKey"], Body=Path(packed).read_bytes())
        return {stack.id.split(".")[0]: stack.template for stack in assembly.stacks}

    def _deploy(self, role: str, template: dict[str, Any], *, new: bool) -> list[str]:
        name = self._settings.stack_name(role.lower())
        self._s3.put_object(Bucket=self._bucket, Key=f"{name}.json", Body=json.dumps(template).encode())
        request: dict[str, Any] = {
            "StackName": name,
            "TemplateURL": f"https://s3.us-east-1.amazonaws.com/{self._bucket}/{name}.json",
            "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
        }
        if not new:
            kept = self._now[role].get("Parameters", {}).keys() & template.get("Parameters", {}).keys()
            request["Parameters"] = [{"ParameterKey": key, "UsePreviousValue": True} for key in sorted(kept)]
        verb = "create" if new else "update"
        try:
            getattr(self._cloudformation, f"{verb}_stack")(**request)
            self._cloudformation.get_waiter(f"stack_{verb}_complete").wait(StackName=name, WaiterConfig=_POLL)
        except ClientError as error:
            return [] if "No updates are to be performed" in str(error) else [f"{role}: {error}"]
        except WaiterError:
            events = self._cloudformation.describe_stack_events(StackName=name)["StackEvents"]
            failed = [event for event in events if event["ResourceStatus"].endswith("FAILED")]
            return [f"{role}: {item['LogicalResourceId']}: {item['ResourceStatusReason']}" for item in failed[-3:]]
        return []


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_every_setting_of_a_deployed_environment_can_be_changed(
    environment: str, aws: LocalAws, tmp_path: Path
) -> None:
    settings = load(environment)
    there = Environment(aws, settings, tmp_path)
    assert there.change(settings) == []
    wrong: dict[str, list[str]] = {}
    unchanged, refused = set(), set()
    for name, other in changes(settings):
        if other is None:
            unchanged.add(name)
        elif found := there.change(other):
            if not any(REFUSED.get(name, "never") in reason for reason in found):
                wrong[name] = found
            refused.add(name)
        if name == "storage.retain" and other is not None:
            # docs/operations.md: the registry of the time before is kept, and is in the way of going back.
            (reason,) = there.change(settings)
            assert "Model Package Group already exists" in reason
            there.sagemaker.delete_model_package_group(ModelPackageGroupName=settings.prefix)
            assert there.change(settings) == []
        if name == "security.customer_keys":
            # The key goes once the other stacks, which `change` deploys too, no longer use it.
            assert all(IN_USE in reason for reason in there.change(settings))
            assert there.change(settings) == []
    assert wrong == {}, json.dumps(wrong, indent=2)
    assert there.change(settings) == []
    assert refused == set(REFUSED)
    documented = (REPOSITORY / "docs/operations.md").read_text()
    assert all(words in documented for words in (*REFUSED.values(), IN_USE))
    here = {name for name in NOT_ALONE if environment == "prod" or not name.startswith("prod.")}
    assert unchanged == {name.removeprefix("prod.") for name in here}, "every other setting was changed"


def test_the_network_of_a_deployed_environment_can_be_changed(
    aws: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In both directions too. What CloudFormation refuses is documented, with the way round it."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name, (version, _) in pins(TRAINING_CODE / "requirements.txt").items():
        (wheels / f"{name.replace('-', '_')}-{version}-py3-none-any.whl").write_bytes(name.encode())
    monkeypatch.setattr(training_stack, "WHEELHOUSE", wheels)
    settings = changed(load("dev").model_copy(update={"project": "nets"}), "training", weights="none")
    without, own = settings, changed(settings, "network", mode="create")
    existing = {"subnet_ids": ["subnet-0123456789abcdef0"], "security_group_ids": ["sg-0123456789abcdef0"]}
    there = Environment(aws, own, tmp_path / "assembly")
    assert there.change(own) == []
    fewer = changed(own, "network", endpoints=["sagemaker.api"])
    for other in (fewer, changed(settings, "network", mode="existing", **existing), without):
        assert there.change(other) == []
        assert there.change(own) == []
    elsewhere = changed(own, "network", cidr="10.30.0.0/22")
    (refused,) = there.change(elsewhere)
    assert "cannot be updated as it is in use by" in refused
    # docs/operations.md: first the other stacks leave the network.
    assert there.change(without) == []
    assert there.change(elsewhere) == []
