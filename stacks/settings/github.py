"""GitHub Actions: the repository whose workflows may act on this environment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from stacks.settings.section import Section, matching, wrong_setting

RepositoryName = Annotated[
    str, matching(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}", "owner/name, such as acme/bins", "none")
]
ProviderArn = Annotated[
    str,
    matching(
        r"arn:aws:iam::\d{12}:oidc-provider/token\.actions\.githubusercontent\.com",
        "the ARN of GitHub's provider, arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com",
        "create",
    ),
]


class GithubSettings(Section):
    """The GitHub repository whose workflows may act on this environment, and how its tokens are recognised."""

    repository: RepositoryName = "none"
    """`owner/name`, with GitHub's capitals; `none`: there is no GitHub stack."""
    owner_id: int | None = Field(default=None, ge=1)
    """Number of the owner. With both numbers, tokens whose subject has them are accepted too: those of repositories
    that were created, renamed or transferred since July 2026. `gh api repos/OWNER/NAME --jq '.owner.id, .id'`
    prints the numbers."""
    repository_id: int | None = Field(default=None, ge=1, validate_default=True)
    """Number of the repository, given together with that of its owner."""
    branch: Annotated[
        str, matching(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,200}", "a branch of letters, digits and _ . / -, such as main")
    ] = "main"
    """The only branch whose workflows may train."""
    provider: ProviderArn = "create"
    """`create`, or the ARN of the identity provider for GitHub's tokens: an account can have only one."""

    @field_validator("repository_id")
    @classmethod
    def _check_both_numbers(cls, value: int | None, info: ValidationInfo) -> int | None:
        owner = info.data.get("owner_id")
        if "owner_id" in info.data and (value is None) != (owner is None):
            raise wrong_setting("and owner_id must be set together: an immutable subject has both numbers")
        return value

    def subjects(self, claim: str) -> list[str]:
        """Every `sub` that GitHub writes for the claim, such as `pull_request` or `environment:dev`.

        The immutable form contains the numbers of owner and repository, so a name that was deleted and registered
        again does not match. It is accepted only if the numbers are set: a pattern in their place would trust
        everybody who registers the name.
        """
        subjects = [f"repo:{self.repository}:{claim}"]
        if self.owner_id is not None and self.repository_id is not None:
            owner, name = self.repository.split("/")
            subjects.append(f"repo:{owner}@{self.owner_id}/{name}@{self.repository_id}:{claim}")
        return subjects
