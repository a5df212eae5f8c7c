"""Runs the CDK app by itself, without the CDK command line: the templates as they are, in half the time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from binventory.core.errors import Exit, Problem
from binventory.core.tools import search_path


def synthesize(repository: Path, environment: str, folder: Path) -> None:
    """Write the cloud assembly of one environment into `folder`; nothing is deployed, and AWS isn't asked.

    The templates are those that `cdk synth` writes. The policies and CloudFormation's validation are left out: they
    take longer than everything else, and `cdk deploy` has both. Raises a Problem with the app's own words.
    """
    context = json.loads((repository / "cdk.json").read_text())["context"]
    done = subprocess.run(
        [sys.executable, "app.py", "--no-policies"],
        cwd=repository,
        env=os.environ
        | {
            "PATH": search_path(),  # the CDK's library starts Node
            "CDK_OUTDIR": str(folder),
            "CDK_CONTEXT_JSON": json.dumps(context | {"env": environment}),
            "CDK_VALIDATION": "false",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return
    said = [line for line in done.stderr.splitlines() if line.strip()]
    if done.returncode == Exit.USAGE:
        why = "; ".join(line.strip() for line in said[1:])
        cure = f"correct settings/{environment}.yaml or the variable"
        raise Problem(said[0].rstrip(":"), why, cure, code=Exit.USAGE)
    if done.returncode == Exit.NOT_READY:
        raise Problem(said[0], "; ".join(said[1:-1]), said[-1], code=Exit.NOT_READY)
    raise Problem(
        "The stacks could not be synthesized",
        said[-1] if said else f"app.py ended with exit status {done.returncode} and no word",
        f"run: npx cdk synth --quiet -c env={environment}",
        log=tuple(said[-40:]),
    )
