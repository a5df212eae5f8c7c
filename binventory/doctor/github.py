"""Whether the repository on GitHub is set up as docs/github.md asks.

The roles of GitHub Actions trust every job of an environment, so the environment's branch rules, its reviewers and the
protection of the branch decide who can deploy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from binventory.core.errors import Exit, Problem
from binventory.doctor.check import Check, State, asked
from binventory.doctor.github_api import AbsentError, GitHub, find_token

if TYPE_CHECKING:
    from stacks.settings import Settings

_OF_REPOSITORY = ("AWS_REGION", "AWS_DIFF_ROLE_ARN", "AWS_TRAIN_ROLE_ARN", "AWS_LOOKUP_ROLE_ARN")
_OF_ENVIRONMENT = "AWS_DEPLOY_ROLE_ARN"
_DEV = "dev"
_REVIEWED = "prod"
_PROTECTION = {
    "required_status_checks": None,
    "enforce_admins": True,
    "required_pull_request_reviews": {"required_approving_review_count": 1, "require_code_owner_reviews": True},
    "restrictions": None,
}


def examine_github(settings: Settings, environments: Sequence[Settings]) -> Iterator[Check]:
    """Checks the repository that the settings name, and in it every environment.

    Args:
        settings: of the environment that the command names.
        environments: the settings of all of them.
    """
    github = settings.github
    name = "GitHub repository"
    if github.repository == "none":
        cure = f"set github.repository in settings/{settings.environment}.yaml: docs/github.md"
        yield Check(name, "missing", "the settings name none, so no workflow deploys", cure)
        return
    try:
        token = find_token()
        api = GitHub(token, github.repository)
        repository = _Repository.of(api.get())
    except AbsentError:
        found = f"{github.repository} is not there, or the token may not see it"
        yield Check(name, "missing", found, "correct github.repository, or give the token the repository")
        return
    except (KeyError, TypeError, ValueError) as error:
        yield Check(name, "unknown", f"the answer has another form: {error!r}", "check GITHUB_API_URL")
        return
    except Problem as problem:
        state: State = "missing" if problem.code in (Exit.NOT_READY, Exit.USAGE) else "unknown"
        yield Check("GitHub token", state, f"{problem.what}: {problem.why}", problem.cure)
        return
    yield Check("GitHub token", "good", f"from {token.source}")
    yield _repository(name, settings, repository)
    yield _asked_of("GitHub token subject", partial(_subject, api, settings, repository))
    yield _default_branch(settings, repository)
    yield _asked_of("GitHub branch protection", partial(_protection, api, settings))
    # Its variables are of dev: the workflows that read them look at no other environment.
    dev = next(
        (of for of in environments if of.environment == _DEV and of.github.repository == github.repository), None
    )
    yield _asked_of("GitHub variables", partial(_variables, api, dev or settings))
    for environment in environments:
        yield from _environment(api, environment, github.repository, github.branch)


@dataclass(frozen=True)
class _Repository:
    """What GitHub says of it."""

    name: str
    numbers: tuple[int, int]
    """Of owner and repository."""
    default_branch: str

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> _Repository:
        numbers = (int(found["owner"]["id"]), int(found["id"]))
        return cls(str(found["full_name"]), numbers, str(found["default_branch"]))

    @property
    def cure(self) -> str:
        """How the settings get its numbers."""
        owner, repository = self.numbers
        return f"set github.owner_id: {owner} and github.repository_id: {repository}, and deploy the GitHub stack"


def _repository(name: str, settings: Settings, found: _Repository) -> Check:
    """Its name and its numbers, which the subjects of tokens carry: a wrong one closes every role.

    GitHub finds the repository whatever the capitals, but writes them into its tokens as they are, and IAM compares
    them: https://github.com/aws-actions/configure-aws-credentials/issues/1100
    """
    github, numbers = settings.github, found.numbers
    if found.name != github.repository:
        cure = f"set github.repository: {found.name}, and deploy the GitHub stack"
        words = f"GitHub calls it {found.name}, the settings {github.repository}: tokens have GitHub's capitals"
        return Check(name, "missing", words, cure)
    known = (github.owner_id, github.repository_id)
    if None not in known and known != numbers:
        words = f"{github.repository} has the numbers {numbers}, the settings say {known}"
        return Check(name, "missing", words, found.cure)
    return Check(name, "good", found.name)


def _subject(api: GitHub, settings: Settings, found: _Repository) -> Check:
    """How the subjects of tokens begin: the roles compare whole subjects, so another beginning closes every role.

    It has the numbers in repositories that were created, renamed or transferred since July 2026, or have turned
    that on: https://github.blog/changelog/2026-04-23-immutable-subject-claims-for-github-actions-oidc-tokens
    GitHub Enterprise Server does not say how it begins; there it has the names.
    """
    name, github = "GitHub token subject", settings.github
    path = "/actions/oidc/customization/sub"
    said = api.get(path)
    if not said["use_default"]:
        claims = ", ".join(said.get("include_claim_keys") or ("those that the organization chose",))
        cure = f"gh api -X PUT repos/{github.repository}{path} -F use_default=true"
        return Check(name, "missing", f"it is made of other claims ({claims}), so no role trusts it", cure)
    owner, repository = found.numbers
    with_numbers = github.model_copy(update={"owner_id": owner, "repository_id": repository})
    plain, numbered = (subject.removesuffix(":") for subject in with_numbers.subjects(""))
    begins = said.get("sub_claim_prefix") or (numbered if said.get("use_immutable_subject") else plain)
    if f"{begins}:" not in github.subjects(""):
        return Check(name, "missing", f"it begins with {begins}, which no role trusts", found.cure)
    return Check(name, "good", begins)


def _default_branch(settings: Settings, found: _Repository) -> Check:
    """Schedules run on the default branch, and the role of training trusts the settings' branch only."""
    default, trusted = found.default_branch, settings.github.branch
    if default == trusted:
        return Check("GitHub default branch", "good", default)
    changing = f"gh api -X PATCH repos/{settings.github.repository} -f default_branch={trusted}"
    words = f"{default}, but the roles trust {trusted}: scheduled workflows get no credentials"
    return Check("GitHub default branch", "missing", words, f"set github.branch: {default}, or: {changing}")


