"""The app, synthesized without the CDK command line: the same templates, and its refusals in its own words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import app
from binventory.assembly.templates import read_stacks
from binventory.core.errors import Exit, Problem
from binventory.deployment.synthesis import synthesize
from stacks.shared.assets import complete_wheels
from tests.stacks.templates import templates


def test_the_templates_are_those_of_the_app(tmp_path: Path, repository: Path) -> None:
    synthesize(repository, "dev", tmp_path)
    found = {stack.name.rsplit("-", 1)[-1].title(): stack.template["Resources"] for stack in read_stacks(tmp_path)}
    assert found == {name: template["Resources"] for name, template in templates("dev").items()}
    assert not list(tmp_path.glob("*validation-report*")), "a price waits for no policy"


def test_the_node_of_set_up_is_found_where_nothing_is_activated(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the computer itself has no Node."""
    monkeypatch.setenv("PATH", str(tmp_path))
    (folder := tmp_path / "assembly").mkdir()
    synthesize(repository, "dev", folder)
    assert read_stacks(folder)


def checkout(folder: Path, script: str) -> Path:
    """A checkout whose app is this."""
    folder.mkdir()
    (folder / "cdk.json").write_text(json.dumps({"app": "python3 app.py", "context": {"flag": True}}))
    (folder / "app.py").write_text(script)
    return folder


def test_the_app_gets_its_flags_and_the_environment(tmp_path: Path) -> None:
    script = (
        "import os, pathlib; pathlib.Path(os.environ['CDK_OUTDIR'], 'got').write_text(os.environ['CDK_CONTEXT_JSON'])"
    )
    (folder := tmp_path / "out").mkdir()
    synthesize(checkout(tmp_path / "checkout", script), "stage", folder)
    assert json.loads((folder / "got").read_text()) == {"flag": True, "env": "stage"}


def test_settings_that_are_not_usable_are_wrong_usage(tmp_path: Path) -> None:
    script = "import sys; print('The settings are not usable:\\nthroughput: unknown', file=sys.stderr); sys.exit(2)"
    with pytest.raises(Problem) as caught:
        synthesize(checkout(tmp_path / "checkout", script), "dev", tmp_path)
    assert (caught.value.code, caught.value.what) == (Exit.USAGE, "The settings are not usable")
    assert caught.value.why == "throughput: unknown"
    assert "settings/dev.yaml" in caught.value.cure


def test_packages_that_are_missing_are_not_put_down_to_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The app says what is missing and how to get it, to the CDK's command line and to ours."""

    def refuse(*_: object) -> None:
        complete_wheels(tmp_path)

    monkeypatch.setattr(app, "build", refuse)
    monkeypatch.setenv("CDK_OUTDIR", str(tmp_path))
    assert app.main() == Exit.NOT_READY
    said = capsys.readouterr().err
    lines = f"import sys; print({said!r}, file=sys.stderr); sys.exit({int(Exit.NOT_READY)})"
    with pytest.raises(Problem) as caught:
        synthesize(checkout(tmp_path / "checkout", lines), "dev", tmp_path)
    assert (caught.value.code, caught.value.cure) == (Exit.NOT_READY, "run: make wheels")
    assert caught.value.what == "Packages of the jobs are missing"
    assert "build/wheels/ lacks" in caught.value.why and "onnxruntime==" in caught.value.why


@pytest.mark.parametrize(
    ("script", "why"),
    [("raise ValueError('no such table')", "ValueError: no such table"), ("exit(7)", "7 and no word")],
)
def test_an_app_that_fails_is_named_with_its_last_words(tmp_path: Path, script: str, why: str) -> None:
    with pytest.raises(Problem) as caught:
        synthesize(checkout(tmp_path / "checkout", script), "dev", tmp_path)
    assert why in caught.value.why
    assert "cdk synth" in caught.value.cure
