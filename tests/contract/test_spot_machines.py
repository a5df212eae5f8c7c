"""EC2 machines in the local AWS: the user data as it is deployed, run for real, ends its machine whatever happens.

The script, the training code, S3 and the metadata service are real; `shutdown` is the machine's own and local time runs
ten times as fast.
"""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from binventory.cli import run
from binventory.core.aws import connect as binventory_aws
from binventory.core.errors import Exit
from binventory.ec2 import runs
from binventory.ec2.plan import place
from local_aws.server import LocalAws
from stacks.shared.assets import write_source_archive
from tests.conftest import NAMES
from tests.contract.conftest import ClientFactory, connect
from tests.contract.jobs import until
from tests.contract.machines import DATA, deploy_machines, fill_account, log_of, start, state, text, write_plan
from tests.forked import ForkedAws


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with ForkedAws(tmp_path_factory.mktemp("it's an aws"), time_scale=0.1) as started:
        yield started
    assert started.processes() == []


@pytest.fixture(scope="module")
def client(aws: LocalAws) -> ClientFactory:
    return connect(aws)


@pytest.fixture(scope="module")
def account(aws: LocalAws, client: ClientFactory, tmp_path_factory: pytest.TempPathFactory) -> None:
    fill_account(client, tmp_path_factory.mktemp("shards"))


def _code(client: ClientFactory, tmp_path: Path, name: str, files: dict[str, str]) -> str:
    """The training code with some files replaced, as an asset."""
    original = write_source_archive(tmp_path).path
    path = tmp_path / name
    with tarfile.open(original) as old, tarfile.open(path, "w:gz") as new:
        for member in old.getmembers():
            content = old.extractfile(member)
            assert content is not None
            data = files[member.name].encode() if member.name in files else content.read()
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    client("s3").upload_file(str(path), DATA, name)
    return name


def _run_with(client: ClientFactory, run: str, files: dict[str, str], tmp_path: Path, **limits: int) -> str:
    deploy_machines(client, code=_code(client, tmp_path, f"{run}.tar.gz", files), **limits)
    write_plan(client, run, epochs=1)
    machine = start(client, run)
    until(lambda: state(client, machine) == "terminated", seconds=90)
    return machine


def test_a_step_that_fails_says_why_and_the_machine_ends(
    aws: LocalAws, client: ClientFactory, account: None, tmp_path: Path
) -> None:
    broken = 'import sys; print("no photo can be read"); sys.exit(1)\n'
    _run_with(client, "ec2-broken", {"embed.py": broken}, tmp_path)
    status = json.loads(text(client, "ec2-broken", "status.json"))
    assert status["state"] == "failed"
    assert "embed" in status["reason"]
    assert "no photo can be read" in text(client, "ec2-broken", "log.txt")


def test_a_step_that_hangs_is_stopped_at_the_runs_limit(client: ClientFactory, account: None, tmp_path: Path) -> None:
    hanging = 'import time; print("hanging", flush=True); time.sleep(3600)\n'
    _run_with(client, "ec2-slow", {"embed.py": hanging}, tmp_path, minutes=0)
    status = json.loads(text(client, "ec2-slow", "status.json"))
    assert (status["state"], status["step"]) == ("timed out", "embed")


def test_a_script_that_hangs_is_ended_by_its_limit(
    aws: LocalAws, client: ClientFactory, account: None, tmp_path: Path
) -> None:
    hanging = 'import time; print("hanging", flush=True); time.sleep(3600)\n'
    machine = _run_with(client, "ec2-hangs", {"spot_machine.py": hanging}, tmp_path, limit=2)
    assert "the run did not end well" in log_of(aws, machine)


def test_a_script_that_cannot_be_ended_goes_with_the_power(
    aws: LocalAws, client: ClientFactory, account: None, tmp_path: Path
) -> None:
    deaf = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(3600)\n"
    machine = _run_with(client, "ec2-deaf", {"spot_machine.py": deaf}, tmp_path, brake=1)
    assert "gave up" not in log_of(aws, machine)


def test_without_its_code_the_machine_ends_and_leaves_a_log(
    aws: LocalAws, client: ClientFactory, account: None
) -> None:
    deploy_machines(client, code="nowhere.tar.gz")
    machine = start(client, "ec2-lost")
    until(lambda: state(client, machine) == "terminated", seconds=60)
    assert "the code could not be fetched" in log_of(aws, machine)
    found = client("s3").list_objects_v2(Bucket=DATA, Prefix="executions/ec2-machines/")["Contents"]
    assert found


def test_a_run_that_nobody_has_started_is_not_called_ended(
    aws: LocalAws, client: ClientFactory, account: None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """One letter of its name is wrong, and the machine that was meant works on and bills."""
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)
    assert run(["stop", "ec2-20261129-120000-ab1x"]) == Exit.USAGE
    assert "There is no run ec2-20261129-120000-ab1x" in capsys.readouterr().err
    write_plan(client, "ec2-20261129-120000-ab12", epochs=1)
    assert run(["stop", "ec2-20261129-120000-ab12"]) == Exit.OK
    assert "no machine works on it" in capsys.readouterr().out


