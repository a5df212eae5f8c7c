"""`binventory doctor --github` reads a repository from a server that answers as GitHub's REST API is documented."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from binventory.cli import run
from binventory.core.errors import Exit
from stacks.settings import Settings, load

SECRET = "ghp_for-tests"
BASE = "/repos/acme/bins"
ROLE = "arn:aws:iam::123456789012:role/binventory"


@dataclass
class Site:
    """What the server answers, by path: a document, or status, headers and document."""

    url: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Each path with the header Authorization."""

    def refuse(self, path: str, status: int, message: str, **headers: str) -> None:
        """An error, as GitHub writes it."""
        document = {"message": message, "documentation_url": "https://docs.github.com/rest", "status": str(status)}
        self.answers[BASE + path] = (
            status,
            {name.replace("_", "-"): value for name, value in headers.items()},
            document,
        )


def environment(name: str, *rules: dict[str, Any], policy: dict[str, bool] | None) -> dict[str, Any]:
    """The answer of "Get an environment"."""
    return {
        "id": 161088068,
        "node_id": "MDExOkVudmlyb25tZW50MTYxMDg4MDY4",
        "name": name,
        "url": f"https://api.github.com{BASE}/environments/{name}",
        "html_url": f"https://github.com/acme/bins/deployments/activity_log?environments_filter={name}",
        "protection_rules": [*rules, {"id": 3755, "node_id": "MDQ6R2F0ZTM3NTU=", "type": "branch_policy"}],
        "deployment_branch_policy": policy,
    }


SUBJECT = "/actions/oidc/customization/sub"
SELECTED = {"protected_branches": False, "custom_branch_policies": True}
REVIEWERS = {
    "id": 3736,
    "node_id": "MDQ6R2F0ZTM3MzY=",
    "type": "required_reviewers",
    "prevent_self_review": False,
    "reviewers": [{"type": "User", "reviewer": {"login": "octocat", "id": 1, "type": "User"}}],
}


def listing(member: str, *items: dict[str, Any]) -> dict[str, Any]:
    """A listing that GitHub gives in pages."""
    return {"total_count": len(items), member: list(items)}


def variable(name: str, value: str) -> dict[str, Any]:
    """One variable of Actions."""
    return {"name": name, "value": value, "created_at": "2026-01-10T14:59:22Z", "updated_at": "2026-01-11T14:59:22Z"}


def policy(number: int, name: str, kind: str = "branch") -> dict[str, Any]:
    """One deployment branch policy."""
    return {"id": number, "node_id": "MDE2OkdhdGVCcmFuY2hQb2xpY3kz", "name": name, "type": kind}


def complete() -> dict[str, Any]:
    """A repository that is set up as docs/github.md asks."""
    answers: dict[str, Any] = {
        "": {"id": 22, "full_name": "acme/bins", "owner": {"login": "acme", "id": 11}, "default_branch": "main"},
        "/branches/main": {"name": "main", "protected": True},
        SUBJECT: {"use_default": True, "use_immutable_subject": True, "sub_claim_prefix": "repo:acme@11/bins@22"},
        "/actions/variables": listing(
            "variables",
            variable("AWS_REGION", "us-east-1"),
            variable("AWS_DIFF_ROLE_ARN", f"{ROLE}-dev-github-diff"),
            variable("AWS_TRAIN_ROLE_ARN", f"{ROLE}-dev-github-train"),
            variable("AWS_LOOKUP_ROLE_ARN", "arn:aws:iam::123456789012:role/cdk-hnb659fds-lookup-role"),
        ),
    }
    for name in ("dev", "prod"):
        rules = [REVIEWERS] if name == "prod" else []
        answers[f"/environments/{name}"] = environment(name, *rules, policy=SELECTED)
        answers[f"/environments/{name}/deployment-branch-policies"] = listing("branch_policies", policy(7, "main"))
        deploys = variable("AWS_DEPLOY_ROLE_ARN", f"{ROLE}-{name}-github-deploy")
        answers[f"/environments/{name}/variables"] = listing("variables", deploys)
    return {BASE + path: answer for path, answer in answers.items()}