def _protection(api: GitHub, settings: Settings) -> Check:
    """Whether nobody can push to the branch alone: by branch protection, or by a ruleset."""
    name, branch, repository = "GitHub branch protection", settings.github.branch, settings.github.repository
    cure = f"gh api -X PUT repos/{repository}/branches/{branch}/protection --input - <<< '{json.dumps(_PROTECTION)}'"
    try:
        found = api.get(f"/branches/{branch}")
    except AbsentError:
        return Check(name, "missing", f"there is no branch {branch}", "push it, or correct github.branch")
    if found["protected"]:
        return Check(name, "good", f"{branch} is protected")
    kinds = {str(rule["type"]) for rule in api.get(f"/rules/branches/{branch}")}
    if "pull_request" in kinds:
        return Check(name, "good", f"a ruleset lets changes reach {branch} by pull request only")
    why = "every person who may write can push and so deploy without a review"
    return Check(name, "missing", f"{branch} is not protected: {why}", cure)


def _variables(api: GitHub, settings: Settings) -> Check:
    """The variables of the repository; the organisation may give them too."""
    name, repository = "GitHub variables", settings.github.repository
    found = _values(api, "/actions/variables")
    if any(not found.get(wanted) for wanted in _OF_REPOSITORY):
        with suppress(AbsentError):  # the owner may be a person
            found = _values(api, "/actions/organization-variables") | found
    absent = [wanted for wanted in _OF_REPOSITORY if not found.get(wanted)]
    if absent:
        cure = "; ".join(f"gh variable set {wanted} --repo {repository} --body VALUE" for wanted in absent)
        where = "the values are outputs of the GitHub stack: docs/github.md"
        return Check(name, "missing", f"not set: {', '.join(absent)}", f"{cure} ({where})")
    if found["AWS_REGION"] != settings.region:
        words = f"AWS_REGION is {found['AWS_REGION']}, but the settings deploy to {settings.region}"
        return Check(name, "missing", words, f"gh variable set AWS_REGION --repo {repository} --body {settings.region}")
    for intent in ("diff", "train"):
        wanted = f"AWS_{intent.upper()}_ROLE_ARN"
        if not found[wanted].endswith(f"-github-{intent}"):
            words = f"{wanted} is {found[wanted]}, not the role that ends in -github-{intent}"
            return Check(name, "missing", words, f"gh variable set {wanted} --repo {repository} --body VALUE")
    return Check(name, "good", ", ".join(_OF_REPOSITORY))


def _environment(api: GitHub, settings: Settings, repository: str, branch: str) -> Iterator[Check]:
    """One environment: that it exists, which branches may use it, who reviews, and its variable."""
    environment = settings.environment
    name, path = f"GitHub environment {environment}", f"/environments/{environment}"
    try:
        found = api.get(path)
    except AbsentError:
        words = (
            "there is none, or the token may not see it; GitHub makes it without rules for the first job that names it"
        )
        yield Check(name, "missing", words, _limiting(repository, path))
        return
    except Problem as problem:
        yield Check(name, "unknown", problem.what, problem.cure)
        return
    yield Check(name, "good", "exists")
    yield _asked_of(f"{name}: branches", lambda: _branches(api, found, repository, environment, branch))
    if environment == _REVIEWED:
        yield _reviewers(f"{name}: reviewers", found, repository)
    if settings.github.repository == repository:
        yield _asked_of(f"{name}: variables", lambda: _deploy_role(api, settings, repository))


