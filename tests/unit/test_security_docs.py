"""The code and tests that the security pages name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/security.md"])
def test_every_path_that_a_security_page_names_exists(repository: Path, page: str) -> None:
    text = (repository / page).read_text()
    named = re.findall(
        r"`((?:stacks|tests|inference_code|training_code|binventory|lambda_code|\.github)/[\w./-]*)`", text
    )
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert named or links
    missing = [path for path in named if not (repository / path).exists()]
    missing += [link for link in links if not ((repository / page).parent / link).exists()]
    assert missing == []


def test_every_control_names_tests_that_exist(repository: Path) -> None:
    text = (repository / "docs/security.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and line.count(" | ") == 2][1:]
    held = [re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row) for row in rows]
    assert len(rows) > 30
    assert [row for row, tests in zip(rows, held, strict=True) if not tests] == []
    for path, name in (test for tests in held for test in tests):
        assert f"def {name}(" in (repository / path).read_text(), f"{path} has no {name}"


def test_the_limits_are_numbered(repository: Path) -> None:
    table = (repository / "SECURITY.md").read_text().partition("## Limits")[2].partition("## ")[0]
    numbers = re.findall(r"^\| (\d+) \|", table, re.MULTILINE)
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    assert len(numbers) >= 7


def test_the_limits_are_those_of_the_code(repository: Path) -> None:
    import photo
    import photo_parts
    from serving import archive, artefact, connections, refusals
    from serving.admission import AdmissionLimits

    text = (repository / "SECURITY.md").read_text()
    limits = AdmissionLimits()
    assert (
        f"{limits.body_bytes // 2**20} MiB, {limits.body_seconds:.0f} s for its body, {refusals.MAX_PHOTOS} photos"
        in text
    )
    assert f"{limits.requests} requests, {limits.photos} photos, {limits.bytes // 2**20} MiB" in text
    assert f"{photo.MAX_BYTES // 2**20} MiB, {photo.MAX_PIXELS // 10**6} million pixels" in text
    assert f"sides at most {photo.MAX_ASPECT_RATIO:.0f} to 1" in text
    assert f"{photo.MAX_SCANS} scans, {photo.MAX_SCANNED_PIXELS // 10**6} million pixels in all scans" in text
    assert f"{photo_parts.MAX_PARTS} segments or chunks, {photo.DECODE_SECONDS:.0f} s of a processor" in text
    assert f"{connections.HEADER_SECONDS:.0f} s for its headers, {limits.answer_seconds:.0f} s to its answer" in text
    assert f"{connections.MAX_CONNECTIONS} connections" in text
    archives = f"{archive.MAX_MEMBERS} members, {archive.MAX_HEADER_BYTES // 2**10} KiB of headers"
    assert f"{artefact.MAX_MODEL_BYTES // 2**30} GiB unpacked, {archives}" in text
