"""Bodies of JSON, JSON Lines and npy: every photo is read or refused in its place, and no body multiplies memory."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.refusals import MAX_PHOTOS, Refusal, RequestError
from serving.requests import JSON, JSON_LINES, NPY, parse_photos

texts = st.text(st.characters(codec="utf-8"), max_size=12)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
photos = st.binary(max_size=60)


def in_base64(photo: bytes) -> str:
    return base64.b64encode(photo).decode()


def error_of(body: bytes, content_type: str) -> tuple[int, str]:
    with pytest.raises(RequestError) as refused:
        parse_photos(body, content_type)
    assert str(refused.value)
    return refused.value.status, refused.value.reason


@given(
    found=st.lists(photos, min_size=1, max_size=5),
    breaks=st.sampled_from(["", "\n", "\r\n", " ", "\t"]),
    indent=st.sampled_from([None, 0, 3]),
    escaped=st.booleans(),
    mark=st.booleans(),
)
def test_photos_are_read_however_a_serialiser_writes_them(
    found: list[bytes], breaks: str, indent: int | None, escaped: bool, mark: bool
) -> None:
    lines = [breaks.join(in_base64(photo)[at : at + 7] for at in range(0, 90, 7)) for photo in found]

    def written(document: dict[str, Any], indent: int | None) -> bytes:
        text = json.dumps(document, indent=indent)
        if escaped:
            text = text.replace("/", "\\/").replace("+", "\\u002B")
        return (b"\xef\xbb\xbf" if mark else b"") + text.encode()

    assert parse_photos(written({"photos": lines}, indent), JSON) == (found, True)
    assert parse_photos(written({"photo": lines[0]}, indent), JSON) == (found[:1], False)
    mark = False
    body = b"\r\n \n".join(written({"photo": line}, None) for line in lines)
    assert parse_photos(body, JSON_LINES) == (found, True)


@given(value=values, entries=st.lists(scalars, max_size=4), indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
def test_a_document_of_another_shape_is_refused_and_a_value_of_another_kind_in_its_place(
    value: Any, entries: list[Any], indent: int | None, ascii_only: bool
) -> None:
    body = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    if not (isinstance(value, dict) and set(value) in ({"photo"}, {"photos"})):
        assert error_of(body, JSON)[0] in (400, 415)
    body = json.dumps({"photos": entries}, indent=indent, ensure_ascii=ascii_only).encode()
    if not entries:
        assert error_of(body, JSON) == (400, "no_photos")
        return
    read, batch = parse_photos(body, JSON)
    assert batch and len(read) == len(entries)
    for entry, photo in zip(entries, read, strict=True):
        if isinstance(photo, Refusal):
            assert photo.reason == "base64"
        else:
            assert isinstance(entry, str) and photo == base64.b64decode(entry)


@given(data=st.data())
@settings(max_examples=300)
def test_what_is_read_is_json(data: st.DataObject) -> None:
    body = bytearray(json.dumps({"photos": ["QUJD", "REVG", 5, None]}).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 2))] = data.draw(st.sampled_from(b'"[]{},:\\u n0-.eE').map(_one))
    try:
        parse_photos(bytes(body), JSON)
    except RequestError as error:
        assert error.status in (400, 415)
    else:
        json.loads(body, parse_constant=pytest.fail)


def _one(code: int) -> bytes:
    return bytes([code])


@given(body=st.binary(min_size=1, max_size=80), content_type=st.sampled_from([JSON, JSON_LINES, NPY]))
@settings(max_examples=300)
def test_any_bytes_are_read_or_refused(body: bytes, content_type: str) -> None:
    try:
        read, _ = parse_photos(body, content_type)
    except RequestError as error:
        assert 400 <= error.status < 500
    else:
        assert 1 <= len(read) <= MAX_PHOTOS


def test_a_bad_entry_and_a_bad_line_are_refused_in_their_place() -> None:
    body = json.dumps({"photos": ["QUJD", "####", "REVG", 7, "QQ", ""]}).encode()
    read, _ = parse_photos(body, JSON)
    assert [photo.reason if isinstance(photo, Refusal) else photo for photo in read] == [
        *(b"ABC", "base64", b"DEF", "base64", "base64", b"")
    ]
    lines = [b'{"photo": "QUJD"}', b"{broken", b'{"url": "x"}', b'{"photos": ["QUJD"]}', b'{"photo": "REVG"}', b"[]"]
    read, _ = parse_photos(b"\n".join(lines), JSON_LINES)
    assert [photo.reason if isinstance(photo, Refusal) else photo for photo in read] == [
        *(b"ABC", "json", "url", "json", b"DEF", "json")
    ]


@pytest.mark.parametrize(
    "body",
    [
        b'{"photo": "QUJD", "id": 5}',
        b'{"photo": "QUJD", "photo": "REVG"}',
        b'{"photo": "QUJD", "photos": ["REVG"]}',
        b'{"photos": [{"photo": "QUJD"}]}',
        b'{"photos": ["QUJD"',
        b'{"photos": ["QUJD"]} {}',
        b'{"photos": ["QUJD",]}',
        b'{"photo": NaN}',
        b'{"photo": "QU\nJD"}',
        b"",
        b"  ",
    ],
)
def test_a_document_that_says_something_else_is_refused(body: bytes) -> None:
    assert error_of(body, JSON)[1] in ("json", "empty")


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(3)) | st.tuples(*[st.integers(1, 4)] * 3, st.just(3)),
    version=st.sampled_from([(1, 0), (2, 0)]),
)
def test_an_array_is_read_without_a_copy(shape: tuple[int, ...], version: tuple[int, int]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    read, batch = parse_photos(stream.getvalue(), NPY)
    assert batch is (len(shape) == 4)
    assert np.array_equal(np.stack(read) if batch else read[0], array)  # type: ignore[arg-type]
    assert not any(photo.flags.owndata for photo in read if isinstance(photo, np.ndarray))


def npy(header: str, pixels: bytes = b"") -> bytes:
    text = header.encode("latin-1")
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + pixels


@given(
    shape=st.text(st.sampled_from("0123456789,() TrueFalseNn-+*eLj_'\""), max_size=30),
    descr=st.sampled_from(["'|u1'", '"|u1"', "'|O'", "[('a', '|u1')]", "True", "|u1"]),
    order=st.sampled_from(["False", "True", "None", "0"]),
)
@settings(max_examples=300)
def test_a_header_of_any_shape_is_read_or_refused(shape: str, descr: str, order: str) -> None:
    body = npy(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n", bytes(12))
    try:
        read, _ = parse_photos(body, NPY)
    except RequestError as error:
        assert error.status in (400, 413)
    else:
        assert sum(photo.size for photo in read if isinstance(photo, np.ndarray)) == 12


@pytest.mark.parametrize(
    "shape",
    [
        "(2, 2, 3,,)",
        "(2, , 3)",
        "(1234567890, 1, 3)",
        "(True, 2, 2, 3)",
        "(2, True, 2, 3)",
        "(2, 2, 3.0)",
        "(-2, -2, 3)",
        "(2, 2, 3, *[1])",
        "2",
        "()",
        "[2,2,3]",
    ],
)
def test_sides_that_are_no_plain_numbers_are_refused(shape: str) -> None:
    body = npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}", bytes(12))
    assert error_of(body, NPY) == (400, "npy")


@pytest.mark.parametrize(
    "header",
    ["", "{", "[]", "{'descr': '|u1', 'fortran_order': False}", "{'descr': '|u1', 'descr': '|u1', 'shape': (2, 2, 3)}"],
)
def test_a_header_that_is_none_is_refused(header: str) -> None:
    assert error_of(npy(header, bytes(12)), NPY) == (400, "npy")


def test_a_header_beyond_the_body_is_refused() -> None:
    assert error_of(npy("{'descr': '|u1'}")[:-4], NPY) == (400, "npy")


MANY = 2 * 2**20
HOSTILE: dict[str, tuple[bytes, str]] = {
    "nested lists": (b"[" * MANY, JSON),
    "lists in the list": (b'{"photos": [' + b"[]," * MANY, JSON),
    "empty photos": (b'{"photos": [' + b'"",' * MANY, JSON),
    "numbers": (b'{"photos": [' + b"1," * MANY, JSON),
    "fields": (b"{" + b'"a":0,' * MANY, JSON),
    "digits": (b'{"photo": ' + b"1" * MANY + b"}", JSON),
    "empty lines": (b"\n" * MANY + b" \n" * MANY, JSON_LINES),
    "lines": (b"{}\n" * MANY, JSON_LINES),
    "pixels": (npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({MANY}, 1, 1, 3)}}", bytes(3 * MANY)), NPY),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_takes_no_memory_beside_itself(name: str) -> None:
    body, content_type = HOSTILE[name]
    tracemalloc.start()
    with contextlib.suppress(RequestError):
        assert isinstance(parse_photos(body, content_type)[0][0], Refusal)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**16


@pytest.mark.parametrize(("escaped", "times"), [(False, 1), (True, 4)])
def test_a_large_photo_takes_a_few_times_its_size(escaped: bool, times: float) -> None:
    text = b"\\/8A" * MANY if escaped else b"ab8A" * MANY
    body = b'{"photo": "' + text + b'"}'
    tracemalloc.start()
    (photo,), _ = parse_photos(body, JSON)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(photo, bytes) and peak < times * len(body) + 2**16
