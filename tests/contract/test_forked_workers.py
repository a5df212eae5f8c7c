"""A function's worker is forked where that is quicker, and is then what a worker with its own interpreter is."""

from __future__ import annotations

import io
import json
import sys
import textwrap
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from local_aws.ministack.forked_workers import FORKING
from local_aws.server import LocalAws
from tests.contract.conftest import ClientFactory
from tests.contract.functions import make_function
from tests.contract.jobs import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")


def invoked(client: ClientFactory, body: str, **members: Any) -> dict[str, Any]:
    """The answer of a new function with this body."""
    function = make_function(client, f"f-{uuid.uuid4().hex[:8]}", body, **members)
    reply = client("lambda").invoke(FunctionName=function)
    answer: dict[str, Any] = json.load(reply["Payload"])
    assert "FunctionError" not in reply, answer
    return answer


def is_forked(command: str) -> bool:
    """Whether this is the command of a worker that was forked: it is that of the process that forks."""
    return str(FORKING) in command


def forking(local_aws: LocalAws) -> list[psutil.Process]:
    """The processes that fork this local AWS's workers, which each run in their function's folder."""
    ours = [psutil.Process(pid) for pid in local_aws.processes()]
    return [
        process
        for process in ours
        if str(FORKING) in process.cmdline() and not Path(process.cwd()).is_relative_to(local_aws.state_dir)
    ]


ABOUT_ITSELF = """
    import __main__, os, sys, uuid
    return {
        "Script": __main__.__file__, "Arguments": sys.argv, "First": sys.path[:2], "Folder": os.getcwd(),
        "Parent": os.getppid(), "Process": os.getpid(), "Random": uuid.uuid4().hex,
        "Mine": os.environ.get("MINE"), "Task": os.environ["LAMBDA_TASK_ROOT"],
        "Command": open("/proc/self/cmdline").read(),
    }
"""


def test_a_forked_worker_is_what_its_own_interpreter_would_be(local_aws: LocalAws, client: ClientFactory) -> None:
    for mine in ("first", "second", None):  # the second finds what the first has left in the process that forks
        variables = {"MINE": mine} if mine else {}
        about = invoked(client, ABOUT_ITSELF, Environment={"Variables": variables})
        assert is_forked(about["Command"])
        assert about["Mine"] == mine, "it has its own variables and no other function's"
        assert about["Folder"] == about["Task"] == about["First"][0]
        assert about["Arguments"] == [about["Script"]] and about["Script"].startswith(about["First"][1])
        assert about["Parent"] not in [process.pid for process in forking(local_aws)], "the server ends it"


def test_workers_at_once_share_nothing(local_aws: LocalAws, client: ClientFactory, tmp_path: Path) -> None:
    all_run = f"""
        import time, uuid
        from pathlib import Path
        Path({str(tmp_path)!r}, uuid.uuid4().hex).touch()
        while len(list(Path({str(tmp_path)!r}).iterdir())) < 3:
            time.sleep(0.01)
    """
    function = make_function(client, "at-once", textwrap.dedent(all_run) + textwrap.dedent(ABOUT_ITSELF))

    def invoke(_: int) -> dict[str, Any]:
        answer: dict[str, Any] = json.load(client("lambda").invoke(FunctionName=function)["Payload"])
        return answer

    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(invoke, range(3)))
    for member in ("Process", "Random", "Folder"):
        assert len({answer[member] for answer in answers}) == 3, member
    assert len(forking(local_aws)) == 1


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"Environment": {"Variables": {"PYTHONHASHSEED": "0"}}}, "an interpreter reads it when it starts"),
        ({"files": {"logging.py": "own = True\n"}}, "boto3 imports a module of that name"),
        ({"files": {"six/__init__.py": "own = True\n"}}, "boto3 imports a package of that name"),
    ],
)
def test_a_function_that_needs_its_own_interpreter_gets_it(
    client: ClientFactory, members: dict[str, Any], why: str
) -> None:
    body = """
        import os, sys
        packed = [name.removesuffix(".py") for name in os.listdir() if name in ("logging.py", "six")]
        own = all(__import__(module).own for module in packed)
        return {"Own": own, "Seed": sys.flags.hash_randomization, "Command": open("/proc/self/cmdline").read()}
    """
    answer = invoked(client, body, **members)
    assert not is_forked(answer["Command"]), why
    assert answer["Own"] is True
    assert answer["Seed"] == (0 if "Environment" in members else 1)


def test_a_layer_with_its_own_boto3_is_the_functions(client: ClientFactory) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("python/boto3/__init__.py", "own = True\n")
    layer = client("lambda").publish_layer_version(LayerName="own", Content={"ZipFile": archive.getvalue()})
    body = "import boto3\nreturn {'Own': getattr(boto3, 'own', False)}"
    assert invoked(client, body, Layers=[layer["LayerVersionArn"]]) == {"Own": True}


def test_functions_start_although_the_process_that_forks_was_killed(local_aws: LocalAws, client: ClientFactory) -> None:
    body = "import os\nreturn {'Command': open('/proc/self/cmdline').read()}"
    assert is_forked(invoked(client, body)["Command"])
    (before,) = forking(local_aws)
    before.kill()
    until(lambda: before.status() == psutil.STATUS_ZOMBIE)
    assert not is_forked(invoked(client, body)["Command"]), "by its own interpreter"
    assert is_forked(invoked(client, body)["Command"]), "by another process"


def test_a_worker_that_ends_by_itself_is_the_functions_failure_and_the_next_call_has_another(
    client: ClientFactory,
) -> None:
    function = make_function(client, "ends", "import os\nif event:\n    os._exit(3)\nreturn {'Process': os.getpid()}")
    first = json.load(client("lambda").invoke(FunctionName=function, Payload=b"{}")["Payload"])
    failed = client("lambda").invoke(FunctionName=function, Payload=b'{"end": true}')
    assert "FunctionError" in failed and "died" in failed["Payload"].read().decode()
    second = json.load(client("lambda").invoke(FunctionName=function, Payload=b"{}")["Payload"])
    assert second["Process"] != first["Process"]
