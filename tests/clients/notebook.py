"""docs/notebook.md, word for word: its shell is typed in a fresh clone, its cells run in one interpreter.

Before the page ends its rehearsal, the calls of published notebooks (`published/`) meet it as well.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.clients.environments import HERE, REPOSITORY
from tests.clients.outside import watched
from tests.clients.web import on_the_web

PAGE = REPOSITORY / "docs" / "notebook.md"
_BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_KEPT = "rehearsal"
_PUBLISHED = (
    f"-m pytest -c {shlex.quote(str(HERE / 'pytest.ini'))} --rootdir={shlex.quote(str(HERE))} "
    f"--confcutdir={shlex.quote(str(HERE))} {shlex.quote(str(HERE / 'published'))}"
)


def script(page: str, folder: Path, variables: Mapping[str, str]) -> str:
    """One shell script of all blocks; the cells that follow each other run in one interpreter, which has no way out.

    variables: of the notebook's interpreter.
    """
    lines = ["set -e", f"trap 'test ! -d {_KEPT} || binventory rehearse --end {_KEPT} > /dev/null || true' EXIT"]
    cells: list[str] = []
    notebook = "env " + " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())

    def run_cells() -> None:
        if cells:
            path = folder / f"cells-{len(lines)}.py"
            path.write_text("\n".join(cells))
            lines.append(f"{notebook} notebook/bin/python {shlex.quote(str(path))}")
            cells.clear()

    for language, block in _BLOCK.findall(page):
        if language == "python":
            cells.append(block)
            continue
        run_cells()
        if f"rehearse --end {_KEPT}" in block:
            lines.append(f"{notebook} notebook/bin/python {_PUBLISHED}")
        lines.append(block)
    run_cells()
    return "\n".join(lines)


def _typed_count(folder: Path, web: Mapping[str, str]) -> Path:
    """A folder for PATH whose `binventory` finds the web's photos when it counts; all else is the real command."""
    real = Path(sys.executable).parent / "binventory"
    settings = [f"SSL_CERT_FILE={shlex.quote(web['SSL_CERT_FILE'])}"]
    settings.append(f"PYTHONPATH={shlex.quote(web['PYTHONPATH'])}:$PYTHONPATH")
    place = folder / "bin"
    place.mkdir()
    program = place / "binventory"
    program.write_text(
        f'#!/bin/sh\nif test "$1" = count; then export {" ".join(settings)}; fi\nexec {shlex.quote(str(real))} "$@"\n'
    )
    program.chmod(0o755)
    return place


def follow() -> bool:
    """Follow the page; says what failed, and returns whether nothing did."""
    print("\n== notebook", flush=True)
    with tempfile.TemporaryDirectory(prefix="notebook-") as name, watched() as outside:
        folder = Path(name)
        clone = folder / "clone"
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
        for installed in (".venv", "node_modules"):
            (clone / installed).symlink_to(REPOSITORY / installed)
        left_out = ("AWS_", "BINVENTORY_", "SAGEMAKER_", "PYTHON")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
        with on_the_web(clone / "bins", folder) as web:
            place = _typed_count(folder, web)
            path = f"{place}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
            variables = {
                # Jupyter finds modules in the folder where it was started: the page says, in the checkout.
                **web, "PYTHONPATH": f"{web['PYTHONPATH']}{os.pathsep}{clone}",
                "HTTPS_PROXY": outside.url, "NO_PROXY": "localhost,127.0.0.1",
                "SAGEMAKER_SUPPRESS_V2_WARNING": "1", "PYTHONWARNINGS": "ignore",
            }  # fmt: skip
            typed = script(PAGE.read_text(), folder, variables)
            done = subprocess.run(
                ["bash", "-c", typed], cwd=clone, env=kept | {"PYTHONPATH": str(clone), "PATH": path}, check=False
            )
        problems = [f"the shell ended with {done.returncode}"] if done.returncode else []
        problems += [f"the cells left loopback for {host}" for host in sorted(set(outside.asked))]
        problems += [f"{_KEPT} is still there"] if (clone / _KEPT).exists() else []
        for problem in problems:
            print(f"docs/notebook.md: {problem}")
        return not problems