@pytest.fixture(scope="module")
def server() -> Iterator[Site]:
    """GitHub's REST API on loopback."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answers one request; a listing in pages."""
            parts = urlsplit(self.path)
            site.asked.append((parts.path, self.headers.get("Authorization", "")))
            status, headers, document = self._answer(parts.path)
            query = parse_qs(parts.query)
            if status == 200 and "total_count" in document:
                size, page = int(query["per_page"][0]), int(query["page"][0])
                (member,) = (name for name in document if name != "total_count")
                document = document | {member: document[member][size * (page - 1) : size * page]}
            body = json.dumps(document).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json; charset=utf-8", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _answer(self, path: str) -> tuple[int, dict[str, str], Any]:
            if path not in site.answers:
                return (
                    404,
                    {},
                    {"message": "Not Found", "documentation_url": "https://docs.github.com", "status": "404"},
                )
            found = site.answers[path]
            return found if isinstance(found, tuple) else (200, {}, found)

        def log_message(self, format: str, *arguments: object) -> None:
            """Keeps the test's output clean."""

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{running.server_port}"
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield site
    running.shutdown()


@pytest.fixture
def github(server: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A complete repository, the settings that name it, and a token."""
    server.answers, server.asked = complete(), []
    for name in ("GH_TOKEN", "GITHUB_SERVER_URL", "BINVENTORY_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GITHUB_API_URL", server.url)
    monkeypatch.setenv("GITHUB_TOKEN", SECRET)
    for name, value in {"REPOSITORY": "acme/bins", "OWNER_ID": "11", "REPOSITORY_ID": "22"}.items():
        monkeypatch.setenv(f"BINVENTORY_GITHUB__{name}", value)
    return server


@pytest.fixture
def checks(github: Site, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command; returns exit code and checks by name."""

    def look() -> tuple[int, dict[str, dict[str, str]]]:
        code = run(["doctor", "--github", "--json"])
        printed = capsys.readouterr().out
        assert SECRET not in printed
        return code, {check["name"]: check for check in json.loads(printed)}

    return look


def test_a_complete_set_up_is_good_and_every_request_is_signed(github: Site, checks: Any) -> None:
    code, found = checks()
    assert code == Exit.OK
    assert {check["state"] for check in found.values()} == {"good"}
    assert found["GitHub token"]["found"] == "from GITHUB_TOKEN"
    assert found["GitHub environment prod: reviewers"]["found"] == "octocat"
    assert found["GitHub environment dev: branches"]["found"] == "only main"
    assert {key for _, key in github.asked} == {f"Bearer {SECRET}"}
    assert not any(check["cure"] for check in found.values())


ENVIRONMENT = "/environments/prod"
RULES = f"{ENVIRONMENT}/deployment-branch-policies"
# What is changed in the answers; the check that finds it; words of what was found; words of the cure.
FAULTS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "no environment": (
        {ENVIRONMENT: None},
        "GitHub environment prod",
        "there is none",
        f"gh api -X PUT repos/acme/bins{ENVIRONMENT} --input - <<<",
    ),
    "any branch": (
        {ENVIRONMENT: environment("prod", REVIEWERS, policy=None)},
        "GitHub environment prod: branches",
        "a job on any branch may deploy; only main should",
        f"gh api -X POST repos/acme/bins{RULES} -f name=main -f type=branch (set its reviewers again after it)",
    ),
    "every protected branch": (
        {
            ENVIRONMENT: environment(
                "prod", REVIEWERS, policy={"protected_branches": True, "custom_branch_policies": False}
            )
        },
        "GitHub environment prod: branches",
        "every protected branch may deploy",
        '"custom_branch_policies": true',
    ),
    "another branch too": (
        {RULES: listing("branch_policies", policy(7, "main"), policy(8, "release/*"), policy(9, "main", "tag"))},
        "GitHub environment prod: branches",
        "also allowed: branch release/*, tag main",
        f"gh api -X DELETE repos/acme/bins{RULES}/8 && gh api -X DELETE repos/acme/bins{RULES}/9",
    ),
    "another branch on the second page": (
        {
            RULES: listing(
                "branch_policies", *(policy(n, f"b{n}") for n in range(30)), policy(30, "main"), policy(31, "x")
            )
        },
        "GitHub environment prod: branches",
        "branch x",
        f"repos/acme/bins{RULES}/31",
    ),
    "no branch": (
        {RULES: listing("branch_policies")},
        "GitHub environment prod: branches",
        "no branch may deploy",
        "-f name=main",
    ),
    "nobody reviews": (
        {ENVIRONMENT: environment("prod", policy=SELECTED)},
        "GitHub environment prod: reviewers",
        "nobody has to approve",
        "https://github.com/acme/bins/settings/environments",
    ),
    "no reviewer is left": (
        {ENVIRONMENT: environment("prod", REVIEWERS | {"reviewers": []}, policy=SELECTED)},
        "GitHub environment prod: reviewers",
        "nobody has to approve",
        "add required reviewers",
    ),
    "dev's role in prod": (
        {
            f"{ENVIRONMENT}/variables": listing(
                "variables", variable("AWS_DEPLOY_ROLE_ARN", f"{ROLE}-dev-github-deploy")
            )
        },
        "GitHub environment prod: variables",
        "not the role binventory-prod-github-deploy",
        "--env prod",
    ),
    "another region in prod": (
        {
            f"{ENVIRONMENT}/variables": listing(
                "variables",
                variable("AWS_DEPLOY_ROLE_ARN", f"{ROLE}-prod-github-deploy"),
                variable("AWS_REGION", "eu-west-1"),
            )
        },
        "GitHub environment prod: variables",
        "jobs of prod get AWS_REGION eu-west-1, but its settings deploy to us-east-1",
        "gh variable set AWS_REGION --repo acme/bins --env prod --body us-east-1",
    ),
    "no role to deploy": (
        {f"{ENVIRONMENT}/variables": listing("variables")},
        "GitHub environment prod: variables",
        "not set: AWS_DEPLOY_ROLE_ARN",
        "gh variable set AWS_DEPLOY_ROLE_ARN --repo acme/bins --env prod",
    ),
    "no variables": (
        {"/actions/variables": listing("variables", variable("AWS_REGION", "us-east-1"))},
        "GitHub variables",
        "not set: AWS_DIFF_ROLE_ARN, AWS_TRAIN_ROLE_ARN, AWS_LOOKUP_ROLE_ARN",
        "gh variable set AWS_LOOKUP_ROLE_ARN --repo acme/bins",
    ),
    "an open branch": (
        {
            "/branches/main": {"name": "main", "protected": False},
            "/rules/branches/main": [{"type": "deletion", "ruleset_id": 42}],
        },
        "GitHub branch protection",
        "main is not protected",
        "gh api -X PUT repos/acme/bins/branches/main/protection --input - <<<",
    ),
    "a subject of other claims": (
        {SUBJECT: {"use_default": False, "include_claim_keys": ["repo", "job_workflow_ref"]}},
        "GitHub token subject",
        "made of other claims (repo, job_workflow_ref), so no role trusts it",
        "gh api -X PUT repos/acme/bins/actions/oidc/customization/sub -F use_default=true",
    ),
    "another default branch": (
        {"": {"id": 22, "full_name": "acme/bins", "owner": {"id": 11}, "default_branch": "trunk"}},
        "GitHub default branch",
        "trunk, but the roles trust main",
        "set github.branch: trunk",
    ),
    "other capitals": (
        {"": {"id": 22, "full_name": "Acme/bins", "owner": {"id": 11}, "default_branch": "main"}},
        "GitHub repository",
        "GitHub calls it Acme/bins, the settings acme/bins: tokens have GitHub's capitals",
        "set github.repository: Acme/bins, and deploy the GitHub stack",
    ),
    "another repository of that name": (
        {"": {"id": 23, "full_name": "acme/bins", "owner": {"id": 11}, "default_branch": "main"}},
        "GitHub repository",
        "has the numbers (11, 23), the settings say (11, 22)",
        "github.repository_id: 23",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_with_its_cure(github: Site, checks: Any, fault: str) -> None:
    changes, name, words, cure = FAULTS[fault]
    for path, answer in changes.items():
        if answer is None:
            del github.answers[BASE + path]
        else:
            github.answers[BASE + path] = answer
    code, found = checks()
    assert code == Exit.NOT_READY
    assert {other for other, check in found.items() if check["state"] == "missing"} == {name}
    assert words in found[name]["found"]
    assert cure in found[name]["cure"]


@pytest.mark.parametrize(
    "said",
    [
        {"use_immutable_subject": True, "sub_claim_prefix": "repo:acme@11/bins@22"},
        {"use_immutable_subject": False, "sub_claim_prefix": "repo:acme@11/bins@22"},
        {"use_immutable_subject": True},
    ],
    ids=["both", "prefix", "flag"],
)
def test_a_subject_with_numbers_needs_them_in_the_settings(
    github: Site, checks: Any, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any]
) -> None:
    """Without them every workflow ends with `Not authorized to perform sts:AssumeRoleWithWebIdentity`."""
    for name in ("OWNER_ID", "REPOSITORY_ID"):
        monkeypatch.delenv(f"BINVENTORY_GITHUB__{name}")
    github.answers[BASE + SUBJECT] = {"use_default": True, **said}
    code, found = checks()
    assert code == Exit.NOT_READY
    check = found["GitHub token subject"]
    assert check["found"] == "it begins with repo:acme@11/bins@22, which no role trusts"
    assert check["cure"] == "set github.owner_id: 11 and github.repository_id: 22, and deploy the GitHub stack"


@pytest.mark.parametrize("said", [{"sub_claim_prefix": "repo:acme/bins"}, {}], ids=["github.com", "Enterprise Server"])
def test_a_subject_of_names_is_trusted_with_the_numbers_or_without(
    github: Site, checks: Any, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any]
) -> None:
    github.answers[BASE + SUBJECT] = {"use_default": True, **said}
    assert checks()[1]["GitHub token subject"]["found"] == "repo:acme/bins"
    for name in ("OWNER_ID", "REPOSITORY_ID"):
        monkeypatch.delenv(f"BINVENTORY_GITHUB__{name}")
    code, found = checks()
    assert (code, found["GitHub token subject"]["state"]) == (Exit.OK, "good")