def test_no_process_outlives_its_machine(client: ClientFactory, tmp_path: Path) -> None:
    """Also one that has left its session, and whose parent has ended."""
    noted = tmp_path / "pid"
    script = (
        f"#!/bin/bash\n: $BINVENTORY_ROOT\nsetsid sleep 600 &\necho $! > '{noted}.new' && mv '{noted}.new' '{noted}'\n"
    )
    client("ec2").create_launch_template(
        LaunchTemplateName="daemons",
        LaunchTemplateData={"ImageId": "ami-3", "UserData": base64.b64encode(script.encode()).decode()},
    )
    machine = start_of(client, "daemons")
    until(noted.exists)
    daemon = psutil.Process(int(noted.read_text()))
    until(lambda: (parent := daemon.parent()) is not None and parent.name() != "bash")
    for stop in (client("ec2").stop_instances, client("ec2").reboot_instances):
        with pytest.raises(ClientError, match=f"{machine} runs as a process here, which can only end: terminate it"):
            stop(InstanceIds=[machine])
    client("ec2").terminate_instances(InstanceIds=[machine])
    until(lambda: not daemon.is_running())


def test_an_instance_of_other_user_data_stays_a_record(client: ClientFactory) -> None:
    client("ec2").create_launch_template(
        LaunchTemplateName="other",
        LaunchTemplateData={"ImageId": "ami-2", "UserData": base64.b64encode(b"#!/bin/bash\nreboot\n").decode()},
    )
    machine = start_of(client, "other")
    assert state(client, machine) == "running"
    client("ec2").terminate_instances(InstanceIds=[machine])


def test_an_instance_starts_from_the_version_that_is_named(client: ClientFactory) -> None:
    ec2 = client("ec2")
    ec2.create_launch_template(LaunchTemplateName="versions", LaunchTemplateData={"ImageId": "ami-1"})
    ec2.create_launch_template_version(LaunchTemplateName="versions", LaunchTemplateData={"ImageId": "ami-2"})
    for version, image in (("", "ami-1"), ("$Default", "ami-1"), ("2", "ami-2"), ("$Latest", "ami-2")):
        machine = start_of(client, "versions", version)
        (found,) = ec2.describe_instances(InstanceIds=[machine])["Reservations"][0]["Instances"]
        assert found["ImageId"] == image
        ec2.terminate_instances(InstanceIds=[machine])
    with pytest.raises(ClientError, match=r"VersionNotFound.*'3'"):
        start_of(client, "versions", "3")


def test_a_run_keeps_the_tags_of_the_template_which_the_budget_counts_by(
    aws: LocalAws, client: ClientFactory, account: None
) -> None:
    """Those of a request may replace them: AWS does not say."""
    deploy_machines(client)
    connected = binventory_aws(aws.environment())
    machine = runs.start(connected, NAMES, place(connected, NAMES), "ec2-tagged")
    (found,) = client("ec2").describe_instances(InstanceIds=[machine])["Reservations"][0]["Instances"]
    tags = {tag["Key"]: tag["Value"] for tag in found["Tags"]}
    assert tags["deployment"] == "binventory-dev" and tags["run"] == "ec2-tagged" and "ends-by" in tags
    client("ec2").terminate_instances(InstanceIds=[machine])


@pytest.mark.parametrize("key", ["Cost Centre", "team/bins", "_index"])
def test_a_tag_that_no_metadata_can_have_starts_no_machine(client: ClientFactory, key: str) -> None:
    """Of the template or of the request; a machine that does not read its tags from its metadata may have it."""
    ec2 = client("ec2")
    tagged = [{"ResourceType": "instance", "Tags": [{"Key": key, "Value": "1"}]}]
    for name, access, own in (("reads", "enabled", True), ("asked", "enabled", False), ("blind", "disabled", True)):
        data: Any = {"ImageId": "ami-1", "MetadataOptions": {"InstanceMetadataTags": access}}
        template = f"{name}-{key.replace(' ', '-').replace('/', '-')}"
        ec2.create_launch_template(
            LaunchTemplateName=template, LaunchTemplateData=data | ({"TagSpecifications": tagged} if own else {})
        )
        request: Any = {"LaunchTemplate": {"LaunchTemplateName": template}, "MinCount": 1, "MaxCount": 1}
        request |= {} if own else {"TagSpecifications": tagged}
        if access == "enabled":
            with pytest.raises(ClientError, match=rf"InvalidParameterValue.*'{key}' is not a valid tag key"):
                ec2.run_instances(**request)
        else:
            (started,) = ec2.run_instances(**request)["Instances"]
            ec2.terminate_instances(InstanceIds=[started["InstanceId"]])


def start_of(client: ClientFactory, template: str, version: str = "") -> str:
    named = {"LaunchTemplateName": template} | ({"Version": version} if version else {})
    started = client("ec2").run_instances(LaunchTemplate=named, MinCount=1, MaxCount=1)
    return str(started["Instances"][0]["InstanceId"])
