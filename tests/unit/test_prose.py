"""Docs, comments, docstrings, messages and help avoid phrases that a reader must read twice.

The list is short and has no exceptions for single files: write a plain sentence with AWS's noun instead.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PHRASES = (
    "goes on", "is said", "of its own", "one's own", "road", "roads", "thing", "things", "told", "what has", "whoever",
)  # fmt: skip
_PHRASE = re.compile(rf"\b(?:{'|'.join(PHRASES)})\b", re.IGNORECASE)
_TEXT = (".cfg", ".html", ".in", ".js", ".md", ".toml", ".yaml", ".yml")
_HERE = Path(__file__).relative_to(REPOSITORY).as_posix()


def passages(name: str, text: str) -> Iterator[tuple[int, str]]:
    """Line and text of each passage that people read: a page's paragraphs, a module's comments and strings.

    Lines that belong together are one passage, so that a phrase is found across the end of a line.
    """
    if not name.endswith(".py"):
        for match in re.finditer(r"\S[\s\S]*?(?=\n\s*\n|\Z)", text):
            yield text.count("\n", 0, match.start()) + 1, match[0]
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    lines: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if lines and lines[-1][0] != token.start[0] - 1:
                yield lines[0][0], " ".join(words for _, words in lines)
                lines = []
            lines.append((token.start[0], token.string.lstrip("# ")))
    if lines:
        yield lines[0][0], " ".join(words for _, words in lines)


def findings(name: str, text: str) -> list[str]:
    """`FILE:LINE: PHRASE` for each of the phrases in a file; LINE is where its passage begins."""
    found = [
        (line, match[0])
        for line, passage in passages(name, text)
        for match in _PHRASE.finditer(" ".join(passage.split()))
    ]
    return [f"{name}:{line}: {phrase}" for line, phrase in sorted(found)]


def written_here() -> list[str]:
    """Every file of the repository that people write prose in, but this one."""
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    names = listed.stdout.splitlines()
    return [name for name in names if name != _HERE and (name.endswith((".py", *_TEXT)) or Path(name).suffix == "")]


def text_of(name: str) -> str:
    """A file's text; empty if it was removed but not yet committed."""
    path = REPOSITORY / name
    return path.read_text() if path.is_file() else ""


def test_no_sentence_has_to_be_read_twice() -> None:
    assert [finding for name in written_here() for finding in findings(name, text_of(name))] == []


def test_a_phrase_is_found_wherever_people_read_it() -> None:
    code = '''"""A tool
of its own."""
import typer  # what has
# broken

told = f"the job goes {1} on"  # it goes
# on
MESSAGE = "Whoever calls" " it"
'''
    found = ["page.py:1: of its own", "page.py:3: what has", "page.py:6: goes on", "page.py:8: Whoever"]
    assert findings("page.py", code) == found
    assert findings("page.md", "# Roads\n\nThe endpoint\nis\nsaid to be up. Nothing.\n") == [
        "page.md:1: Roads",
        "page.md:3: is said",
    ]
