"""An account in a local AWS that enforces policies, and the tokens with which GitHub's runners act in it.

The local AWS enforces policies and trust conditions; it does not check who signed a token, so tokens are written here.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore import UNSIGNED
from botocore.config import Config

from local_aws.server import LocalAws
from tests.conftest import REPOSITORY

ISSUER = "https://token.actions.githubusercontent.com"
GITHUB = {
    "BINVENTORY_GITHUB__REPOSITORY": "acme/bins",
    "BINVENTORY_GITHUB__OWNER_ID": "11",
    "BINVENTORY_GITHUB__REPOSITORY_ID": "22",
}


@dataclass(frozen=True)
class Account:
    """A local account into which an administrator has deployed the stacks once."""

    aws: LocalAws
    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    """Variables that change settings, for the administrator and every workflow alike."""

    def shell(self, script: Step | str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Runs a step of a workflow in the shell that GitHub takes for it, or a script in bash."""
        ran = script if isinstance(script, Step) else Step(script, "bash")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "CDK_"))}
        return subprocess.run(
            ran.command(),
            cwd=self.folder,
            env={**inherited, **self.aws.environment(), **GITHUB, **self.settings, "CI": "true", **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def deploy(self) -> None:
        """Bootstraps the account and deploys every stack, as its administrator."""
        bootstrap = (
            f"(cd /tmp && {REPOSITORY}/node_modules/.bin/cdk bootstrap aws://{self.aws.account}/{self.aws.region})"
        )
        deploy = "node_modules/.bin/cdk deploy --all --require-approval never -c env=dev"
        done = self.shell(f"source .venv/bin/activate\n{bootstrap}\n{deploy}", {})
        assert done.returncode == 0, done.stdout + done.stderr

    def client(self, service: str) -> Any:
        """A client with the administrator's rights."""
        create: Any = boto3.client
        return create(
            service,
            endpoint_url=self.aws.endpoint_url,
            region_name=self.aws.region,
            aws_access_key_id=self.aws.environment()["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.aws.environment()["AWS_SECRET_ACCESS_KEY"],
        )

    def credentials(self, intent: str, subject: str) -> dict[str, str]:
        """The runner's credentials for a token with this subject; raises ClientError if the role does not trust it."""
        sts = boto3.client(
            "sts",
            endpoint_url=self.aws.endpoint_url,
            region_name=self.aws.region,
            config=Config(signature_version=UNSIGNED),
        )
        given = sts.assume_role_with_web_identity(
            RoleArn=f"arn:aws:iam::{self.aws.account}:role/binventory-dev-github-{intent}",
            RoleSessionName="GitHubActions",
            WebIdentityToken=token(subject),
        )["Credentials"]
        return _variables(given)

    def chained(self, rights: Mapping[str, str], workflow: str, role: str) -> dict[str, str]:
        """The credentials that these credentials get where a workflow chains roles, tagged as the action tags them."""
        create: Any = boto3.client
        sts = create(
            "sts",
            endpoint_url=self.aws.endpoint_url,
            region_name=self.aws.region,
            aws_access_key_id=rights["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=rights["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=rights["AWS_SESSION_TOKEN"],
        )
        (asked,) = chainings(workflow)
        tags = [] if asked.get("role-skip-session-tagging") else [{"Key": "Repository", "Value": "acme/bins"}]
        arn = f"arn:aws:iam::{self.aws.account}:role/{role}"
        return _variables(sts.assume_role(RoleArn=arn, RoleSessionName="GitHubActions", Tags=tags)["Credentials"])


def _variables(given: Mapping[str, Any]) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
        "AWS_SESSION_TOKEN": given["SessionToken"],
    }


def token(subject: str) -> str:
    """A token shaped like GitHub's."""
    claims = {"iss": ISSUER, "aud": "sts.amazonaws.com", "sub": subject, "iat": 1, "exp": 4102444800}
    parts = [{"alg": "RS256", "typ": "JWT", "kid": "local"}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, base64.urlsafe_b64encode(b"unsigned").decode()])


# What a runner starts for each `shell:`, from GitHub's workflow syntax; None is a step for which no shell is named.
_SHELLS: dict[str | None, tuple[str, ...]] = {
    None: ("bash", "-e"),
    "bash": ("bash", "--noprofile", "--norc", "-eo", "pipefail"),
}


@dataclass(frozen=True)
class Step:
    """A `run` step of a workflow: its script, and the shell named by the step, its job or its workflow."""

    script: str
    shell: str | None

    def command(self) -> list[str]:
        """The command with which a runner on Linux runs it. The test skips where its jq is not installed."""
        if re.search(r"(?<!-)\bjq ", self.script) and shutil.which("jq") is None:
            pytest.skip("the step uses jq, which GitHub's runners have and this computer has not")
        return [*_SHELLS[self.shell], "-c", self.script]


def run_steps(workflow: str) -> Iterator[tuple[str, Step]]:
    """Name and step of each `run` step of one workflow."""
    document = _document(workflow)
    for job in document["jobs"].values():
        default = _shell(job) or _shell(document)
        for step in job["steps"]:
            if "run" in step:
                yield step["name"], Step(step["run"], step.get("shell", default))


def _document(workflow: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / f".github/workflows/{workflow}.yml").read_text())
    return found


def _shell(holder: Mapping[str, Any]) -> str | None:
    found: str | None = holder.get("defaults", {}).get("run", {}).get("shell")
    return found


def step(workflow: str, name: str) -> Step:
    """One step by its name."""
    return next(found for called, found in run_steps(workflow) if called == name)


def chainings(workflow: str) -> list[dict[str, Any]]:
    """What each step of a workflow asks for that assumes a role with the credentials of a step before it."""
    asked = (step.get("with", {}) for job in _document(workflow)["jobs"].values() for step in job["steps"])
    return [item for item in asked if item.get("role-chaining")]


def checkout(folder: Path) -> Path:
    """A folder that looks like the repository, with a separate `cdk.out`."""
    for entry in REPOSITORY.iterdir():
        if entry.name not in {"build", "cdk.out", ".git"}:
            (folder / entry.name).symlink_to(entry)
    return folder
