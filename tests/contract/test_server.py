"""Start, stop and restart a local AWS; nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from binventory.core.aws import connect as connect_command
from local_aws.server import REPOSITORY, LocalAws, LocalAwsError, stop_running
from tests.contract.conftest import connect, make_roles
from tests.contract.functions import make_function
from tests.contract.jobs import until
from tests.contract.serving import ask, create_config, push_image, start_endpoint, wait_while


def test_state_and_endpoints_survive_a_restart(state_dir: Path) -> None:
    """Resources, objects and running endpoints are there again after a stop and a start on another port."""
    with LocalAws(state_dir) as aws:
        client = connect(aws)
        start_endpoint(client, "counts", create_config(client, "first", push_image(aws, client)))
        client("sagemaker").create_model_package_group(ModelPackageGroupName="group", Tags=[{"Key": "k", "Value": "v"}])
    assert aws.processes() == []

    with LocalAws(state_dir) as aws:
        client = connect(aws)
        description = wait_while(client, "counts", "SystemUpdating")
        assert description["EndpointStatus"] == "InService"
        assert ask(client, "counts")["name"] == "first"
        group = client("sagemaker").describe_model_package_group(ModelPackageGroupName="group")
        tags = client("sagemaker").list_tags(ResourceArn=group["ModelPackageGroupArn"])["Tags"]
        assert tags == [{"Key": "k", "Value": "v"}]
    assert aws.processes() == []


def test_an_update_cut_off_by_a_restart_leaves_the_old_configuration_serving(state_dir: Path) -> None:
    """Stopping in the middle of a rollout must not leave the endpoint between two configurations."""
    with LocalAws(state_dir) as aws:
        client = connect(aws)
        image = push_image(aws, client)
        start_endpoint(client, "counts", create_config(client, "old", image))
        routing = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 600}
        policy = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
        client("sagemaker").update_endpoint(
            EndpointName="counts", EndpointConfigName=create_config(client, "new", image), DeploymentConfig=policy
        )
        until(lambda: ask(client, "counts")["name"] == "new")

    with LocalAws(state_dir) as aws:
        client = connect(aws)
        description = wait_while(client, "counts", "SystemUpdating", "Updating")
        assert description["EndpointStatus"] == "InService"
        assert description["EndpointConfigName"] == "old"
        assert "interrupted" in description["FailureReason"]
        assert ask(client, "counts")["name"] == "old"


def test_the_port_of_another_is_refused_and_nothing_starts(tmp_path: Path) -> None:
    """Its answers must not be taken for those of the new one."""
    with LocalAws(tmp_path / "one") as one:
        two = LocalAws(tmp_path / "two", one.port)
        with pytest.raises(LocalAwsError, match=f"port {one.port} is in use: another local AWS answers there"):
            two.start()
        assert two.processes() == [] and not two.running
        assert connect(one)("sts").get_caller_identity()["Account"] == one.account


def test_one_whose_start_is_interrupted_is_stopped(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Ctrl-C, for example: a kept one would outlive the command, and nobody knows of it."""
    aws, seen = LocalAws(state_dir, keep=True), list[int]()

    def interrupt(*_: object) -> None:
        if aws.processes():
            seen.extend(aws.processes())
            raise KeyboardInterrupt

    monkeypatch.setattr("local_aws.server.http_status", interrupt)
    with pytest.raises(KeyboardInterrupt):
        aws.start()
    assert seen and not any(psutil.pid_exists(pid) for pid in seen)
    assert aws.processes() == [] and not (state_dir / "pid").exists()


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_time_must_pass(state_dir: Path, factor: float) -> None:
    with pytest.raises(LocalAwsError, match=f"{factor} is not above 0"):
        LocalAws(state_dir, time_scale=factor).start()


def test_two_run_side_by_side(tmp_path: Path) -> None:
    """Each has its own port and state, without the other's resources."""
    with LocalAws(tmp_path / "one") as one, LocalAws(tmp_path / "two") as two:
        connect(one)("s3").create_bucket(Bucket="only-in-one")
        connect(one)("sagemaker").create_model_package_group(ModelPackageGroupName="only-in-one")
        assert connect(two)("s3").list_buckets()["Buckets"] == []
        assert connect(two)("sagemaker").list_model_package_groups()["ModelPackageGroupSummaryList"] == []
        assert set(one.processes()).isdisjoint(two.processes())


