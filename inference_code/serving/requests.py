"""Requests: the content types that are read, and the media type that a request accepts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from serving.json_bodies import photos_of_json, photos_of_json_lines
from serving.npy_bodies import Pixels, photos_of_npy
from serving.refusals import Refusal, RequestError

JSON: Final = "application/json"
JSON_LINES: Final = "application/jsonlines"
CSV: Final = "text/csv"
NPY: Final = "application/x-npy"
IMAGES: Final = ("image/jpeg", "image/jpg", "image/png")

Photo = bytes | Pixels


def parse_photos(body: bytes, content_type: str) -> tuple[list[Photo | Refusal], bool]:
    """The photos of a request, still encoded or as pixels [height, width, 3], and whether it was a batch.

    What cannot be read in the place of one photo is a Refusal. Raises RequestError.
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
    return list(photos), batch


def is_one_image(content_type: str) -> bool:
    """Whether the body is one encoded photo and needs no parsing."""
    return _media_type(content_type) in IMAGES


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


_Parsed = tuple[Sequence[Photo | Refusal], bool]


def _one_image(body: bytes) -> _Parsed:
    return [body], False


_PARSERS: Final[dict[str, Callable[[bytes], _Parsed]]] = {
    **dict.fromkeys(IMAGES, _one_image),
    NPY: photos_of_npy,
    JSON: photos_of_json,
    JSON_LINES: photos_of_json_lines,
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


# Most clients send the same header with every photo.
@lru_cache(maxsize=16)
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
