"""The endpoint's image: it contains all that the server imports, in the tested versions, and needs nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import grey_model


def instructions(repository: Path) -> list[tuple[str, str]]:
    lines = (repository / "inference_code" / "Dockerfile").read_text().splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line and not line.startswith("#")]


def pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s\\]+)", path.read_text(), flags=re.MULTILINE))


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_base_is_pinned_and_the_user_is_nobody(repository: Path) -> None:
    found = dict(instructions(repository))
    assert re.search(r"@sha256:[0-9a-f]{64}$", found["FROM"])
    assert found["USER"].split(":")[0] not in {"0", "root"}
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
