"""Which PyTorch `make setup` installs: each source in turn, with pip and wheels of a few lines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.metadata import distribution
from pathlib import Path

import pytest

from environment import pytorch, torchvision_wheel
from environment.errors import SetupError
from environment.locks import TORCH_CPU, TORCH_PYPI
from environment.packages import Pip, PipResult
from environment.progress import Progress
from tests import tiny_packages
from tests.tiny_packages import Wheel

# Nothing listens at port 9 of the loopback interface: refused at once.
AWAY = "http://127.0.0.1:9/simple"
# In the place of environment/proof.py, for wheels of a few lines.
PROOF = "import sys, torch, torchvision\nif '--without-operators' not in sys.argv:\n    torchvision.ops.nms()\n"


class Usage:
    """The free bytes of a disk, as in the result of `shutil.disk_usage`."""

    def __init__(self, gigabytes: float) -> None:
        self.free = int(gigabytes * 1e9)


@dataclass(frozen=True)
class Sources:
    """Wheels of the pinned versions: CPU builds and PyPI's CUDA builds with a package that they need."""

    cpu: tuple[Wheel, Wheel]
    cuda: tuple[Wheel, Wheel, Wheel]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A throw-away environment, with the pip of this one: installing pip takes longer than all else it is used for."""
    folder = tmp_path_factory.mktemp("environment") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    installed = distribution("pip")
    for name in ("pip", f"pip-{installed.version}.dist-info"):
        shutil.copytree(str(installed.locate_file(name)), packages(folder) / name)
    return folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    folder = tmp_path_factory.mktemp("wheels")
    cpu = (
        tiny_packages.torch(folder / "cpu", "2.13.0+cpu", "cpu"),
        tiny_packages.torchvision(folder / "cpu", "0.28.0+cpu", "cpu"),
    )
    cuda = (
        tiny_packages.torch(folder / "cuda", "2.13.0", "cuda"),
        tiny_packages.torchvision(folder / "cuda", "0.28.0", "cuda"),
        tiny_packages.wheel(folder / "cuda", "nvidia_cudnn", "9.20", {"cudnn.py": ""}),
    )
    return Sources(cpu, cuda)


@pytest.fixture
def root(tmp_path: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout's locks for these wheels, and their proof."""
    (tmp_path / TORCH_CPU).write_text("".join(item.locked() for item in sources.cpu))
    (tmp_path / TORCH_PYPI).write_text("".join(item.locked() for item in sources.cuda))
    proof = tmp_path / "proof.py"
    proof.write_text(PROOF)
    monkeypatch.setattr(pytorch, "PROOF", proof)
    return tmp_path


def installer(
    place: Path, root: Path, sources: Sources, *, configured: tuple[Wheel, ...] = (), index: str = AWAY,
    source: str = "auto", system: str = "Linux",
) -> pytorch.Installer:  # fmt: skip
    """An installer whose person has these wheels in a folder that pip's configuration names, and PyPI.

    The environment has pip alone, whatever an earlier test installed.
    """
    for path in packages(place).iterdir():
        if path.is_file():
            path.unlink()
        elif path.name.partition("-")[0] != "pip":
            shutil.rmtree(path)
    links = root / "links"
    links.mkdir()
    for item in configured:
        shutil.copy(item.path, links)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment = {
        **kept,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": tiny_packages.index(root / "pypi", sources.cuda),
        "PIP_FIND_LINKS": str(links),
        "PIP_NO_CACHE_DIR": "1",
    }
    return pytorch.Installer(Pip(place, root / "setup.log", environment), root, index, source, system)


def packages(place: Path) -> Path:
    """The folder of an environment's packages."""
    return next(place.glob("lib/python3*/site-packages"))


def imported(place: Path, program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(place / "bin/python"), "-c", program], capture_output=True, text=True, check=False)


def test_a_configured_pair_comes_first(
    place: Path, root: Path, sources: Sources, capsys: pytest.CaptureFixture[str]
) -> None:
    index = tiny_packages.index(root / "public", sources.cpu)
    found = installer(place, root, sources, configured=sources.cpu, index=index).install()
    assert (found.source, found.torch, found.torchvision) == ("your pip configuration", "2.13.0+cpu", "0.28.0+cpu")
    assert found.remark == ""
    assert "torch 2.13.0+cpu and torchvision 0.28.0+cpu from your pip configuration" in capsys.readouterr().out


def test_a_pair_is_tried_when_what_it_imports_is_installed(place: Path, root: Path, sources: Sources) -> None:
    (root / "proof.py").write_text("import what_torch_imports\n")

    def ready() -> None:
        assert imported(place, "import torch").returncode == 0
        packages(place).joinpath("what_torch_imports.py").touch()

    found = replace(installer(place, root, sources, configured=sources.cpu), ready=ready).install()
    assert found.source == "your pip configuration"


@pytest.mark.parametrize("system", ["Linux", "Darwin"])
def test_pypis_build_waits_for_packages_that_its_lock_names_too(
    place: Path, root: Path, sources: Sources, system: str
) -> None:
    there: list[bool] = []

    def ready() -> None:
        there.append(imported(place, "import torch").returncode == 0)

    replace(installer(place, root, sources, source="pypi", system=system), ready=ready).install()
    assert there[0] is False


