"""The locks are complete: they are installed with hashes and without a resolver."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from environment import install, locks
from environment.locks import pins
from tests.clients import environments

# What is named in each, and what it is locked in.
NAMED = {
    "requirements.in": locks.RUN,
    "requirements-dev.in": locks.DEVELOPMENT,
    "requirements-torch.in": locks.TORCH_PYPI,
    "requirements-tools.in": "requirements-tools.txt",
    "requirements-scanners.in": "requirements-scanners.txt",
    "training_code/requirements-mlflow.in": "training_code/requirements-mlflow.txt",
    **{
        f"tests/clients/{client}/requirements.in": f"tests/clients/{client}/requirements.txt"
        for client in environments.CLIENTS
    },
}
# Interpreters and machines of which PyTorch's CPU index has builds that the lock must hold.
_CPU_BUILDS = 4 * 2


def named(path: Path) -> dict[str, str]:
    """The version of each package that an `.in` file names."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    parts = (line.split("==") for line in lines if line)
    return {str(canonicalize_name(name)): version for name, version in parts}


@pytest.mark.parametrize("path", NAMED)
def test_every_named_package_is_locked_at_its_version(repository: Path, path: str) -> None:
    found = pins(repository / NAMED[path])
    wanted = named(repository / path)
    assert wanted
    assert {name: found[name].version for name in wanted} == wanted


@pytest.mark.parametrize("path", [*NAMED.values(), locks.TORCH_CPU])
def test_every_locked_package_is_held_by_hashes(repository: Path, path: str) -> None:
    lines = (repository / path).read_text().splitlines()
    entries = [line for line in lines if line and line[0] not in " #"]
    held = pins(repository / path)
    assert len({pin.name for pin in held.values()}) == len(entries), "each package has one version for everybody"
    for pin in held.values():
        assert re.search(r" --hash=sha256:[0-9a-f]{64}\b", pin.text), pin.name


def test_dependabot_writes_the_locks_as_make_lock_does(repository: Path) -> None:
    """Its pip updates run pip-compile, whose lock is for one system and one Python; those of uv read pyproject.toml."""
    updates = yaml.safe_load((repository / ".github/dependabot.yml").read_text())["updates"]
    of = {(update["package-ecosystem"], update.get("directory")) for update in updates}
    assert ("uv", "/") in of and ("pip", "/") not in of
    options = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["uv"]["pip"]
    assert options == {
        "universal": True, "python-version": "3.11", "fork-strategy": "fewest", "generate-hashes": True,
    }  # fmt: skip
    assert "uv pip compile --quiet\n" in (repository / "Makefile").read_text()


# A pip command in a script, or as a list of Python, to its end.
_INSTALLS = re.compile(r"""pip (?:install|download)\b(?:[^\n]|(?<=\\)\n)*|"pip",\s*"(?:install|download)"[^\]]*""")
_INSTALLERS = ("Makefile", ".github", "inference_code", "training_code", "stacks", "tests/clients")


def test_every_command_that_installs_packages_asks_for_their_hashes(repository: Path) -> None:
    files = [path for name in _INSTALLERS for path in (repository / name, *(repository / name).rglob("*"))]
    texts = {path: path.read_text() for path in files if path.is_file() and "__pycache__" not in path.parts}
    found = [(path.name, command[0]) for path, text in texts.items() for command in _INSTALLS.finditer(text)]
    assert {name for name, _ in found} >= {
        *("Makefile", "Dockerfile", "processing.py", "user_data.sh", "mlflow_tracking.py", "environments.py")
    }
    assert [(name, command) for name, command in found if "--require-hashes" not in command] == []


def test_setup_installs_by_hash_or_without_an_index(repository: Path) -> None:
    calls = [
        (path.name, ast.unparse(node))
        for path in (repository / "environment").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("pip.install", "pip.try_install", "pip.run"))
    ]
    assert {name for name, _ in calls} == {"install.py", "pytorch.py"}
    unheld = [call for call in calls if not re.search("--require-hashes|--no-index|_locked", call[1])]
    assert unheld == []
    assert install._locked(Path("lock.txt"))[0] == "--require-hashes"


def test_workflows_install_with_make_only(repository: Path) -> None:
    foreign = re.compile(r"\b(?:pip|pipx|uv|npm|npx|yarn)\d?\s+(?:i|ci|install|sync|add|exec|tool|run)\b")
    scripts = {path.name: path.read_text() for path in (repository / ".github").rglob("*.yml")}
    assert [name for name, text in scripts.items() if foreign.search(text)] == []


@pytest.mark.parametrize("lock", [(locks.RUN,), (locks.RUN, locks.DEVELOPMENT)], ids=["run", "dev"])
def test_what_the_locked_packages_need_is_locked_too(repository: Path, lock: tuple[str, ...]) -> None:
    held = {name for path in lock for name in pins(repository / path)}
    missing = set()
    for name in {*held, "torch", "torchvision"}:
        try:
            needs = requires(name) or []
        except PackageNotFoundError:
            continue
        for text in needs:
            need = Requirement(text)
            wanted = need.marker is None or need.marker.evaluate({"extra": ""})
            # What a CUDA build of torch needs besides is in the lock of PyPI's builds.
            if wanted and canonicalize_name(need.name) not in {*held, *pins(repository / locks.TORCH_PYPI)}:
                missing.add(f"{name} needs {text}")
    assert missing == set()


def test_what_a_cpu_build_of_torch_needs_is_locked_without_the_cuda_packages(repository: Path) -> None:
    everything = pins(repository / locks.TORCH_PYPI)
    cuda = {name for name in everything if name.startswith(("nvidia-", "cuda-", "triton"))}
    assert len(cuda) > 10
    assert set(everything) - cuda - {"torch", "torchvision"} <= set(pins(repository / locks.RUN))


def test_locks_that_are_installed_together_name_the_same_versions(repository: Path) -> None:
    run = pins(repository / locks.RUN)
    for path in (locks.DEVELOPMENT, locks.TORCH_PYPI):
        other = pins(repository / path)
        both = set(run) & set(other)
        assert {name: run[name].version for name in both} == {name: other[name].version for name in both}


def test_the_cpu_builds_are_the_named_versions_for_every_interpreter(repository: Path) -> None:
    wanted = named(repository / "requirements-torch.in")
    found = pins(repository / locks.TORCH_CPU)
    assert {name: pin.version for name, pin in found.items()} == {
        name: f"{version}+cpu" for name, version in wanted.items()
    }
    assert found["torch"].text.count("--hash=") >= _CPU_BUILDS


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports at run time, without imports for type checkers."""
    tree = ast.parse(path.read_text())
    unread = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
        for node in ast.walk(branch)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) not in unread and isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif id(node) not in unread and isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def test_what_runs_needs_nothing_that_only_tests_install(repository: Path) -> None:
    folders = ("binventory", "local_aws", "stacks", "training_code", "inference_code", "lambda_code")
    files = [path for folder in folders for path in (repository / folder).rglob("*.py")]
    brought = packages_distributions()
    locked = {*pins(repository / locks.RUN), "torch", "torchvision"}
    foreign = {
        name: brought[name] for path in files for name in imported(path) if name in brought and name not in {*folders}
    }
    assert len(foreign) > 20
    for name, distributions in foreign.items():
        assert {str(canonicalize_name(item)) for item in distributions} & {*locked, "binventory"}, name
