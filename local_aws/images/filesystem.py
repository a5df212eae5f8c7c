"""The `/opt/ml` of a container: a mount that only its processes see, where this computer lets one do so without root.

Elsewhere (macOS; a Linux that forbids user namespaces) a script finds its folders by the variables of the toolkit, and
one that opens `/opt/ml` itself is refused by name: it must not read or write this computer's folder of that name.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

BASE = "/opt/ml"
SUPERVISOR = Path(__file__).with_name("supervisor.py")
_NEVER = "LOCAL_AWS_OWN_OPT_ML"
_PROBE = "import os; os.close(os.open('/opt/ml/probe', os.O_CREAT))"
_SECONDS = 60.0
_INSTEAD = "use SM_MODEL_DIR, SM_CHANNEL_... and the other variables, or the arguments that the job gives"

GUARD = f'''
import os
import sys

_COMMANDS = {{"os.exec", "os.posix_spawn", "os.system", "subprocess.Popen"}}
_PATHS = {{
    "open", "os.chdir", "os.chmod", "os.link", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir",
    "os.scandir", "os.symlink", "os.truncate", "shutil.copyfile",
}}


def _words(value):
    if isinstance(value, (list, tuple)):
        return [word for item in value for word in _words(item)]
    return [os.fsdecode(value)] if isinstance(value, (str, bytes, os.PathLike)) else []


def _refuse_the_shared_folder(event, arguments):
    if event in _PATHS or event in _COMMANDS:
        for word in _words(arguments[:2]):
            if word == "{BASE}" or word.startswith("{BASE}/") or (event in _COMMANDS and "{BASE}/" in word):
                raise RuntimeError(
                    f"{{word}}: this computer cannot give a job its own {BASE} ({{_WHY}}); {_INSTEAD}"
                )


sys.addaudithook(_refuse_the_shared_folder)
'''
"""Python code that a job's Python runs as it starts, after a line that sets `_WHY`."""


@cache
def why_shared() -> str | None:
    """Why a container here cannot have its own `/opt/ml`; None where it can."""
    if not sys.platform.startswith("linux"):
        return "only Linux has mount namespaces"
    if os.environ.get(_NEVER) == "no":
        return f"{_NEVER} is no"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "ml"
        root.mkdir()
        command = [sys.executable, "-I", "-S", str(SUPERVISOR), "--opt-ml", str(root)]
        running = subprocess.Popen(
            [*command, sys.executable, "-I", "-S", "-c", _PROBE],
            stdin=subprocess.PIPE,  # the end of it would end the probe
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            running.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
        said = running.communicate()[0].decode(errors="replace").strip()
        if (root / "probe").exists():
            return None
    return said.splitlines()[-1] if said else "a mount namespace had no effect"


def inside(root: Path) -> Path:
    """The path by which a container finds the folder that stands in for its `/opt/ml`."""
    return root if why_shared() else Path(BASE)


def shell_problem(root: Path) -> str | None:
    """Why a job whose files are in `root` cannot run: a shell script that names `/opt/ml` where it has none."""
    why = why_shared()
    if why is None:
        return None
    for script in sorted(root.rglob("*.sh")):
        if BASE in script.read_text(encoding="utf-8", errors="replace"):
            return (
                f"ClientError: {script.relative_to(root)} names {BASE}: this computer cannot give a job its own "
                f"{BASE} ({why}); {_INSTEAD}"
            )
    return None
