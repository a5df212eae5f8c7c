"""The endpoint's image: it contains all that the server imports, in the tested versions, and needs nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_aws.core.host import free_port
from serving import rights
from tests import grey_model
from tests.serving_process import listening, wait_until


def instructions(repository: Path) -> list[tuple[str, str]]:
    lines = (repository / "inference_code" / "Dockerfile").read_text().splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line and not line.startswith("#")]


def pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s\\]+)", path.read_text(), flags=re.MULTILINE))


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_base_is_pinned_and_the_user_is_the_one_that_sagemaker_expects(repository: Path) -> None:
    found = dict(instructions(repository))
    assert re.search(r"@sha256:[0-9a-f]{64}$", found["FROM"])
    assert found["USER"] == "root"
    assert "--require-hashes" in found["RUN"]
    assert found["ENTRYPOINT"].startswith("[")  # Exec form: the server itself gets SIGTERM.


def test_the_lock_has_a_hash_for_everything_and_the_versions_under_test(repository: Path) -> None:
    lock = repository / "inference_code" / "requirements.txt"
    locked = pins(lock)
    tested = {normalised(name): version for name, version in pins(repository / "requirements.txt").items()}
    assert set(pins(lock.with_name("requirements.in"))) <= set(locked)
    assert {name: tested.get(normalised(name)) for name in locked} == locked
    for requirement in re.split(r"\n(?=[a-z])", lock.read_text())[1:]:
        assert "--hash=sha256:" in requirement, requirement.splitlines()[0]


@pytest.fixture
def image(repository: Path, tmp_path: Path) -> Path:
    """A folder with only the files that the Dockerfile copies."""
    root = tmp_path / "image"
    root.mkdir()
    for instruction, arguments in instructions(repository):
        if instruction == "COPY":
            *sources, _ = arguments.split()
            for source in (repository / "inference_code" / name for name in sources):
                if source.is_dir():
                    shutil.copytree(source, root / source.name, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source, root)
    return root


def test_what_is_copied_answers_without_a_network_or_a_place_to_write(image: Path, tmp_path: Path) -> None:
    model = grey_model.write(tmp_path / "model")
    program = "import server, sys; server.load(server.Path(sys.argv[1])); print('answered')"
    # Separate mount and network namespaces, all read-only: as the server has it in the isolated container.
    isolated = ["unshare", "--map-root-user", "--net", "--mount", "sh", "-c"]
    read_only = "mount -o remount,bind,ro /"
    if shutil.which("unshare") is None or subprocess.run([*isolated, read_only], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    isolate = [*isolated, f'{read_only} && exec {sys.executable} -c "{program}" {model}']
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"}
    ended = subprocess.run(isolate, cwd=image, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip().endswith("answered")


def test_a_container_gives_up_root_before_it_answers_strangers(image: Path, tmp_path: Path) -> None:
    """Its server is the first process, as in a container."""
    # The rights stay, though the user changes: an interpreter in a home of root could not be read by nobody.
    alone = ["unshare", "--fork", "--pid", "setpriv", "--securebits", "+no_setuid_fixup"]
    if shutil.which("setpriv") is None or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("only root has another process 1 here")
    said = serve_as_process_one(alone, image, tmp_path)
    assert (said["user"], said["kept_rights"]) == (65534, "")


def test_a_container_that_may_not_change_its_user_says_so(image: Path, tmp_path: Path) -> None:
    """Root of a user namespace that has no other user."""
    alone = ["unshare", "--user", "--map-root-user", "--fork", "--pid"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    said = serve_as_process_one(alone, image, tmp_path)
    assert said["user"] == 0 and said["kept_rights"].startswith("the container does not let root become another user")


def test_a_server_that_is_started_by_hand_keeps_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "setuid", pytest.fail)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert rights.give_up_root() == "user 1000 is not root"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert rights.give_up_root() == "this is not the first process of a container"


def serve_as_process_one(alone: list[str], image: Path, tmp_path: Path) -> dict[str, Any]:
    """Starts the server, asks it about a photo, stops it; returns the line with which it said that it is ready."""
    model, port = grey_model.write(tmp_path / "model"), free_port()
    command = [*alone, sys.executable, "server.py", "serve", "--model", str(model), "--port", str(port)]
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"}
    server = subprocess.Popen(
        command, cwd=image, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert server.stdout is not None
        ready: dict[str, Any] = json.loads(server.stdout.readline())
        assert ready["event"] == "ready"
        wait_until(lambda: listening(port))
        answer = httpx.post(
            f"http://127.0.0.1:{port}/invocations",
            content=grey_model.photo(200),
            headers={"content-type": "image/jpeg"},
        )
        assert answer.status_code == 200
        return ready
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # the change of the user takes away that it ends with its parent
        server.wait()
