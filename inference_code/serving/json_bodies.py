"""JSON bodies, read in place: where each photo's base64 text lies in the body, before one is decoded.

`json.loads` builds a whole document first, whatever is in it: of 26 MB of brackets it makes a gigabyte of lists. The
documents read here have one shape, so the bytes are scanned once, and a document of another shape ends the scan.
"""

from __future__ import annotations

import binascii
import json
import re
from dataclasses import dataclass
from typing import Final

from serving.refusals import MAX_PHOTOS, Refusal, RequestError, too_many_photos

_SPACES: Final = re.compile(rb"[ \t\r\n]*+")
# RFC 8259, sections 6 and 7. Possessive, so that a text of any length needs no memory.
_STRING: Final = re.compile(rb'"((?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+)"')
_SCALAR: Final = re.compile(rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+|true|false|null")
_LINE: Final = re.compile(rb"[^ \t\r\n][^\r\n]*+")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_LINE_BREAKS: Final = b" \t\r\n"
_SHAPES: Final = 'send {"photo": "<base64>"} or {"photos": ["<base64>", ...]}'


@dataclass(frozen=True, slots=True)
class _Text:
    """Where a text's content lies in the body, between its quotes."""

    start: int
    end: int


_Entry = _Text | None
"""A photo's text; None for a value that is none, such as a number."""


def photos_of_json(body: bytes) -> tuple[list[bytes | Refusal], bool]:
    """The photos of a document, and whether it was a list. Raises RequestError, for more than MAX_PHOTOS too."""
    scan = _Scan(body, len(_BYTE_ORDER_MARK) if body.startswith(_BYTE_ORDER_MARK) else 0, len(body))
    entries, batch = scan.document()
    return [_decoded(body, entry) for entry in entries], batch


def photos_of_json_lines(body: bytes) -> tuple[list[bytes | Refusal], bool]:
    """The photo of each line that is not blank: always a batch. Raises RequestError for more than MAX_PHOTOS lines."""
    lines: list[tuple[int, int]] = []
    for found in _LINE.finditer(body):
        if len(lines) == MAX_PHOTOS:
            raise too_many_photos()
        lines.append(found.span())
    return [_photo_of_line(body, *line) for line in lines], True


def _photo_of_line(body: bytes, start: int, end: int) -> bytes | Refusal:
    try:
        entries, batch = _Scan(body, start, end).document()
    except RequestError as error:
        return Refusal(error.reason, str(error))
    return Refusal("json", 'send one {"photo": "<base64>"} a line') if batch else _decoded(body, entries[0])


class _Scan:
    """One pass over a JSON document in body[at:end]."""

    def __init__(self, body: bytes, at: int, end: int) -> None:
        self._body = body
        self._start = at
        self._at = at
        self._end = end

    def document(self) -> tuple[list[_Entry], bool]:
        """The entries of `photo` or `photos`, and whether it was `photos`. Raises RequestError."""
        if not self._took(b"{"):
            # Anything else that begins like JSON is JSON of another shape.
            raise self._wrong() if self._peek() not in b'["-0123456789tfn' else RequestError(400, "json", _SHAPES)
        found: tuple[list[_Entry], bool] | None = None
        while not self._took(b"}"):
            if found is not None:
                self._expect(b",")
            name = self._name()
            if found is not None or name not in (b"photo", b"photos"):
                raise _unread(name)
            self._expect(b":")
            found = (self._list(), True) if name == b"photos" else ([self._entry("photo")], False)
        self._spaces()
        if self._at != self._end:
            raise self._wrong()
        if found is None:
            raise RequestError(400, "json", _SHAPES)
        return found

    def _list(self) -> list[_Entry]:
        if not self._took(b"["):
            raise RequestError(400, "json", "photos must be a list of base64 texts")
        entries: list[_Entry] = []
        while not self._took(b"]"):
            if entries:
                self._expect(b",")
            if len(entries) == MAX_PHOTOS:
                raise too_many_photos()
            entries.append(self._entry(f"photos[{len(entries)}]"))
        return entries

    def _entry(self, name: str) -> _Entry:
        self._spaces()
        if text := _STRING.match(self._body, self._at, self._end):
            self._at = text.end()
            return _Text(*text.span(1))
        if scalar := _SCALAR.match(self._body, self._at, self._end):
            self._at = scalar.end()
            return None
        if self._peek() in (b"[", b"{"):
            raise RequestError(400, "json", f"{name} must be a base64 text")
        raise self._wrong()

    def _name(self) -> bytes:
        self._spaces()
        name = _STRING.match(self._body, self._at, self._end)
        if name is None:
            raise self._wrong()
        self._at = name.end()
        return name[1]

    def _spaces(self) -> None:
        spaces = _SPACES.match(self._body, self._at, self._end)
        self._at = spaces.end() if spaces else self._at

    def _peek(self) -> bytes:
        return self._body[self._at : min(self._at + 1, self._end)]

    def _took(self, sign: bytes) -> bool:
        self._spaces()
        taken = self._peek() == sign
        self._at += taken
        return taken

    def _expect(self, sign: bytes) -> None:
        if not self._took(sign):
            raise self._wrong()

    def _wrong(self) -> RequestError:
        return RequestError(400, "json", f"this is not JSON, from byte {self._at - self._start} on")


def _unread(name: bytes) -> RequestError:
    if name == b"url":
        return RequestError(
            415,
            "url",
            "this endpoint fetches nothing; fetch on your side with binventory.client.count_photo or "
            "`binventory count URL`, or send the photo's bytes",
        )
    shown = name[:40].decode("utf-8", "replace")
    return RequestError(400, "json", f"the field {shown!r} is not read here; {_SHAPES}")


def _decoded(body: bytes, entry: _Entry) -> bytes | Refusal:
    if entry is None:
        return Refusal("base64", "a photo must be a base64 text")
    content: memoryview | bytes = memoryview(body)[entry.start : entry.end]
    try:
        # Serialisers escape / and +, and line breaks must be escaped.
        if body.find(b"\\", entry.start, entry.end) >= 0:
            content = json.loads(body[entry.start - 1 : entry.end + 1]).encode("ascii")
        if any(sign in content for sign in _LINE_BREAKS):
            content = bytes(content).translate(None, _LINE_BREAKS)
        return binascii.a2b_base64(content, strict_mode=True)
    except ValueError:
        return Refusal("base64", "the photo is not valid base64")