def test_a_proxy_of_the_shell_is_not_asked_for_it(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by this process, nor by programs that have its exports, nor by its functions."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("no_proxy", "example.com")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with LocalAws(state_dir) as aws:
        exports = aws.environment()
        assert exports["NO_PROXY"] == exports["no_proxy"] == "example.com,localhost,127.0.0.1"
        own = connect_command(exports).client
        own("s3").create_bucket(Bucket="reached")
        make_roles(own)
        lists = "import boto3; return [item['Name'] for item in boto3.client('s3').list_buckets()['Buckets']]"
        make_function(own, "lists", lists)
        assert own("lambda").invoke(FunctionName="lists")["Payload"].read() == b'["reached"]'
        listed = subprocess.run(
            [sys.executable, "-c", "import boto3; print(boto3.client('s3').list_buckets()['Buckets'][0]['Name'])"],
            env=os.environ | exports, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert listed.stdout == "reached\n"


def test_a_function_has_its_own_variables_and_the_clock_of_aws(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those of the shell that started the local AWS: its stack may have forgotten them."""
    for name, value in (("OF_THE_SHELL", "1"), ("OF_BOTH", "the shell's"), ("TZ", "America/New_York")):
        monkeypatch.setenv(name, value)
    says = "import os, time; return [dict(os.environ), time.strftime('%Z')]"
    with LocalAws(state_dir) as aws:
        client = connect(aws)
        variables = {"OF_BOTH": "its own", "AWS_REGION": "elsewhere"}
        make_function(client, "says", says, Environment={"Variables": variables})
        make_function(client, "elsewhere", says, Environment={"Variables": {"TZ": "Asia/Tokyo"}})
        found, zones = {}, {}
        for name in ("says", "elsewhere"):
            found[name], zones[name] = json.loads(client("lambda").invoke(FunctionName=name)["Payload"].read())
    assert "OF_THE_SHELL" not in found["says"]
    assert found["says"]["OF_BOTH"] == "its own"
    assert found["says"]["AWS_LAMBDA_FUNCTION_NAME"] == "says"
    assert found["says"]["AWS_REGION"] == "us-east-1", "a name that Lambda keeps for itself"
    assert zones == {"says": "UTC", "elsewhere": "JST"}
    ministacks = {"GATEWAY_PORT", "STATE_DIR", "S3_DATA_DIR"}
    assert not ministacks & found["says"].keys()


def test_it_ends_with_its_parent(state_dir: Path) -> None:
    """A parent that is killed outright, and so stops nothing itself, takes the local AWS and its endpoints along."""
    script = f"""
        import sys, time
        sys.path.insert(0, {str(REPOSITORY)!r})
        from pathlib import Path
        from local_aws.server import LocalAws
        from tests.contract.conftest import connect
        from tests.contract.serving import create_config, push_image, start_endpoint
        aws = LocalAws(Path({str(state_dir)!r}))
        aws.start()
        client = connect(aws)
        start_endpoint(client, "counts", create_config(client, "first", push_image(aws, client)))
        print(aws.port, *aws.processes(), flush=True)
        time.sleep(600)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    port, *pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) >= 2, "the server and the endpoint's process"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_what_a_killed_server_left_is_swept_up_at_the_next_start(state_dir: Path) -> None:
    """Processes of a server that was killed outright must not serve beside its successor's."""
    first = LocalAws(state_dir)
    first.start()
    marker = subprocess.Popen(
        ["sleep", "600"], env=os.environ | {"BINVENTORY_LOCAL_AWS": str(state_dir.resolve())}, start_new_session=True
    )
    server = next(pid for pid in first.processes() if pid != marker.pid)
    os.kill(server, signal.SIGKILL)
    with LocalAws(state_dir):
        assert marker.wait(timeout=60) == -signal.SIGTERM
    first.stop()


def test_a_kept_one_outlives_its_parent_and_is_stopped_by_its_directory(state_dir: Path) -> None:
    """`keep=True` is for rehearsals left up; `stop_running` finds them again."""
    script = f"""
        import sys
        sys.path.insert(0, {str(REPOSITORY)!r})
        from pathlib import Path
        from local_aws.server import LocalAws
        aws = LocalAws(Path({str(state_dir)!r}), keep=True)
        aws.start()
        print(aws.port)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    aws = LocalAws(state_dir, int(done.stdout))
    assert connect(aws)("sts").get_caller_identity()["Account"] == aws.account
    assert stop_running(state_dir)
    assert aws.processes() == []
    assert not stop_running(state_dir), "nothing runs there any more"


def test_a_custom_resource_that_never_answers_does_not_keep_it_alive(state_dir: Path) -> None:
    """CloudFormation waits an hour for such a resource; stopping must not."""
    template = """
    Resources:
      Role:
        Type: AWS::IAM::Role
        Properties:
          AssumeRolePolicyDocument:
            Version: '2012-10-17'
            Statement: [{Effect: Allow, Principal: {Service: lambda.amazonaws.com}, Action: 'sts:AssumeRole'}]
      Silent:
        Type: AWS::Lambda::Function
        Properties:
          Runtime: python3.11
          Handler: index.handler
          Role: !GetAtt Role.Arn
          Code: {ZipFile: "def handler(event, context): return None"}
      Waiting: {Type: 'Custom::Waiting', Properties: {ServiceToken: !GetAtt Silent.Arn}}
    """
    with LocalAws(state_dir) as aws:
        cloudformation = connect(aws)("cloudformation")
        cloudformation.create_stack(StackName="waits", TemplateBody=template, Capabilities=["CAPABILITY_IAM"])

        def waiting() -> bool:
            events = cloudformation.describe_stack_events(StackName="waits")["StackEvents"]
            return any(event["LogicalResourceId"] == "Waiting" for event in events)

        until(waiting)
        process = psutil.Process(aws.processes()[0])
        aws.stop()
        assert not process.is_running()
    assert aws.processes() == []


def test_a_port_in_use_is_reported_with_the_servers_own_words(tmp_path: Path) -> None:
    """The error contains the end of the log."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        aws = LocalAws(tmp_path, taken.getsockname()[1])
        with pytest.raises(LocalAwsError, match="in use"):
            aws.start()
    assert aws.processes() == []
