"""Lists the objects under a prefix of a bucket, many pages at once.

Amazon S3 lists at most a thousand keys a page, and each page starts after the last key of the page before. A page may
have fewer keys than that, or none, although more follow: S3 passes over the deleted objects of a versioned bucket.
Half a million photos with their metadata are a thousand pages, which take minutes one by one. So a thread that has
nothing to list takes a part of the keys that another thread has not listed yet. The result is always sorted by key.

boto3 takes five times as long to parse a page as the parser in C that is used here, and one processor parses them all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote_plus
from xml.etree import ElementTree

AT_ONCE: Final = 16
PAGE: Final = 1000
THREADS: Final = "bucket-listing"
# A range is cut only after it has filled this many pages: the parts of a short one would be nearly empty pages.
_PAGES_ALONE: Final = 2
_PARTS: Final = 8


class ListingTimeout(Exception):
    """The listing was not finished in time; the message has the number of objects that were listed."""


class ListedKey(NamedTuple):
    """One object."""

    key: str
    """Below the prefix."""
    size: str
    etag: str
    """Without quotes."""


@dataclass(frozen=True)
class Listing:
    """The objects under a prefix, sorted by key."""

    lines: bytes
    """One line for each object: size, ETag and percent-encoded key with its folder, separated by tabs."""
    objects: int


class _Range(NamedTuple):
    """Keys that are not listed yet: after one key and up to another."""

    after: str
    last: str | None


def list_folder(s3: Any, bucket: str, prefix: str, folder: str, *, until: float) -> Listing:
    """List `prefix` + `folder`, for example `site-7/` and `bin-images/`; keys in the lines begin with the folder.

    Args:
        s3: a boto3 client with as many connections as `AT_ONCE`.
        until: deadline, in seconds of `time.monotonic`.

    Raises:
        ListingTimeout: it was not finished by then.
        botocore.exceptions.ClientError: S3 refused a request.
    """
    lister = _Lister(s3, bucket, prefix + folder, folder, until)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix=THREADS) as pool:
        pending = {pool.submit(lister.take, _Range("", None))}
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                parts = [part for future in done for part in future.result()]
                pending |= {pool.submit(lister.take, part) for part in parts}
                lister.ranges = len(pending)
        finally:
            lister.stopped.set()
    pages = sorted(lister.pages)
    return Listing(b"".join(lines for _, _, lines in pages), sum(objects for _, objects, _ in pages))


class _Lister:
    """State that the threads of one listing share."""

    def __init__(self, s3: Any, bucket: str, prefix: str, folder: str, until: float) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._prefix = prefix
        self._folder = folder
        self._until = until
        s3.meta.events.register("before-parse.s3.ListObjectsV2", _take_body, unique_id="bucket-listing")
        self.pages: list[tuple[str, int, bytes]] = []
        """First key, number of objects and lines of each page."""
        self.ranges = 1
        """Number of ranges that are being listed or wait."""
        self.stopped = threading.Event()

    def take(self, of: _Range) -> list[_Range]:
        """List a range, or its beginning; returns the rest in parts that other threads may list."""
        after, last = of
        for number in range(1, 1 << 30):
            if self.stopped.is_set():
                break
            page, more = self._page(after, last)
            wanted = page if last is None else [entry for entry in page if entry.key <= last]
            if wanted:
                self.pages.append((wanted[0].key, len(wanted), lines_of(wanted, self._folder)))
            if not more or len(wanted) < len(page):
                break
            after = page[-1].key
            if self.ranges < AT_ONCE and (number >= _PAGES_ALONE or self.ranges == 1):
                parts = parted(after, last, characters_of(page))
                if len(parts) > 1:
                    return parts
        return []

    def _page(self, after: str, last: str | None) -> tuple[Sequence[ListedKey], bool]:
        """The next keys, and whether more may follow them; without a key, none follows."""
        # All keys between two keys have their common prefix, so S3 need search no further.
        shared = "" if last is None else _shared(after, last)
        asked = {"Bucket": self._bucket, "Prefix": self._prefix + shared, "MaxKeys": PAGE}
        # Without a folder the prefix may itself be a key. The key of a folder, which consoles make, is no object in it.
        if after or self._folder:
            asked["StartAfter"] = self._prefix + after
        found, token = self._answer(asked)
        while token and not found:
            found, token = self._answer({**asked, "ContinuationToken": token})
        start = len(self._prefix)
        return [ListedKey(key[start:], size, etag.strip('"')) for key, size, etag in found], bool(token)

    def _answer(self, asked: dict[str, Any]) -> _Page:
        if time.monotonic() > self._until:
            known = sum(objects for _, objects, _ in self.pages)
            raise ListingTimeout(f"only {known:,} objects of {self._prefix} were listed in time")
        answer = self._s3.list_objects_v2(**asked)
        body = _taken_body()
        return _parsed(answer) if body is None else read_page(body)


def lines_of(page: Sequence[ListedKey], folder: str) -> bytes:
    """The lines of a page's objects."""
    # Few pages have a key that needs encoding, and testing each key takes longer than writing its line.
    keys = "/".join([folder, *(entry.key for entry in page)])
    encoded = quote if quote(keys) != keys else str
    return "".join([f"{size}\t{etag}\t{encoded(folder + key)}\n" for key, size, etag in page]).encode()


