"""Packages of an image: linked where set-up has installed the same wheel, and left to pip everywhere else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import DistributionFinder, PackagePath, PathDistribution, distribution
from pathlib import Path

import pytest

from environment.locks import pins
from local_aws.images.builder import ImageBuilder
from local_aws.images.cache import LocalImage, load_image
from local_aws.images.dockerfile import DockerfileError
from local_aws.images.installed import link_installed
from local_aws.server import REPOSITORY

LOCK = REPOSITORY / "inference_code" / "requirements.txt"
NAMES = ("click", "h11", "uvicorn")
DOCKERFILE = """
FROM python:3.12-slim
WORKDIR /srv/app
COPY requirements.txt main.py ./
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements.txt
ENTRYPOINT ["uvicorn", "--version"]
"""
MAIN = "import h11, importlib.util, json; print(json.dumps([h11.__file__, importlib.util.find_spec('boto3') is None]))"


def entry(name: str) -> str:
    """A package's entry in the endpoint's lock."""
    return pins(LOCK)[name].text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A build context that wants three packages of the endpoint, an own cache, and a pip that finds no packages."""
    monkeypatch.setenv("BINVENTORY_CACHE", str(tmp_path / "the image's cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "main.py").write_text(MAIN)
    (folder / "requirements.txt").write_text("\n".join(entry(name) for name in NAMES))
    return folder


def environment(tmp_path: Path) -> Path:
    """A virtual environment without packages."""
    place = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    return place


def output(image: LocalImage, tmp_path: Path, *command: str) -> str:
    """What the image's entry point or another command prints in its container."""
    process = image.process(base=tmp_path / "ml", environment={})
    return subprocess.run(
        command or process.command,
        env=dict(process.environment),
        cwd=process.directory,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_an_image_gets_the_packages_that_set_up_installed_and_no_others(folder: Path, tmp_path: Path) -> None:
    """Its commands run, at an address with a space; nothing is downloaded or unpacked."""
    image = load_image(ImageBuilder(folder).build())
    assert output(image, tmp_path).startswith(f"Running uvicorn {pins(LOCK)['uvicorn'].version}")
    place, boto3_is_absent = json.loads(output(image, tmp_path, "python", "main.py"))
    assert Path(place).is_relative_to(tmp_path / "the image's cache") and boto3_is_absent
    installed = Path(str(distribution("h11").locate_file("h11/__init__.py")))
    assert Path(place).read_bytes() == installed.read_bytes()
    if tmp_path.stat().st_dev == installed.stat().st_dev:
        assert Path(place).samefile(installed), "an image takes no space for them"


def test_a_hash_that_set_up_did_not_check_is_left_to_pip(folder: Path) -> None:
    """pip would compare the wheel with it, so a package that is installed already must not stand in."""
    lock = folder / "requirements.txt"
    text = lock.read_text()
    digest = text.rpartition("sha256:")[2]
    lock.write_text(text.replace(digest, "0" * 64))
    with pytest.raises(DockerfileError, match="packages could not be installed"):
        ImageBuilder(folder).build()


class FilesThatAreThere(PathDistribution):
    """An installed package as Python 3.12 and `importlib_metadata` list it: without the files that are missing."""

    @property
    def files(self) -> list[PackagePath]:
        return [file for file in super().files or () if Path(str(file.locate())).exists()]

    @classmethod
    def find_distributions(cls, context: DistributionFinder.Context) -> Iterator[PathDistribution]:
        """The packages of a name, in the order of the paths."""
        for folder in context.path:
            yield from map(cls, Path(folder).glob(f"{context.name}-*.dist-info"))


@pytest.mark.parametrize("python", ["3.11", "3.12"])
@pytest.mark.parametrize(
    ("change", "linked"),
    [
        ("nothing", ["h11"]),
        ("a header", ["h11"]),
        ("a file", []),
        ("a byte", []),
        ("another version", []),
        ("RECORD", []),
        ("a program", []),
    ],
)
def test_only_a_whole_package_is_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str, change: str, linked: list[str]
) -> None:
    """Its files are those of its wheel; set-up removes headers, and nothing else may be missing."""
    site = Path(str(distribution("h11").locate_file("")))
    copy = tmp_path / "site"
    information = f"h11-{pins(LOCK)['h11'].version}.dist-info"
    for name in ("h11", information):
        shutil.copytree(site / name, copy / name)
    record = copy / information / "RECORD"
    match change:
        case "a header":
            record.write_text(record.read_text() + "h11/fast.h,sha256=x,3\n")
        case "a file":
            (copy / "h11" / "_state.py").unlink()
        case "a byte":
            file = copy / "h11" / "_state.py"
            file.write_bytes(file.read_bytes().replace(b"a", b"b", 1))
        case "another version":
            metadata = copy / information / "METADATA"
            metadata.write_text(metadata.read_text().replace("\nVersion: ", "\nVersion: 1", 1))
            record.write_text("".join(line for line in record.open() if "METADATA" not in line))
        case "RECORD":
            record.unlink()
        case "a program":
            record.write_text(record.read_text() + "../../../bin/of-the-wheel,sha256=x,3\n")
    monkeypatch.syspath_prepend(copy)
    if python == "3.12":
        monkeypatch.setattr(sys, "meta_path", [FilesThatAreThere, *sys.meta_path])
    lock = tmp_path / "requirements.txt"
    lock.write_text(entry("h11") + "\n")
    place = environment(tmp_path)
    assert link_installed(lock, place) == linked
    assert bool(list(place.glob("lib/*/site-packages/h11/_state.py"))) == bool(linked)
