"""docs/notebook.md, word for word: its shell is typed in a fresh clone, its cells run in one interpreter."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.clients.environments import REPOSITORY
from tests.clients.outside import watched

PAGE = REPOSITORY / "docs" / "notebook.md"
_BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_KEPT = "rehearsal"


def script(page: str, folder: Path, proxy: str) -> str:
    """One shell script of all blocks; the cells that follow each other run in one interpreter, which has no way out."""
    lines = ["set -e", f"trap 'test ! -d {_KEPT} || binventory rehearse --end {_KEPT} > /dev/null || true' EXIT"]
    cells: list[str] = []

    def run_cells() -> None:
        if cells:
            path = folder / f"cells-{len(lines)}.py"
            path.write_text("\n".join(cells))
            way_out = f"HTTPS_PROXY={proxy} NO_PROXY=localhost,127.0.0.1 PYTHONPATH= SAGEMAKER_SUPPRESS_V2_WARNING=1"
            lines.append(f"{way_out} notebook/bin/python {shlex.quote(str(path))}")
            cells.clear()

    for language, block in _BLOCK.findall(page):
        if language == "python":
            cells.append(block)
            continue
        run_cells()
        lines.append(block)
    run_cells()
    return "\n".join(lines)


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
        environment = {key: value for key, value in os.environ.items() if not key.startswith(left_out)} | {
            "PYTHONPATH": str(clone),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }
        typed = script(PAGE.read_text(), folder, outside.url)
        done = subprocess.run(["bash", "-c", typed], cwd=clone, env=environment, check=False)
        problems = [f"the shell ended with {done.returncode}"] if done.returncode else []
        problems += [f"the cells left loopback for {host}" for host in sorted(set(outside.asked))]
        problems += [f"{_KEPT} is still there"] if (clone / _KEPT).exists() else []
        for problem in problems:
            print(f"docs/notebook.md: {problem}")
        return not problems
