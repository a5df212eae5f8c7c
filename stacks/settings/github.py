"""Settings of the GitHub side: which repository may act on this environment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from stacks.settings.section import Section

RepositoryName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}$")]
ProviderArn = Annotated[
    str, StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:oidc-provider/token\.actions\.githubusercontent\.com$")
]


class GithubSettings(Section):
    """Which GitHub repository may act on this environment, and how its tokens are told apart from others."""

    repository: Literal["none"] | RepositoryName = "none"
    """`owner/name`; `none` makes no GitHub stack."""
    owner_id: int | None = Field(default=None, ge=1)
    """Number of the owner. With both numbers, tokens with an immutable subject (repositories made since 2026) are
    accepted too: `gh api repos/OWNER/NAME --jq '.owner.id, .id'` prints them."""
    repository_id: int | None = Field(default=None, ge=1)
    """Number of the repository, beside that of its owner."""
    branch: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w./-]{0,200}$")] = "main"
    """The only branch whose workflows may train."""
    provider: Literal["create"] | ProviderArn = "create"
    """An account has room for one provider of GitHub's tokens: give its ARN when it exists already."""

    def subjects(self, claim: str) -> list[str]:
        """Every `sub` that GitHub writes for the claim, such as `pull_request` or `environment:dev`.

        The immutable form carries the numbers of owner and repository, so that a deleted and newly registered name
        is somebody else. It is only trusted when the numbers are known: a pattern instead of them would trust anyone
        who takes the name.
        """
        subjects = [f"repo:{self.repository}:{claim}"]
        if self.owner_id is not None and self.repository_id is not None:
            owner, name = self.repository.split("/")
            subjects.append(f"repo:{owner}@{self.owner_id}/{name}@{self.repository_id}:{claim}")
        return subjects
