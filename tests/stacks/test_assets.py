"""Assets contain what jobs, functions and the endpoint need, and nothing from the machine that packed them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stacks.shared import assets
from stacks.shared.assets import write_source_archive


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training folder with a package, a page, and files that must not be packed."""
    folder = tmp_path / "training_code"
    (folder / "ingestion" / "__pycache__").mkdir(parents=True)
    (folder / "train.py").write_text("import photo\n")
    (folder / "requirements.txt").write_text("pillow==13.0.0\n")
    (folder / "ingestion" / "plan.py").write_text("PLAN = 1\n")
    (folder / "ingestion" / "page.html").write_text("<p>")
    (folder / "ingestion" / "__pycache__" / "plan.cpython-311.pyc").write_bytes(b"\0")
    monkeypatch.setattr(assets, "TRAINING_CODE", folder)
    return folder


def _pack(folder: Path) -> tuple[bytes, str, list[tarfile.TarInfo]]:
    folder.mkdir()
    archive = write_source_archive(folder)
    with tarfile.open(archive.path) as tar:
        return archive.path.read_bytes(), archive.sha256, tar.getmembers()


def test_it_holds_the_code_and_the_shared_modules_and_no_leavings(code: Path, tmp_path: Path) -> None:
    _, _, members = _pack(tmp_path / "out")
    assert [member.name for member in members] == [
        "arithmetic.py",
        "binventory/__init__.py",
        "binventory/core/__init__.py",
        "binventory/core/contents.py",
        "binventory/pages/__init__.py",
        "binventory/pages/base.html",
        "binventory/pages/charts.py",
        "binventory/pages/document.py",
        "binventory/pages/style.css",
        "binventory/records/__init__.py",
        "binventory/records/errors.py",
        "binventory/records/ids.py",
        "binventory/records/labels.py",
        "binventory/records/metadata.py",
        "binventory/records/tables.py",
        "digests.py",
        "inference.py",
        "ingestion/page.html",
        "ingestion/plan.py",
        "photo.py",
        "photo_parts.py",
        "photo_upright.py",
        "requirements.txt",
        "serving/__init__.py",
        "serving/answer_rule.py",
        "serving/answers.py",
        "serving/archive.py",
        "serving/artefact.py",
        "serving/cores.py",
        "serving/json_bodies.py",
        "serving/network.py",
        "serving/npy_bodies.py",
        "serving/onnx_scan.py",
        "serving/refusals.py",
        "serving/requests.py",
        "serving/weights.py",
        "silent_openvino.py",
        "stacks/__init__.py",
        "stacks/backbones.py",
        "stacks/vocabulary.py",
        "stacks/watch_rules.py",
        "train.py",
    ]
    for member in members:
        assert (member.mtime, member.uid, member.gid, member.uname, member.mode) == (0, 0, 0, "", 0o644)


def test_the_same_content_gives_the_same_bytes(code: Path, tmp_path: Path) -> None:
    first = _pack(tmp_path / "first")
    for path in code.rglob("*"):
        os.utime(path, (1, 1))
    (code / "train.py").chmod(0o755)
    shutil.rmtree(code / "ingestion" / "__pycache__")
    second = _pack(tmp_path / "second")
    assert first[:2] == second[:2]
    (code / "train.py").write_text("import photo  # changed\n")
    assert _pack(tmp_path / "third")[1] != first[1]


def test_a_name_in_both_folders_is_refused(code: Path, tmp_path: Path) -> None:
    (code / "serving").mkdir()
    for name in ("serving/network.py", "photo.py"):
        (code / name).write_text("")
        with pytest.raises(FileExistsError, match=rf"{name} is in training_code/ and in inference_code/"):
            write_source_archive(tmp_path)
        (code / name).unlink()


def test_the_shipped_archive_has_every_script_the_pipeline_runs_and_all_that_they_import(tmp_path: Path) -> None:
    names = {member.name for member in _pack(tmp_path / "out")[2]}
    scripts = {"ingest.py", "embed.py", "train.py", "evaluate.py"}
    assert {*scripts, "digests.py", "photo.py", "requirements.txt"} <= names
    with tarfile.open(tmp_path / "out" / "sourcedir.tar.gz") as archive:
        archive.extractall(tmp_path / "code", filter="data")
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'code')!r})\n" + "\n".join(
        f"import {script.removesuffix('.py')}" for script in sorted(scripts)
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, timeout=120)


def test_the_functions_import_what_is_packed_and_nothing_else_of_ours(tmp_path: Path) -> None:
    assets.write_lambda_code(tmp_path)
    handlers = sorted(path.stem for path in tmp_path.glob("*.py") if "\ndef handler(" in path.read_text())
    assert {"fingerprint", "reconcile"} <= set(handlers)
    lines = ["import sys", f"sys.path.insert(0, {str(tmp_path)!r})", *(f"import {name}" for name in handlers)]
    code = "; ".join(
        [*lines, "print(*(module.__file__ for module in sys.modules.values() if hasattr(module, '__file__')))"]
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"{tmp_path}/stacks/environments.py" in done.stdout
    assert f"{assets.REPOSITORY}/stacks" not in done.stdout


@pytest.mark.parametrize("write", [assets.write_lambda_code, assets.write_image_code])
def test_every_user_may_read_what_functions_and_the_endpoint_get(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a checkout that only its user may read: Lambda keeps the modes, so no function could import its code."""
    private = tmp_path / "inference_code"
    shutil.copytree(assets.INFERENCE_CODE, private)
    for path in private.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    monkeypatch.setattr(assets, "INFERENCE_CODE", private)
    folder = tmp_path / "asset"
    before = os.umask(0o077)
    try:
        write(folder)
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert {oct(mode) for path, mode in modes.items() if path.is_dir()} == {"0o755"}
    assert {oct(mode) for path, mode in modes.items() if path.is_file()} == {"0o644"}