@pytest.mark.parametrize("env", ["dev", "prod"])
def test_an_environment_in_another_region_needs_its_variable(
    github: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, env: str
) -> None:
    """With that of the repository, the smoke test of prod would look in dev's region and take the deployment back."""

    def settings_of(name: str) -> Settings:
        found = load(name)
        return found.model_copy(update={"region": "eu-west-1"}) if name == "prod" else found

    monkeypatch.setattr("binventory.cli.doctor.settings_of", settings_of)
    assert run(["doctor", "--github", "--json", "--env", env]) == Exit.NOT_READY
    missing = [check for check in json.loads(capsys.readouterr().out) if check["state"] == "missing"]
    assert [check["name"] for check in missing] == ["GitHub environment prod: variables"]
    assert missing[0]["cure"] == "gh variable set AWS_REGION --repo acme/bins --env prod --body eu-west-1"
    answer = github.answers[f"{BASE}/environments/prod/variables"]
    answer["variables"].append(variable("AWS_REGION", "eu-west-1"))
    answer["total_count"] = 2
    assert run(["doctor", "--github", "--json", "--env", env]) == Exit.OK


def test_a_ruleset_protects_a_branch_and_an_organisation_gives_variables(github: Site, checks: Any) -> None:
    github.answers[f"{BASE}/branches/main"] = {"name": "main", "protected": False}
    github.answers[f"{BASE}/rules/branches/main"] = [{"type": "pull_request", "ruleset_id": 42}]
    shared = github.answers[f"{BASE}/actions/variables"]
    github.answers[f"{BASE}/actions/variables"] = listing("variables")
    github.answers[f"{BASE}/actions/organization-variables"] = shared
    code, found = checks()
    assert code == Exit.OK, found
    assert "pull request only" in found["GitHub branch protection"]["found"]