def _asked_of(name: str, ask: Callable[[], Check]) -> Check:
    try:
        return asked(name, ask)
    except AbsentError as absent:
        cure = "give the token read access to Actions, Environments and Variables"
        return Check(name, "unknown", f"GitHub does not show {absent}", cure)
    except (KeyError, TypeError, ValueError) as error:
        return Check(name, "unknown", f"GitHub's answer has another form: {error!r}", "check GITHUB_API_URL")


def _branches(api: GitHub, found: Mapping[str, Any], repository: str, environment: str, branch: str) -> Check:
    name, path = f"GitHub environment {environment}: branches", f"/environments/{environment}"
    adding = f"gh api -X POST repos/{repository}{path}/deployment-branch-policies -f name={branch} -f type=branch"
    policy = found.get("deployment_branch_policy")
    if not policy or not policy["custom_branch_policies"]:
        which = "every protected branch" if policy else "a job on any branch"
        words = f"{which} may deploy; only {branch} should"
        # A PUT without them removes reviewers and wait timer.
        kept = " (set its reviewers again after it)" if found.get("protection_rules") else ""
        return Check(name, "missing", words, f"{_limiting(repository, path)} && {adding}{kept}")
    rules = api.listed(f"{path}/deployment-branch-policies", "branch_policies")
    wanted = [rule for rule in rules if (rule["name"], rule.get("type", "branch")) == (branch, "branch")]
    others = [rule for rule in rules if rule not in wanted]
    cures = [f"gh api -X DELETE repos/{repository}{path}/deployment-branch-policies/{rule['id']}" for rule in others]
    if others:
        named = ", ".join(f"{rule.get('type', 'branch')} {rule['name']}" for rule in others)
        return Check(name, "missing", f"also allowed: {named}", " && ".join([*cures, *([] if wanted else [adding])]))
    if not wanted:
        return Check(name, "missing", "no branch may deploy", adding)
    return Check(name, "good", f"only {branch}")


def _limiting(repository: str, path: str) -> str:
    """The command that lets only branches that are named use an environment; it makes one that is not there."""
    policy = {"deployment_branch_policy": {"protected_branches": False, "custom_branch_policies": True}}
    return f"gh api -X PUT repos/{repository}{path} --input - <<< '{json.dumps(policy)}'"


def _reviewers(name: str, found: Mapping[str, Any], repository: str) -> Check:
    rules = [rule for rule in found.get("protection_rules", ()) if rule["type"] == "required_reviewers"]
    people = [reviewer for rule in rules for reviewer in rule.get("reviewers", ())]
    if people:
        known = [str(item["reviewer"].get("login") or item["reviewer"].get("slug")) for item in people]
        return Check(name, "good", ", ".join(known))
    page = f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com').rstrip('/')}/{repository}/settings/environments"
    return Check(name, "missing", "nobody has to approve a deployment", f"add required reviewers at {page}")


def _deploy_role(api: GitHub, settings: Settings, repository: str) -> Check:
    environment = settings.environment
    name = f"GitHub environment {environment}: variables"
    role = f"{settings.prefix}-github-deploy"
    setting = f"gh variable set {_OF_ENVIRONMENT} --repo {repository} --env {environment} --body VALUE"
    cure = f"{setting} (output DeployRoleArn of the stack {settings.stack_name('github')})"
    values = _values(api, f"/environments/{environment}/variables")
    value = values.get(_OF_ENVIRONMENT, "")
    if not value:
        return Check(name, "missing", f"not set: {_OF_ENVIRONMENT}", cure)
    if value.rpartition("/")[2] != role:
        return Check(name, "missing", f"{_OF_ENVIRONMENT} is {value}, not the role {role}", cure)
    region = values.get("AWS_REGION") or _values(api, "/actions/variables").get("AWS_REGION", settings.region)
    if region != settings.region:
        words = f"jobs of {environment} get AWS_REGION {region}, but its settings deploy to {settings.region}"
        wanted = f"gh variable set AWS_REGION --repo {repository} --env {environment} --body {settings.region}"
        return Check(name, "missing", words, wanted)
    return Check(name, "good", _OF_ENVIRONMENT)


def _values(api: GitHub, path: str) -> dict[str, str]:
    return {str(item["name"]): str(item["value"]) for item in api.listed(path, "variables")}
