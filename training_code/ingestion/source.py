"""The source of bin photos and metadata: an S3 prefix or a folder with the layout of `aft-vbi-pds`.

    <prefix>/bin-images/<id>.jpg      <prefix>/metadata/<id>.json

Requests are retried, and their number follows the server's answers (throttle.AdaptiveLimit). So a `503 SlowDown`, a
dropped or a stalled connection only costs time. An outage that lasts stops the run with a SourceError: it must never
look like a bin without a photo.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import unquote

import obstore
from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import LocalStore

from binventory.core.contents import is_md5, md5_of
from ingestion.cuts import Part, cut
from ingestion.objects import ListedObject, bare_tag
from ingestion.run import IngestError
from ingestion.store import access, open_store
from ingestion.throttle import AdaptiveLimit

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ObjectStore

PHOTOS: Final = "bin-images/"
METADATA: Final = "metadata/"

_ATTEMPTS: Final = 10
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 20.0
_PAGE: Final = 1000
# A page takes more than a megabyte while it is read.
_PAGES_AT_ONCE: Final = 12
_PROBES: Final = 3
# Downloads of larger objects continue where a connection dropped. A smaller one (real bin photos have 60 kB) is
# requested again, which costs no more than requesting the rest.
_RESUMED: Final = 256 * 1024
_CHUNK: Final = 64 * 1024
_FILE: Final = "file://"
_STATUS: Final = re.compile(r"status code: (\d{3})")
_NO_SUCH_RANGE: Final = 416

log = logging.getLogger(__name__)
Result = TypeVar("Result")


class SourceError(IngestError):
    """The source cannot be read; the message names the request and the cure."""


class Damaged(Exception):
    """The answer does not match the listing, so it should be requested again."""


class Changed(Exception):
    """An object has changed since it was listed."""


class BinSource:
    """Photos and metadata below one URL: `s3://bucket/prefix/`, `file:///folder` or a path."""

    def __init__(self, url: str, *, concurrency: int = 256, attempts: int = _ATTEMPTS) -> None:
        self.url = url
        self.listed: dict[str, list[ListedObject]] = {}
        """Listings that are known already, by folder. The first request removes its listing, to free the memory."""
        self.limit = AdaptiveLimit(concurrency)
        self.content_tags = False
        """Whether ETags are known to be the MD5 sums of the content; see `probe`."""
        self._attempts = attempts
        self._pages = asyncio.Semaphore(_PAGES_AT_ONCE)
        self._at = _address(url)
        self.is_folder = isinstance(self._at, Path)
        self._store = _open(self._at, concurrency)

    async def list_photos(self, so_far: Callable[[int], None] | None = None) -> list[ListedObject]:
        """All objects below `bin-images/`, sorted by name.

        `so_far` is called with the number of photos whenever more have been found.
        """
        return await self._list(PHOTOS, so_far)

    async def list_metadata(self) -> list[ListedObject]:
        """All objects below `metadata/`, sorted by name."""
        return await self._list(METADATA)

    async def photo(self, found: ListedObject) -> bytes | None:
        """The bytes of a listed photo, not verified but for their number; None when it is gone.

        Raises Changed when it has changed since it was listed, as `metadata` does.
        """
        return await self._read(PHOTOS, found)

    async def unchanged_photo(self, found: ListedObject) -> bytes | None:
        """As `photo`, but None also when it has changed since it was listed."""
        try:
            return await self.photo(found)
        except Changed:
            return None

    async def metadata(self, found: ListedObject) -> bytes | None:
        """The bytes of a listed metadata file, verified; None when it is gone."""
        return await self._read(METADATA, found, verify=self.content_tags)

    async def probe(self, photos: Sequence[ListedObject]) -> None:
        """Set `content_tags`: whether the listing's ETags are MD5 sums of the content.

        With KMS encryption they look like MD5 sums and are not, so a few photos are read and compared.
        """
        if self.is_folder or not all(is_md5(found.etag) for found in photos):
            return
        probes = photos[:: max(1, len(photos) // _PROBES)][:_PROBES]
        contents = await asyncio.gather(*(self.unchanged_photo(found) for found in probes))
        # One match is proof. A mismatch may be a photo that was damaged in transit or changed since it was listed.
        self.content_tags = any(
            data is not None and md5_of(data) == found.etag for data, found in zip(contents, probes, strict=True)
        )

    async def has_changed(self, found: ListedObject) -> bool:
        """Whether a photo has changed since it was listed."""
        path = PHOTOS + found.name
        try:
            return await self._persist(path, lambda: self._is_changed(path, found))
        except FileNotFoundError:
            return True

    async def _is_changed(self, path: str, found: ListedObject) -> bool:
        if isinstance(self._at, Path):
            return _stat_tag((self._at / path).stat()) != found.etag
        return bare_tag((await obstore.head_async(self._store, path))["e_tag"]) != found.etag

    async def _list(self, folder: str, so_far: Callable[[int], None] | None = None) -> list[ListedObject]:
        found: list[ListedObject] = []

        def add(entries: Iterable[ListedObject]) -> None:
            found.extend(entries)
            if so_far is not None:
                so_far(len(found))

        if folder in self.listed:
            add(self.listed.pop(folder))
        elif isinstance(self._at, Path):
            add(await asyncio.to_thread(_files_below, self._at / folder))
        else:
            await self._list_part(folder, Part(), add)
        return sorted(found, key=lambda entry: entry.name)

    async def _list_part(self, folder: str, part: Part, add: Callable[[Iterable[ListedObject]], None]) -> None:
        """Half a million keys are 536 pages of a tenth of a second, so what follows a full page is listed in parts."""
        while True:
            page = await self._persist(folder, partial(self._page, folder, part.after))
            wanted = [entry for entry in page if part.last is None or entry.name <= part.last]
            add(wanted)
            if len(page) < _PAGE or len(wanted) < len(page):
                return
            first, *others = cut(replace(part, after=page[-1].name), page[0].name)
            if others:
                break
            part = first
        await asyncio.gather(*(self._list_part(folder, each, add) for each in (first, *others)))

    async def _page(self, folder: str, after: str) -> list[ListedObject]:
        """One page of a bucket's listing."""
        async with self._pages:
            try:
                async for page in obstore.list(self._store, folder, offset=folder + after, chunk_size=_PAGE):
                    return _entries(folder, page)
            except (InvalidPathError, ValueError):
                # The object store's client refuses a page with a key such as `a//b` or one with a line break.
                assert isinstance(self._at, _Bucket), "only pages of buckets are requested"
                return await asyncio.to_thread(_page_of_any_keys, self._at, folder, after)
        return []

    async def _read(self, folder: str, found: ListedObject, *, verify: bool = False) -> bytes | None:
        path = folder + found.name
        received = bytearray()

        async def once() -> bytes:
            # An ETag that is no MD5 sum cannot verify the bytes, so the request itself must name it.
            if (found.size > _RESUMED or not self.content_tags) and not self.is_folder:
                if len(received) < found.size:
                    await self._receive(path, found, received)
                data = bytes(received)
                # After a damaged answer the download starts anew.
                received.clear()
            else:
                data = await self._range(path, found.size)
            if len(data) != found.size or (verify and md5_of(data) != found.etag):
                if await self._is_changed(path, found):
                    raise Changed(f"{path} is no longer what was listed")
                raise Damaged(f"the {len(data)} bytes that arrived are not the {found.size} that were listed")
            return data

        try:
            return await self._persist(path, once) if found.size else b""
        except FileNotFoundError:
            return None

    async def _range(self, path: str, size: int) -> bytes:
        """The first bytes of an object, as many as it has. S3 has no range of one that is empty by now."""
        try:
            # A range request is one exchange with the event loop, a plain one is two: half the CPU a file.
            return bytes(await obstore.get_range_async(self._store, path, start=0, end=size))
        except BaseError as error:
            if _status(error) != _NO_SUCH_RANGE:
                raise
            return b""

    async def _receive(self, path: str, found: ListedObject, received: bytearray) -> None:
        """Download the rest after the bytes `received` so far; when the connection drops, the next try continues there.

        Raises Changed when the object is no longer the one that those bytes are from.
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
        """Run one request until it succeeds. Raises SourceError when it is refused or has failed too often."""
        for attempt in range(self._attempts):
            try:
                async with self.limit:
                    result = await once()
            except FileNotFoundError:
                raise
            except (PermissionDeniedError, UnauthenticatedError) as error:
                raise SourceError(_denied(self.url, path)) from error
            except (InvalidPathError, ValueError) as error:
                raise SourceError(f"{self.url}: {_first_line(error)}; give it another name") from error
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
        """Slow down after an error that may pass. Raises SourceError for a request that the server never accepts."""
        code = _status(error)
        if 400 <= code < 500 and code not in (408, 429):
            raise SourceError(f"{self.url}{path} was refused: {_first_line(error)}") from error
        self.limit.slowed()
        log.debug("%s: %s", path, _first_line(error))


async def read_file(url: str, *, etag: str = "") -> bytes | None:
    """The content of one object or file, by URL or path; None when it does not exist.

    `etag`: that it must have, where it is known. Raises Changed when it has another. Its bytes are held to the MD5 that
    S3 names; where S3 names none, to those of another reading.
    """
    folder, _, name = url.rpartition("/")
    if url.startswith(_FILE):
        name = unquote(name)
    source = BinSource(folder or ("/" if url.startswith("/") else "."), concurrency=4)
    found = ""

    async def once() -> bytes:
        nonlocal found
        answer = await obstore.get_async(source._store, name)
        if etag and bare_tag(answer.meta["e_tag"]) != etag:
            raise Changed(f"{url} is no longer what was listed")
        data = bytes(await answer.bytes_async())
        before, found = found, md5_of(data)
        if not source.is_folder and found not in (bare_tag(answer.meta["e_tag"]), before):
            raise Damaged(f"the MD5 of its bytes is {found}: neither that of its ETag nor that of another reading")
        return data

    try:
        return await source._persist(name, once)
    except FileNotFoundError:
        return None


def _entries(folder: str, page: Iterable[ObjectMeta]) -> list[ListedObject]:
    # The key of the folder itself, which consoles make, comes without its slash.
    paths = ((str(entry["path"]), entry) for entry in page)
    return [
        ListedObject(path.removeprefix(folder), int(entry["size"]), bare_tag(entry["e_tag"]))
        for path, entry in paths
        if path.startswith(folder)
    ]


@dataclass(frozen=True, slots=True)
class _Bucket:
    """A bucket and a prefix of its keys, without slashes around it."""

    name: str
    prefix: str


def _address(url: str) -> _Bucket | Path:
    """Where a URL leads. Every character of an S3 key may be in one, `?` and `#` too."""
    scheme, found, rest = url.partition("://")
    if found and scheme in ("s3", "s3a"):
        bucket, _, prefix = rest.partition("/")
        if not bucket:
            raise SourceError(f"{url} names no bucket; write s3://bucket/prefix/")
        return _Bucket(bucket, prefix.strip("/"))
    if found and scheme != "file":
        raise SourceError(f"{url} is neither an s3:// URL nor a folder")
    folder = Path(unquote(rest.removeprefix("localhost")) if found else url)
    if not folder.is_dir():
        raise SourceError(f"{folder} is no folder; give the one that holds {PHOTOS} and {METADATA}")
    return folder.resolve()


def _open(at: _Bucket | Path, concurrency: int) -> ObjectStore:
    if isinstance(at, Path):
        return LocalStore(at)
    try:
        return open_store(at.name, at.prefix, concurrency=concurrency)
    except (BaseError, ValueError) as error:
        raise SourceError(f"s3://{at.name}/{at.prefix}/ cannot be read: {_first_line(error)}") from error


def _files_below(folder: Path) -> list[ListedObject]:
    """The files in a folder and below it; a name that is no text has its bytes written as `\\xff`."""
    found: list[ListedObject] = []
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            shown = os.fsencode(path.relative_to(folder)).decode(errors="backslashreplace")
            try:
                facts = path.stat()
            except OSError:
                # A link that leads nowhere.
                found.append(ListedObject(shown, 0, ""))
            else:
                found.append(ListedObject(shown, facts.st_size, _stat_tag(facts)))
    return found


def _stat_tag(facts: os.stat_result) -> str:
    """A tag of a file that changes with its content."""
    return f"{facts.st_ino:x}-{facts.st_mtime_ns:x}-{facts.st_size:x}"


def _page_of_any_keys(at: _Bucket, folder: str, after: str) -> list[ListedObject]:
    """One page of a bucket's listing, whatever the keys. Raises SourceError."""
    # Takes most of a second to import, and hardly any bucket has such keys.
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    endpoint, region, anonymous = access(at.name)
    settings: dict[str, Any] = {"signature_version": UNSIGNED} if anonymous else {}
    config = Config(
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS}, s3={"addressing_style": "path"}, **settings
    )
    start = f"{at.prefix}/{folder}" if at.prefix else folder
    found: list[dict[str, Any]] = []
    where = {"StartAfter": start + after}
    try:
        s3 = boto3.client("s3", endpoint_url=endpoint, region_name=region, config=config)
        # S3 passes over deleted objects, so an answer may have few keys or none although more follow.
        while where and len(found) < _PAGE:
            page = s3.list_objects_v2(Bucket=at.name, Prefix=start, MaxKeys=_PAGE, **where)
            found += page.get("Contents", [])
            token = page.get("NextContinuationToken")
            where = {"ContinuationToken": token} if token else {}
    except (BotoCoreError, ClientError) as error:
        raise SourceError(f"s3://{at.name}/{start} cannot be listed: {_first_line(error)}") from error
    return [ListedObject(each["Key"][len(start) :], each["Size"], bare_tag(each.get("ETag"))) for each in found]


def _status(error: Exception) -> int:
    """The status of S3's answer in an error of the object store's client; 0 without one."""
    found = _STATUS.search(str(error))
    return int(found.group(1)) if found else 0


def _denied(url: str, path: str) -> str:
    return f"access to {url}{path} was denied; grant s3:GetObject on its objects and s3:ListBucket on its bucket"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