def test_an_environment_of_another_repository_needs_no_variable(
    github: Site, checks: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The variable is that of the environment whose settings name the repository."""
    del github.answers[f"{BASE}/environments/prod/variables"]
    _, found = checks()
    assert found["GitHub environment prod: variables"]["state"] == "unknown"
    assert "does not show /environments/prod/variables" in found["GitHub environment prod: variables"]["found"]


REFUSALS: dict[str, tuple[str, int, str, dict[str, str], str, str, str]] = {
    # path, status, message, headers, name of the check, its state, words
    "a stale token": ("", 401, "Bad credentials", {}, "GitHub token", "missing", "Bad credentials"),
    "not seen": ("", 404, "Not Found", {}, "GitHub repository", "missing", "or the token may not see it"),
    "too many": (
        "",
        403,
        "API rate limit exceeded for user ID 1.",
        {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "1796000000"},
        "GitHub token",
        "unknown",
        "rate limit is used up",
    ),
    "too fast": (
        "/actions/variables",
        429,
        "You have exceeded a secondary rate limit.",
        {"retry_after": "60"},
        "GitHub variables",
        "unknown",
        "rate limit is used up",
    ),
    "a right less": (
        "/environments/prod/variables",
        403,
        "Resource not accessible by personal access token",
        {"x_accepted_github_permissions": "environments=read"},
        "GitHub environment prod: variables",
        "unknown",
        "the token may not ask",
    ),
    "moved": ("", 301, "Moved Permanently", {}, "GitHub token", "missing", "has moved"),
    "a fault of GitHub": ("/branches/main", 502, "Server Error", {}, "GitHub branch protection", "unknown", "502"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_an_answer_that_refuses_is_named(github: Site, checks: Any, refusal: str) -> None:
    path, status, message, headers, name, state, words = REFUSALS[refusal]
    github.refuse(path, status, message, **headers)
    code, found = checks()
    assert (found[name]["state"], words in found[name]["found"]) == (state, True), found[name]
    assert found[name]["cure"]
    assert code == (Exit.NOT_READY if state == "missing" else Exit.OK)
    if "x_accepted_github_permissions" in headers:
        assert found[name]["cure"] == "give the token the permission environments=read"
    if "retry_after" in headers:
        assert found[name]["cure"] == "try again in 60 s"


def test_without_a_token_github_is_not_asked(
    github: Site, checks: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("GITHUB_TOKEN")
    monkeypatch.setenv("PATH", str(tmp_path))
    code, found = checks()
    assert code == Exit.NOT_READY
    assert list(found) == ["GitHub token"]
    assert "no token in GH_TOKEN or GITHUB_TOKEN" in found["GitHub token"]["found"]
    assert "gh auth login" in found["GitHub token"]["cure"]
    assert not github.asked


def test_the_command_line_of_github_gives_its_token(
    github: Site, checks: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("GITHUB_TOKEN")
    gh = tmp_path / "gh"
    gh.write_text(f'#!/bin/sh\n[ "$*" = "auth token --hostname 127.0.0.1" ] && echo {SECRET}\n')
    gh.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    code, found = checks()
    assert code == Exit.OK
    assert found["GitHub token"]["found"] == "from gh auth token"


def test_a_token_does_not_travel_unencrypted(github: Site, checks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_API_URL", "http://github.example.com/api/v3")
    code, found = checks()
    assert code == Exit.NOT_READY
    assert "unencrypted" in found["GitHub token"]["found"]


def test_an_address_that_is_no_github_is_named(github: Site, checks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:9")
    _, found = checks()
    assert found["GitHub token"]["state"] == "missing"
    assert "did not answer" in found["GitHub token"]["found"]
    github.answers[BASE] = {"hello": "world"}
    monkeypatch.setenv("GITHUB_API_URL", github.url)
    _, found = checks()
    assert "another form" in found["GitHub repository"]["found"]


def test_settings_without_a_repository_say_where_to_name_it(
    github: Site, checks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REPOSITORY", "OWNER_ID", "REPOSITORY_ID"):
        monkeypatch.delenv(f"BINVENTORY_GITHUB__{name}")
    code, found = checks()
    assert code == Exit.NOT_READY
    assert "set github.repository in settings/dev.yaml" in found["GitHub repository"]["cure"]
