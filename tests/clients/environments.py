"""The environment of each client: made from its lock when it is used first, kept below `build/clients/`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
CLIENTS = tuple(sorted(path.parent.name for path in HERE.glob("*/requirements.in")))


def lock_of(client: str) -> Path:
    """The lock of a client."""
    return HERE / client / "requirements.txt"


def python_of(client: str) -> Path:
    """The interpreter of a client's environment, which is made, or made again for another lock."""
    folder = REPOSITORY / "build" / "clients" / client
    interpreter = folder / "bin" / "python"
    ready = folder / ".ready"
    digest = hashlib.sha256(lock_of(client).read_bytes()).hexdigest()
    if ready.is_file() and ready.read_text() == digest:
        return interpreter
    print(f"Installing {client} into {folder.relative_to(REPOSITORY)}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [
        *(str(interpreter), "-m", "pip", "install", "-qq", "--disable-pip-version-check"),
        *("--no-deps", "--require-hashes", "-r", str(lock_of(client))),
    ]
    subprocess.run(install, check=True)
    ready.write_text(digest)
    return interpreter
