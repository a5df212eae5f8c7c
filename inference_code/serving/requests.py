"""Requests: the content types that are read, and the media type that a request accepts."""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAX_PHOTOS: Final = 64
JSON: Final = "application/json"
JSON_LINES: Final = "application/jsonlines"
CSV: Final = "text/csv"
NPY: Final = "application/x-npy"
IMAGES: Final = ("image/jpeg", "image/jpg", "image/png")

Pixels = NDArray[np.uint8]
Photo = bytes | Pixels


class RequestError(Exception):
    """A request that cannot be answered. `status` is the HTTP status, `reason` a stable code; the message has the cure.

    `headers` go out with the answer.
    """

    def __init__(self, status: int, reason: str, message: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.headers = tuple(headers)


def parse_photos(body: bytes, content_type: str) -> tuple[list[Photo], bool]:
    """The photos of a request, still encoded or as pixels [height, width, 3], and whether it was a batch.

    Raises RequestError.
    """
    media_type = _media_type(content_type)
    if not body:
        raise RequestError(400, "empty", "the request has no body; send the bytes of a photo")
    parse = _PARSERS.get(media_type)
    if parse is None:
        raise RequestError(
            415, "content_type", f"content type {media_type[:80]!r} is not read here; send {', '.join(_PARSERS)}"
        )
    photos, batch = parse(body)
    if not photos:
        raise RequestError(400, "no_photos", "the request holds no photo")
    if len(photos) > MAX_PHOTOS:
        raise RequestError(413, "too_many_photos", f"{len(photos)} photos; send at most {MAX_PHOTOS} a request")
    return photos, batch


def is_one_image(content_type: str) -> bool:
    """Whether the body is one encoded photo and needs no parsing."""
    return _media_type(content_type) in IMAGES


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _one_image(body: bytes) -> tuple[list[Photo], bool]:
    return [body], False


def _json(body: bytes) -> tuple[list[Photo], bool]:
    document = _load(body)
    if isinstance(document, dict) and "photos" in document:
        entries = document["photos"]
        if not isinstance(entries, list):
            raise RequestError(400, "json", "photos must be a list of base64 texts")
        _check_number(len(entries))
        return [_decoded(entry) for entry in entries], True
    return [_decoded(_photo_field(document))], False


def _json_lines(body: bytes) -> tuple[list[Photo], bool]:
    lines = [line for line in body.splitlines() if line.strip()]
    _check_number(len(lines))
    return [_decoded(_photo_field(_load(line))) for line in lines], True


def _npy(body: bytes) -> tuple[list[Photo], bool]:
    stream = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran_order, dtype = read_header(stream)
    # The header is Python syntax from the client; its parser can raise nearly any exception.
    except Exception as error:
        raise RequestError(400, "npy", "the body is no .npy array of version 1 or 2") from error
    batch = len(shape) == 4
    if dtype != np.uint8 or fortran_order or len(shape) not in (3, 4) or shape[-1] != 3 or min(shape) < 1:
        raise RequestError(
            400, "npy", "send uint8 in C order, [height, width, 3] or [photos, height, width, 3], with no side empty"
        )
    pixels = body[stream.tell() :]
    if len(pixels) != int(np.prod(shape, dtype=object)):
        raise RequestError(400, "npy", f"the array says {shape} but holds {len(pixels)} bytes")
    array = np.frombuffer(pixels, dtype=np.uint8).reshape(shape)
    return (list(array) if batch else [array]), batch


def _check_number(photos: int) -> None:
    # Before decoding, so that a request with a million empty photos is cheap.
    if photos > MAX_PHOTOS:
        raise RequestError(413, "too_many_photos", f"{photos} photos; send at most {MAX_PHOTOS} a request")


def _load(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "json", "the body is not JSON") from error


def _photo_field(document: Any) -> Any:
    if isinstance(document, dict) and "url" in document:
        raise RequestError(
            415,
            "url",
            "this endpoint fetches nothing; fetch on your side with binventory.client.count_photo or "
            "`binventory count URL`, or send the photo's bytes",
        )
    if not isinstance(document, dict) or "photo" not in document:
        raise RequestError(400, "json", 'send {"photo": "<base64>"} or {"photos": ["<base64>", ...]}')
    return document["photo"]


def _decoded(entry: Any) -> bytes:
    if not isinstance(entry, str):
        raise RequestError(400, "base64", "a photo must be a base64 text")
    try:
        return base64.b64decode(entry, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(400, "base64", "a photo is not valid base64") from error


_PARSERS: Final[dict[str, Callable[[bytes], tuple[list[Photo], bool]]]] = {
    **dict.fromkeys(IMAGES, _one_image),
    NPY: _npy,
    JSON: _json,
    JSON_LINES: _json_lines,
}
_ANSWERS: Final = {
    JSON: JSON,
    JSON_LINES: JSON_LINES,
    "application/x-ndjson": JSON_LINES,
    CSV: CSV,
    "application/*": JSON,
    "text/*": CSV,
    "*/*": JSON,
}


def choose_answer(accept: str) -> tuple[str, bool]:
    """The media type to answer in, and whether a CSV header line was asked for. Raises RequestError (406)."""
    offers: list[tuple[float, str, bool]] = []
    for part in (accept or "*/*").split(","):
        media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if media_type in _ANSWERS:
            offers.append((_quality(parameters), _ANSWERS[media_type], "header=present" in parameters))
    offers = [offer for offer in offers if offer[0] > 0]
    if not offers:
        raise RequestError(406, "accept", f"cannot answer as {accept[:80]!r}; accept {JSON}, {JSON_LINES} or {CSV}")
    best = max(offers, key=lambda offer: offer[0])
    return best[1], best[2]


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0