def characters_of(page: Iterable[ListedKey]) -> list[str]:
    """The characters of a page's keys, sorted: the next keys will have the same ones."""
    return sorted(set().union(*(entry.key for entry in page)))


def parted(after: str, last: str | None, characters: Sequence[str]) -> list[_Range]:
    """Cut a range into parts, at keys that differ from `after` first in one character."""
    cuts: set[str] = set()
    for place in range(0 if last is None else len(_shared(after, last)), len(after)):
        ahead = (after[:place] + character for character in characters if character > after[place])
        cuts.update(cut for cut in ahead if last is None or cut < last)
        if len(cuts) >= _PARTS:
            break
    starts, ends = (after, *sorted(cuts)), (*sorted(cuts), last)
    return [_Range(start, end) for start, end in zip(starts, ends, strict=True)]


def _shared(one: str, other: str) -> str:
    """The common prefix."""
    length = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    return min(one, other, key=len) if length is None else one[:length]


class _Page(NamedTuple):
    """One answer of S3."""

    entries: list[tuple[str, str, str]]
    """Key, size and ETag of each object."""
    token: str
    """With which S3 continues; empty where nothing follows."""


def _parsed(answer: Mapping[str, Any]) -> _Page:
    found = [(item["Key"], str(item["Size"]), item["ETag"]) for item in answer.get("Contents", ())]
    return _Page(found, answer.get("NextContinuationToken", ""))


_THREAD: Final = threading.local()


def _take_body(response_dict: dict[str, Any], **_: object) -> None:
    """Keep the body of a page for the thread that requested it, before boto3 parses it."""
    if response_dict["status_code"] == 200:
        _THREAD.body = response_dict["body"]
        response_dict["body"] = b"<ListBucketResult/>"


def _taken_body() -> bytes | None:
    """The body of this thread's last page; None with a version of boto3 that lacks the event."""
    body: bytes | None = getattr(_THREAD, "body", None)
    _THREAD.body = None
    return body


def read_page(body: bytes) -> _Page:
    """What the body of an answer lists."""
    root = ElementTree.fromstring(body)
    space = root.tag.removesuffix("ListBucketResult")
    key, size, etag = f"{space}Key", f"{space}Size", f"{space}ETag"
    found = [
        (item.findtext(key, ""), item.findtext(size, ""), item.findtext(etag, ""))
        for item in root.iterfind(f"{space}Contents")
    ]
    if root.findtext(f"{space}EncodingType") == "url":
        found = [(unquote_plus(name), bytes_, tag) for name, bytes_, tag in found]
    return _Page(found, root.findtext(f"{space}NextContinuationToken", ""))
