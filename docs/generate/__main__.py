"""`python -m docs.generate`: writes every generated page and picture."""

from __future__ import annotations

import json
from pathlib import Path

import aws_cdk as cdk

import app as application
from docs.generate.pages import generated
from stacks.settings import load

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def main() -> None:
    """Synthesizes the dev environment, as it is in settings/, and writes what follows from it."""
    context = json.loads((REPOSITORY / "cdk.json").read_text())["context"]
    app = cdk.App(context=context, builtin_cloud_formation_validation=False, analytics_reporting=False)
    application.build(app, load("dev"))
    for name, content in generated(Path(app.synth().directory), REPOSITORY).items():
        path = REPOSITORY / name
        if not path.is_file() or path.read_text() != content:
            path.write_text(content)
            print(name)


if __name__ == "__main__":
    main()