@pytest.mark.parametrize("number", [0, 1], ids=["nothing", "only torch"])
def test_the_public_index_is_next(
    place: Path, root: Path, sources: Sources, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    index = tiny_packages.index(root / "public", sources.cpu)
    found = installer(place, root, sources, configured=sources.cpu[:number], index=index).install()
    assert (found.source, found.torch, found.torchvision) == (index, "2.13.0+cpu", "0.28.0+cpu")
    assert "your pip configuration: it has no torch" in capsys.readouterr().out


def test_a_cpu_torch_alone_gets_pypis_torchvision_without_its_operators(
    place: Path, root: Path, sources: Sources, capsys: pytest.CaptureFixture[str]
) -> None:
    found = installer(place, root, sources, configured=sources.cpu[:1]).install()
    assert found.source == "your pip configuration, with torchvision without its operators"
    assert (found.torch, found.torchvision) == ("2.13.0+cpu", "0.28.0+no.operators")
    assert "without its compiled operators" in found.remark
    assert "make clean setup" in found.remark
    assert f"{AWAY}: it cannot be reached" in capsys.readouterr().out
    done = imported(place, "import torchvision; print(torchvision.version.__version__); torchvision.ops.nms()")
    assert done.stdout == "0.28.0+no.operators\n"
    assert "no nms" in done.stderr
    assert not list(place.glob("lib/*/site-packages/torchvision*/*.so*"))


def test_an_index_with_a_cpu_torch_alone_does_too(place: Path, root: Path, sources: Sources) -> None:
    index = tiny_packages.index(root / "public", sources.cpu[:1])
    found = installer(place, root, sources, index=index).install()
    assert found.source == f"{index}, with torchvision without its operators"
    assert (found.torch, found.torchvision) == ("2.13.0+cpu", "0.28.0+no.operators")


@pytest.mark.parametrize("source", ["auto", "pypi"])
def test_pypis_build_with_all_that_it_needs_is_announced_with_its_size(
    place: Path, root: Path, sources: Sources, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = installer(place, root, sources, configured=sources.cpu if source == "pypi" else (), source=source)
    found = chosen.install()
    assert (found.source, found.torch, found.torchvision) == ("PyPI", "2.13.0", "0.28.0")
    assert chosen.pip.installed()["nvidia-cudnn"] == "9.20"
    said = capsys.readouterr().out
    size = f"{pytorch.CUDA_DOWNLOAD_GB} GB to download, {pytorch.CUDA_DISK_GB} GB on disk"
    assert said.index(size) < said.index("from PyPI")


@pytest.mark.parametrize(
    ("here", "there", "wanted"),
    [
        (9.0, 9.0, ""),
        (7.0, 7.0, r"needs 7\.5 GB on the disk of .*\.venv, 7\.0 GB are free"),
        (2.0, 9.0, r"needs 2\.7 GB"),
    ],
    ids=["room", "both on one disk", "no room on the way"],
)
def test_gigabytes_that_do_not_fit_are_not_begun(
    place: Path, root: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch, here: float, there: float, wanted: str
) -> None:
    chosen = installer(place, root, sources, source="pypi")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(there if str(path) == str(place) else here))
    if not wanted:
        assert chosen.install().source == "PyPI"
        return
    with pytest.raises(SetupError, match=wanted) as caught:
        chosen.install()
    assert "TMPDIR" in caught.value.cure
    assert "torch" not in chosen.pip.installed()


def test_macos_takes_pypis_without_a_word_about_cuda(
    place: Path, root: Path, sources: Sources, capsys: pytest.CaptureFixture[str]
) -> None:
    found = installer(place, root, sources, configured=sources.cpu, system="Darwin").install()
    assert (found.source, found.torch) == ("PyPI", "2.13.0")
    assert "CUDA" not in capsys.readouterr().out


def test_other_bytes_than_the_lock_names_are_refused(
    place: Path, root: Path, sources: Sources, capsys: pytest.CaptureFixture[str]
) -> None:
    forged = tiny_packages.torch(root / "forged", "2.13.0+cpu", "forged")
    index = tiny_packages.index(root / "public", sources.cpu)
    found = installer(place, root, sources, configured=(forged, sources.cpu[1]), index=index).install()
    assert found.source == index
    assert "your pip configuration: its package has another hash than the lock" in capsys.readouterr().out
    assert imported(place, "import torch; print(torch.BUILD)").stdout == "cpu\n"


def test_a_pair_that_does_not_work_together_is_removed_and_the_next_source_is_tried(
    place: Path, root: Path, sources: Sources, capsys: pytest.CaptureFixture[str]
) -> None:
    mismatched = tiny_packages.torchvision(root / "mismatched", "0.28.0+cpu", "other")
    pair = (sources.cpu[0], mismatched)
    (root / TORCH_CPU).write_text("".join(item.locked() for item in pair))
    found = installer(place, root, sources, configured=pair, source="auto").install()
    assert found.torchvision == "0.28.0+no.operators"
    said = capsys.readouterr().out
    assert "it is installed but does not work: RuntimeError: operator torchvision::nms does not exist" in said


def test_the_reason_of_every_source_is_shown_when_none_works(place: Path, root: Path, sources: Sources) -> None:
    chosen = installer(place, root, sources, source="configured")
    with pytest.raises(SetupError) as caught:
        chosen.install()
    assert re.search(
        r"your pip configuration: it has no torchvision==0\.28\.0\+cpu for this Python and machine", caught.value.what
    )
    assert "make TORCH=pypi setup" in caught.value.cure
    assert str(chosen.pip.log) in caught.value.cure
    assert "No matching distribution found" in chosen.pip.log.read_text()


@pytest.mark.parametrize(
    ("system", "machine", "expected"),
    [
        ("Linux", "x86_64", ""),
        ("Linux", "aarch64", ""),
        ("Linux", "ppc64le", "no build for Linux on ppc64le"),
        ("Darwin", "arm64", ""),
        ("Darwin", "x86_64", "no build for Macs with an Intel processor"),
        ("Windows", "AMD64", "on Windows use WSL"),
    ],
)
def test_machines_without_a_build_are_named(system: str, machine: str, expected: str) -> None:
    found = pytorch.unsupported(system, machine)
    assert expected in found
    assert bool(found) == bool(expected)


def test_the_sizes_belong_to_the_pinned_versions(repository: Path) -> None:
    pinned = (repository / "requirements-torch.in").read_text().split()
    assert pinned == ["torch==2.13.0", "torchvision==0.28.0"], "measure CUDA_DOWNLOAD_GB and CUDA_DISK_GB again"


def test_a_torchvision_of_another_shape_is_refused(tmp_path: Path) -> None:
    changed = tiny_packages.REGISTRATIONS.replace("torchvision::qnms", "torchvision::rnms")
    files = {"torchvision/_meta_registrations.py": changed, "torchvision/version.py": ""}
    wheel = tiny_packages.wheel(tmp_path, "torchvision", "0.30.0", files)
    with pytest.raises(SetupError, match=r"torchvision 0\.30\.0 does not register qnms as torchvision 0\.28\.0 does"):
        torchvision_wheel.without_operators(wheel.path, tmp_path)


def test_a_wheel_of_two_packages_is_no_wheel_of_torchvision(tmp_path: Path) -> None:
    wheel = tiny_packages.wheel(tmp_path, "torchvision", "0.28.0", {"torch-2.13.0.dist-info/METADATA": ""})
    with pytest.raises(SetupError, match=r"torchvision-0\.28\.0.*\.whl is not a wheel of torchvision") as caught:
        torchvision_wheel.without_operators(wheel.path, tmp_path)
    assert caught.value.cure == "run: make TORCH=pypi setup"


def test_the_wheel_without_operators_lists_what_it_holds(tmp_path: Path, sources: Sources, place: Path) -> None:
    made = torchvision_wheel.without_operators(sources.cuda[1].path, tmp_path)
    program = (
        "import base64, hashlib, sys, zipfile\n"
        "archive = zipfile.ZipFile(sys.argv[1])\n"
        "record = next(name for name in archive.namelist() if name.endswith('RECORD'))\n"
        "rows = [row.split(',') for row in archive.read(record).decode().split()]\n"
        "for name, digest, size in rows:\n"
        "    if name != record:\n"
        "        data = archive.read(name)\n"
        "        found = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()\n"
        "        assert (digest, int(size)) == ('sha256=' + found, len(data)), name\n"
        "assert {row[0] for row in rows} == set(archive.namelist())\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(made)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_project_calls_no_operator_of_torchvision(repository: Path) -> None:
    used = set()
    for folder in ("training_code", "inference_code", "benchmarks", "binventory", "local_aws", "stacks"):
        for path in (repository / folder).rglob("*.py"):
            used |= set(
                re.findall(r"^\s*(?:from|import) torchvision[\w.]*(?: import [\w, ]+)?", path.read_text(), re.M)
            )
    parts = {word for line in used for word in re.findall(r"\w+", line)}
    assert used
    assert not parts & {"ops", "io", "detection", "segmentation"}, used


def test_a_wheel_that_is_missing_beside_constraints_is_named() -> None:
    # What pip 26.3 says where its configuration has a constraint for the package.
    said = (
        "ERROR: Cannot install torchvision==0.28.0+cpu because these package versions have conflicting dependencies.\n"
        "\nThe conflict is caused by:\n    The user requested torchvision==0.28.0+cpu\n"
        "    The user requested (constraint) torchvision<=0.29.1\n\n"
        "Additionally, some packages in these conflicts have no matching distributions available for your "
        "environment:\n    torchvision\n\n"
        "ERROR: ResolutionImpossible: for help visit https://pip.pypa.io\n"
    )
    assert PipResult(1, said).reason == "it has no torchvision==0.28.0+cpu for this Python and machine"


def test_progress_without_a_terminal_is_a_line_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("PyTorch") as progress:
        progress.show("1/2 found, torch")
    assert re.fullmatch(r"PyTorch \.\.\.\nPyTorch: \d+ s\n", capsys.readouterr().out)
