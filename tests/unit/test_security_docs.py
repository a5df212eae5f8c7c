"""The security pages point at code and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/security.md"])
def test_every_path_that_a_security_page_names_exists(repository: Path, page: str) -> None:
    text = (repository / page).read_text()
    named = re.findall(
        r"`((?:stacks|tests|inference_code|training_code|binventory|promotion_code|\.github)/[\w./-]*)`", text
    )
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert named or links
    missing = [path for path in named if not (repository / path).exists()]
    missing += [link for link in links if not ((repository / page).parent / link).exists()]
    assert missing == []


def test_the_limits_are_those_of_the_code(repository: Path) -> None:
    import photo
    from serving import artefact, requests
    from serving.admission import Limits

    text = (repository / "SECURITY.md").read_text()
    limits = Limits()
    assert (
        f"{limits.body_bytes // 2**20} MiB, {limits.body_seconds:.0f} s for its body, {requests.MAX_PHOTOS} photos"
        in text
    )
    assert f"{limits.requests} requests, {limits.photos} photos, {limits.bytes // 2**20} MiB" in text
    assert f"{photo.DEFAULT_MAX_BYTES // 2**20} MiB, {photo.DEFAULT_MAX_PIXELS // 10**6} million pixels" in text
    assert f"sides at most {photo.MAX_ASPECT_RATIO:.0f} to 1" in text
    assert f"{artefact.MAX_MODEL_BYTES // 2**30} GiB unpacked, {artefact.MAX_MEMBERS} members" in text
