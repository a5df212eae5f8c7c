"""Where bin photos and their metadata lie: an S3 prefix or a folder laid out like `aft-vbi-pds`.

    <prefix>/bin-images/<id>.jpg      <prefix>/metadata/<id>.json

Requests retry by themselves and their number follows the server's answers (see throttle.AdaptiveLimit), so that a
`503 SlowDown`, a dropped connection or a stalled one costs time and nothing else. What stays broken stops the run
with a SourceError: an outage must never look like a bin without a photo.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, PreconditionError, UnauthenticatedError
from obstore.store import LocalStore, S3Store

from ingestion.run import IngestError, Packed
from ingestion.throttle import AdaptiveLimit

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ClientConfig, ObjectStore

PHOTOS: Final = "bin-images/"
METADATA: Final = "metadata/"
PHOTO_SUFFIX: Final = ".jpg"
METADATA_SUFFIX: Final = ".json"

# Buckets anyone may read without credentials, and where they are.
_PUBLIC: Final = {"aft-vbi-pds": "us-east-1"}
_CREDENTIALS: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
_ATTEMPTS: Final = 10
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 20.0
_PAGE: Final = 1000
_DIGITS: Final = "0123456789"
_DEEPEST: Final = 4
# A part of a listing is cut again only when it is longer than this: every cut asks for pages that are hardly filled.
_PAGES_ALONE: Final = 2
# More than a megabyte each while it is read.
_PAGES_AT_ONCE: Final = 12
_TIMEOUT: Final = "60s"
_PROBES: Final = 3
# Larger objects go on where a connection dropped. For the others (real bin photos have 60 kB) asking again costs no
# more than asking for the rest.
_RESUMED: Final = 256 * 1024
_CHUNK: Final = 64 * 1024
_STATUS: Final = re.compile(r"status code: (\d{3})")
_MD5: Final = re.compile(r"[0-9a-f]{32}")

log = logging.getLogger(__name__)
Result = TypeVar("Result")


class SourceError(IngestError):
    """The source cannot be read; the message says what was tried and what to do about it."""


class Damaged(Exception):
    """An answer arrived that is not what the listing promised: worth asking again."""


class Changed(Exception):
    """An object is no longer the one that was listed."""


@dataclass(frozen=True, slots=True)
class Found(Packed):
    """One object of a listing."""

    name: str
    """The key below the listed folder, for example `00231.jpg`."""
    size: int
    etag: str
    """Without quotes; the MD5 of the content where the bucket says so, empty where there is none."""


def content_md5(data: bytes) -> str:
    """The fingerprint that S3's ETags are made of; used to recognise content, not to protect it."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class BinSource:
    """Photos and metadata below one URL: `s3://bucket/prefix/`, `file:///folder` or a path."""

    def __init__(self, url: str, *, concurrency: int = 256, attempts: int = _ATTEMPTS) -> None:
        self.url = url
        self.listed: dict[str, list[Found]] = {}
        """Listings that are known already, by their folder; the first request takes one, and gives back its memory."""
        self.limit = AdaptiveLimit(concurrency)
        self.content_tags = False
        """Whether ETags are known to be the MD5 sums of the content; see `probe`."""
        self._attempts = attempts
        self._pages = asyncio.Semaphore(_PAGES_AT_ONCE)
        self._store, self.is_folder = _open(url, concurrency)

    async def list_photos(self, so_far: Callable[[int], None] | None = None) -> list[Found]:
        """Everything directly or deeper below `bin-images/`, sorted by name.

        `so_far` is told how many photos there are whenever more have been found.
        """
        return await self._list(PHOTOS, so_far)

    async def list_metadata(self) -> list[Found]:
        """Everything below `metadata/`, sorted by name."""
        return await self._list(METADATA)

    async def photo(self, found: Found) -> bytes | None:
        """The bytes of a listed photo, as many as were listed, still to be verified; None when it is gone.

        Raises Changed when it is no longer what was listed, as `metadata` does.
        """
        return await self._read(PHOTOS, found)

    async def unchanged_photo(self, found: Found) -> bytes | None:
        """`photo`, and None as well when it is no longer what was listed."""
        try:
            return await self.photo(found)
        except Changed:
            return None

    async def metadata(self, found: Found) -> bytes | None:
        """The bytes of a listed metadata file, verified; None when it is gone."""
        return await self._read(METADATA, found, verify=self.content_tags)

    async def probe(self, photos: Sequence[Found]) -> None:
        """Find out whether the listing's tags are the MD5 sums of the content, and set `content_tags`.

        With KMS encryption they look like it and are not, so a few photos are read and compared.
        """
        if self.is_folder or not all(is_md5(found.etag) for found in photos):
            return
        probes = photos[:: max(1, len(photos) // _PROBES)][:_PROBES]
        contents = await asyncio.gather(*(self.unchanged_photo(found) for found in probes))
        # One that fits is proof; one that does not may have been damaged on its way, or changed since it was listed.
        self.content_tags = any(
            data is not None and content_md5(data) == found.etag for data, found in zip(contents, probes, strict=True)
        )

    async def has_changed(self, found: Found) -> bool:
        """Whether a listed photo is no longer what the listing said."""
        path = PHOTOS + found.name
        try:
            return await self._persist(path, lambda: self._is_changed(path, found))
        except FileNotFoundError:
            return True

    async def _is_changed(self, path: str, found: Found) -> bool:
        return _tag((await obstore.head_async(self._store, path))["e_tag"]) != found.etag

    async def _list(self, folder: str, so_far: Callable[[int], None] | None = None) -> list[Found]:
        found: list[Found] = []

        def add(entries: Iterable[Found]) -> None:
            found.extend(entries)
            if so_far is not None:
                so_far(len(found))

        if folder in self.listed:
            add(self.listed.pop(folder))
        elif self.is_folder:
            async for page in obstore.list(self._store, folder):
                add(_entries(folder, page))
        else:
            await self._list_between(folder, "", None, "", add)
        return sorted(found, key=lambda entry: entry.name)

    async def _list_between(
        self, folder: str, after: str, last: str | None, common: str, add: Callable[[Iterable[Found]], None]
    ) -> None:
        """Add what lies after one name and up to another; all names in between start with `common`.

        Half a million keys are 536 pages of a tenth of a second. What follows a full page is therefore listed in
        parts, all at once: one for each digit that may come next, since ids are numbers.
        """
        pages = 0
        while True:
            page = await self._persist(folder, partial(self._page, folder, after))
            wanted = [entry for entry in page if last is None or entry.name <= last]
            add(wanted)
            if len(page) < _PAGE or len(wanted) < len(page):
                return
            after = page[-1].name
            pages += 1
            if common and pages < _PAGES_ALONE:
                continue
            cuts = [
                cut for cut in (common + digit for digit in _DIGITS) if after < cut and (last is None or cut < last)
            ]
            if cuts and len(common) < _DEEPEST:
                break
        starts = (after, *cuts)
        prefixes = (after[: len(common) + 1], *cuts)
        ends = (*cuts, last)
        parts = zip(starts, ends, prefixes, strict=True)
        await asyncio.gather(*(self._list_between(folder, *part, add) for part in parts))

    async def _page(self, folder: str, after: str) -> list[Found]:
        """One page of a bucket's listing."""
        async with self._pages:
            async for page in obstore.list(self._store, folder, offset=folder + after, chunk_size=_PAGE):
                return _entries(folder, page)
        return []

    async def _read(self, folder: str, found: Found, *, verify: bool = False) -> bytes | None:
        path = folder + found.name
        received = bytearray()

        async def once() -> bytes:
            # Where a tag is no MD5 sum, bytes cannot be held to it, and the request itself has to name it.
            if (found.size > _RESUMED or not self.content_tags) and not self.is_folder:
                if len(received) < found.size:
                    await self._receive(path, found, received)
                data = bytes(received)
                # What comes after a damaged answer starts again.
                received.clear()
            else:
                # A range request is one exchange with the event loop where a plain one is two: half the CPU a file.
                data = bytes(await obstore.get_range_async(self._store, path, start=0, end=found.size))
            if len(data) != found.size or (verify and content_md5(data) != found.etag):
                if await self._is_changed(path, found):
                    raise Changed(f"{path} is no longer what was listed")
                raise Damaged(f"the {len(data)} bytes that arrived are not the {found.size} that were listed")
            return data

        try:
            return await self._persist(path, once) if found.size else b""
        except FileNotFoundError:
            return None

    async def _receive(self, path: str, found: Found, received: bytearray) -> None:
        """Add what is missing to the bytes `received` so far; when the connection drops, they stay for the next try.

        Raises Changed when the object is another than the one they are of.
        """
        options: GetOptions = {"range": (len(received), found.size)}
        if found.etag:
            options["if_match"] = f'"{found.etag}"'
        try:
            answer = await obstore.get_async(self._store, path, options=options)
            async for chunk in answer.stream(_CHUNK):
                received += chunk
        except PreconditionError as error:
            raise Changed(f"{path} is no longer what was listed") from error

    async def _persist(self, path: str, once: Callable[[], Awaitable[Result]]) -> Result:
        """Run one request until it succeeds, is refused for good, or has been tried often enough."""
        for attempt in range(self._attempts):
            try:
                async with self.limit:
                    result = await once()
            except FileNotFoundError:
                raise
            except (PermissionDeniedError, UnauthenticatedError) as error:
                raise SourceError(_denied(self.url, path)) from error
            except (BaseError, Damaged, OSError) as error:
                self._weigh(path, error)
                last: Exception = error
            else:
                self.limit.succeeded()
                return result
            await asyncio.sleep(random.uniform(0.5, 1.0) * min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt))
        raise SourceError(
            f"{self.url}{path} failed {self._attempts} times, last with: {_first_line(last)}. "
            "Check the network and the endpoint, then run again: finished shards are kept"
        ) from last

    def _weigh(self, path: str, error: Exception) -> None:
        """Slow down for what a pause may heal; give up at once on a request the server will never accept."""
        status = _STATUS.search(str(error))
        code = int(status.group(1)) if status else 0
        if 400 <= code < 500 and code not in (408, 429):
            raise SourceError(f"{self.url}{path} was refused: {_first_line(error)}") from error
        self.limit.slowed()
        log.debug("%s: %s", path, _first_line(error))


async def read_file(url: str, *, etag: str = "") -> bytes | None:
    """One object or file as a whole, by URL or path; None when it is not there.

    `etag`: what it must have, where that is known. Raises Changed when it has another.
    """
    folder, _, name = url.rpartition("/")
    source = BinSource(folder or ("/" if url.startswith("/") else "."), concurrency=4)

    async def once() -> bytes:
        answer = await obstore.get_async(source._store, name)
        if etag and _tag(answer.meta["e_tag"]) != etag:
            raise Changed(f"{url} is no longer what was listed")
        return bytes(await answer.bytes_async())

    try:
        return await source._persist(name, once)
    except FileNotFoundError:
        return None


def _entries(folder: str, page: Iterable[ObjectMeta]) -> list[Found]:
    return [Found(str(e["path"]).removeprefix(folder), int(e["size"]), _tag(e["e_tag"])) for e in page]


def _open(url: str, concurrency: int) -> tuple[ObjectStore, bool]:
    parts = urlsplit(url)
    if parts.scheme in ("s3", "s3a"):
        if not parts.netloc:
            raise SourceError(f"{url} names no bucket; write s3://bucket/prefix/")
        return open_store(parts.netloc, parts.path.strip("/"), concurrency=concurrency), False
    if parts.scheme not in ("", "file"):
        raise SourceError(f"{url} is neither an s3:// URL nor a folder")
    folder = Path(unquote(parts.path) if parts.scheme else url)
    if not folder.is_dir():
        raise SourceError(f"{folder} is no folder; give the one that holds {PHOTOS} and {METADATA}")
    return LocalStore(folder.resolve()), True


def open_store(bucket: str, prefix: str, *, concurrency: int = 16, retries: int = 0) -> S3Store:
    """A bucket, at the endpoint and with the credentials of the environment; without them where it is public."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
    client: ClientConfig = {
        "connect_timeout": "10s",
        "timeout": _TIMEOUT,
        "pool_max_idle_per_host": str(concurrency),
        "allow_http": endpoint is not None and endpoint.startswith("http://"),
    }
    if bundle := os.environ.get("AWS_CA_BUNDLE"):
        client["root_certificate"] = Path(bundle).read_bytes()
    public = bucket in _PUBLIC and endpoint is None
    anonymous = public or (endpoint is not None and not any(os.environ.get(name) for name in _CREDENTIALS))
    region = _PUBLIC[bucket] if public else _region()
    return S3Store(
        bucket,
        prefix=prefix or None,
        endpoint=endpoint,
        region=region,
        virtual_hosted_style_request=False,
        skip_signature=anonymous,
        client_options=client,
        # Reading retries above this layer, where the number of requests in flight can follow it.
        retry_config={"max_retries": retries},
    )


def _region() -> str:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def _tag(etag: str | None) -> str:
    return (etag or "").strip('"')


def is_md5(etag: str) -> bool:
    """Whether a tag may be the MD5 of the content; multipart uploads and folders have others."""
    return _MD5.fullmatch(etag) is not None


def _denied(url: str, path: str) -> str:
    return f"access to {url}{path} was denied; grant s3:GetObject on its objects and s3:ListBucket on its bucket"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
