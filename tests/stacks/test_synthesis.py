"""Synthesis is a function of the checkout: the same bytes every time."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

from tests.stacks.templates import templates

# Without the rules, which add nothing to the templates and take longer than everything else.
_SYNTHESIZE = """
import aws_cdk as cdk
from app import build
from stacks.settings import load
app = cdk.App(builtin_cloud_formation_validation=False)
build(app, load("dev"))
app.synth()
"""


def _synthesize(repository: Path, folder: Path, umask: int = 0o022, **variables: str) -> dict[str, bytes]:
    context = json.loads((repository / "cdk.json").read_text())["context"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BINVENTORY_")}
    environment |= {"CDK_OUTDIR": str(folder), "CDK_CONTEXT_JSON": json.dumps(context), **variables}
    run = subprocess.run(
        [sys.executable, "-c", _SYNTHESIZE],
        cwd=repository,
        env=environment,
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_checkout_gives_the_same_bytes(repository: Path, tmp_path: Path) -> None:
    first = _synthesize(repository, tmp_path / "first", PYTHONHASHSEED="1")
    second = _synthesize(repository, tmp_path / "second", umask=0o077, PYTHONHASHSEED="2", TZ="Asia/Tokyo")
    assert set(first) == set(second)
    assert [name for name in first if first[name] != second[name]] == []
    assert {f"{name}.template.json" for name in ("Storage", "Money", "Training", "Serving")} <= set(first)
    # What every user of a function and of the image must be able to read, whatever the user's umask.
    manifests = [json.loads(data) for name, data in second.items() if name.endswith(".assets.json")]
    sources = [asset["source"] for manifest in manifests for asset in manifest.get("files", {}).values()]
    functions = {source["path"] for source in sources if source["packaging"] == "zip"}
    images = {image["source"]["directory"] for one in manifests for image in one.get("dockerImages", {}).values()}
    assert functions and images
    packed = [path for name in functions | images for path in (tmp_path / "second" / name).rglob("*") if path.is_file()]
    folders = {folder for path in packed for folder in path.parents if set(folder.parts) & images}
    assert [path for path in packed if not path.stat().st_mode & stat.S_IROTH] == []
    assert [folder for folder in folders if not folder.stat().st_mode & stat.S_IXOTH] == []


def test_no_path_of_this_machine_is_in_a_template(repository: Path) -> None:
    text = json.dumps(templates("dev"))
    assert str(repository) not in text
    assert str(Path.home()) not in text


def test_everything_that_can_have_tags_has_them() -> None:
    for environment in ("dev", "prod"):
        for stack, template in templates(environment).items():
            for name, resource in template["Resources"].items():
                tags = resource.get("Properties", {}).get("Tags")
                if isinstance(tags, list):
                    found = {tag["Key"]: tag["Value"] for tag in tags}
                elif isinstance(tags, dict):
                    found = tags
                else:
                    continue
                assert found.items() >= {"project": "binventory", "environment": environment}.items(), (stack, name)
