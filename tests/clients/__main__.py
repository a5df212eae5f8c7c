"""Runs the tests of each client in its environment: `python -m tests.clients [CLIENT ...] [-- pytest's arguments]`.

For each client a local AWS is started. The client gets the exports of a kept rehearsal, and a proxy that notes requests
to other computers: one of them fails the client.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.clients.environments import CLIENTS, HERE, REPOSITORY, python_of
from tests.clients.notebook import follow
from tests.clients.outside import watched
from tests.clients.place import prepared

NOTEBOOK = "notebook"
"""The page docs/notebook.md, with the environment of sagemaker_v2, in a kept rehearsal (minutes)."""


def main() -> int:
    """Run what is asked for; returns 0 when all of it passed and nothing left loopback."""
    parser = argparse.ArgumentParser(prog="python -m tests.clients", description="Clients against the local AWS")
    known = (*CLIENTS, NOTEBOOK)
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=f"of {', '.join(known)} (default: all)")
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    asked, more = arguments[:cut], arguments[cut + 1 :]
    chosen = parser.parse_args(asked).clients or list(known)
    if unknown := sorted(set(chosen) - set(known)):
        parser.error(f"there is no client {', '.join(unknown)}; there is {', '.join(known)}")
    failed = [client for client in chosen if not (follow() if client == NOTEBOOK else run(client, more))]
    print(
        f"\n{len(chosen) - len(failed)} of {len(chosen)} clients passed" + (f"; not {', '.join(failed)}" * bool(failed))
    )
    return 1 if failed else 0


def run(client: str, more: list[str]) -> bool:
    """Run the tests of one client; says what left loopback."""
    python = python_of(client)
    print(f"\n== {client}", flush=True)
    with tempfile.TemporaryDirectory(prefix="clients-") as folder, watched() as outside:
        with prepared(Path(folder)) as exports:
            status = subprocess.run(
                [str(python), "-m", "pytest", "-c", str(HERE / "pytest.ini"), f"--rootdir={HERE}",
                 f"--confcutdir={HERE}", str(HERE / client), *more],
                cwd=folder, env=_environment(exports, outside.url, python), check=False,
            ).returncode  # fmt: skip
        if outside.asked:
            print(f"{client} left loopback for {', '.join(sorted(set(outside.asked)))}")
        return status == 0 and not outside.asked


def _environment(exports: dict[str, str], proxy: str, python: Path) -> dict[str, str]:
    """What a shell has that sourced the exports, and nothing else that AWS's tools read."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SAGEMAKER_", "PYTHON"))}
    return kept | exports | {
        "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HTTPS_PROXY": proxy, "https_proxy": proxy,
        "NO_PROXY": "localhost,127.0.0.1", "no_proxy": "localhost,127.0.0.1",
        "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": "1",
        "CLIENTS_REPOSITORY": str(REPOSITORY),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
