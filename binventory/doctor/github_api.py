"""GitHub's REST API, to read: its address, the token, and why an answer did not come."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from binventory.core.errors import Exit, Problem

if TYPE_CHECKING:
    import httpx

_ADDRESS = "https://api.github.com"
_VARIABLES = ("GH_TOKEN", "GITHUB_TOKEN")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SECONDS = 20
_SIGN_IN = (
    "sign in with `gh auth login`, or export GITHUB_TOKEN with a token that may read Actions, Environments, Metadata "
    "and Variables of the repository"
)


class AbsentError(Exception):
    """GitHub answers that there is none, or that the token may not see it."""


@dataclass(frozen=True)
class Token:
    """A token, and where it was found."""

    secret: str = field(repr=False)
    source: str


def address() -> str:
    """Where the API is: GITHUB_API_URL, which GitHub Enterprise Server needs, or GitHub's.

    Raises:
        Problem: the token would travel unencrypted to another machine.
    """
    found = os.environ.get("GITHUB_API_URL", "").rstrip("/") or _ADDRESS
    parts = urlsplit(found)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return found
    raise Problem(
        "GitHub was not asked",
        f"GITHUB_API_URL is {found}: the token would travel unencrypted",
        "export GITHUB_API_URL=https://..., or unset it for github.com",
        code=Exit.USAGE,
    )


def find_token() -> Token:
    """The token of the environment, or of GitHub's command line. Raises Problem without one."""
    for name in _VARIABLES:
        if secret := os.environ.get(name, "").strip():
            return Token(secret, name)
    if gh := shutil.which("gh"):
        host = urlsplit(address()).hostname or ""
        command = [gh, "auth", "token", "--hostname", "github.com" if host == "api.github.com" else host]
        try:
            said = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired):
            said = None
        if said and said.returncode == 0 and said.stdout.strip():
            return Token(said.stdout.strip(), "gh auth token")
    raise Problem(
        "GitHub was not asked", f"there is no token in {' or '.join(_VARIABLES)}, and none of `gh`", _SIGN_IN,
        code=Exit.NOT_READY,
    )  # fmt: skip


class GitHub:
    """Reads one repository, over one connection."""

    def __init__(self, token: Token, repository: str) -> None:
        self._token = token
        self._base = f"{address()}/repos/{repository}"

    def get(self, path: str = "", **query: str | int) -> Any:
        """The decoded answer.

        Args:
            path: behind the repository's, such as `/environments/dev`.

        Raises:
            AbsentError: 404.
            Problem: no answer, or one that refuses.
        """
        import httpx

        try:
            reply = self._client.get(f"{self._base}{path}", params=dict(query))
        except httpx.HTTPError as error:
            raise Problem(
                f"GitHub did not answer: {error or type(error).__name__}",
                self._base,
                "check the network and GITHUB_API_URL",
                code=Exit.NOT_READY,
            ) from None
        if reply.status_code == 404:
            raise AbsentError(path)
        if reply.status_code != 200:
            raise _refusal(reply)
        try:
            return reply.json()
        except ValueError:
            raise Problem(
                f"{self._base}{path} does not answer with JSON", "it is no REST API of GitHub", "check GITHUB_API_URL"
            ) from None

    def listed(self, path: str, member: str) -> list[Mapping[str, Any]]:
        """Every item of a listing, which GitHub gives in pages."""
        found: list[Mapping[str, Any]] = []
        page = 1
        while True:
            answer = self.get(path, per_page=30, page=page)
            found += answer[member]
            if not answer[member] or len(found) >= int(answer["total_count"]):
                return found
            page += 1

    @cached_property
    def _client(self) -> httpx.Client:
        import httpx

        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self._token.secret}",
            "X-GitHub-Api-Version": "2022-11-28",
            "User-Agent": "binventory",
        }
        return httpx.Client(headers=headers, timeout=_SECONDS)


def _refusal(reply: httpx.Response) -> Problem:
    """An answer that is none, in words, with its cure."""
    try:
        document = reply.json()
        said = str(document.get("message", "")) if isinstance(document, dict) else ""
    except ValueError:
        said = ""
    said = said or f"HTTP {reply.status_code}"
    if reply.status_code == 401:
        return Problem(f"GitHub refuses the token: {said}", "HTTP 401", _SIGN_IN, code=Exit.NOT_READY)
    if reply.is_redirect:
        return Problem("The repository has moved", said, "set github.repository to its new name", code=Exit.NOT_READY)
    if reply.status_code in {403, 429}:
        limited = reply.headers.get("x-ratelimit-remaining") == "0" or "rate limit" in said.lower()
        if limited:
            return Problem(f"GitHub's rate limit is used up: {said}", "too many requests", f"try again {_when(reply)}")
        wanted = reply.headers.get("x-accepted-github-permissions", "")
        cure = f"give the token the permission {wanted}" if wanted else _SIGN_IN
        return Problem(f"the token may not ask: {said}", f"HTTP {reply.status_code}", cure)
    return Problem(f"GitHub answers HTTP {reply.status_code}: {said}", "it is not one of the documented answers",
                   "try again; https://www.githubstatus.com says whether GitHub has a fault")  # fmt: skip


def _when(reply: httpx.Response) -> str:
    if (after := reply.headers.get("retry-after", "")).isdigit():
        return f"in {after} s"
    if (reset := reply.headers.get("x-ratelimit-reset", "")).isdigit():
        return f"after {datetime.fromtimestamp(int(reset), UTC):%H:%M} UTC"
    return "later"
