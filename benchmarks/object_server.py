"""A read-only S3 over HTTP for benchmarks and tests: one bucket in memory, with added latency and planned faults.

With a slow local S3 server a benchmark would measure the server. This one answers some thousands of requests a second
and has what readers need: GET, HEAD, ranges, If-Match and ListObjectsV2, with MD5 ETags as S3's.

    with ObjectServer({"bin-images/00001.jpg": data}, latency=0.1) as server:
        boto3.client("s3", endpoint_url=server.endpoint_url, ...)

    python -m benchmarks.object_server ../shared/abid --photos 20000 --latency 0.1     # in another process
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import re
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast
from urllib.parse import parse_qs, quote, unquote
from xml.sax.saxutils import escape

import uvloop

BUCKET: Final = "aft-vbi-pds"
LISTING: Final = "?list"
"""Stands for a key in the requests that list the bucket."""
_DATE: Final = "Mon, 01 Jan 2024 00:00:00 GMT"
# Those that change the answer; a client sends a dozen.
_HEADERS: Final = re.compile(r"\r\n(range|if-match): *([^\r]*)", re.IGNORECASE)
_SIDE: Final = '{\n                "unit": "IN",\n                "value": 2.8999999970420003\n            }'
_ITEM: Final = f"""        "SKU": {{
            "asin": "SKU",
            "height": {_SIDE},
            "length": {_SIDE},
            "name": "A backpack for children, with two pockets and a picture of a dinosaur",
            "normalizedName": "A backpack for children, with two pockets and a picture of a dinosaur",
            "quantity": 1,
            "weight": {_SIDE},
            "width": {_SIDE}
        }}"""
_INVALID_RANGE: Final = (
    b"<Error><Code>InvalidRange</Code><Message>The requested range is not satisfiable</Message></Error>"
)
_SLOW_DOWN: Final = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Fault(Enum):
    """What may go wrong with one answer."""

    SLOW_DOWN = "503 SlowDown"
    DROP = "the connection closes in the middle of the body"
    RESET = "the connection closes before the answer"
    FLIP = "one byte of the body is wrong"
    DENY = "403"
    STALL = "no answer ever comes"


@dataclass(frozen=True, slots=True)
class Stored:
    """One object: two parts that are sent after each other, so that many objects can share one."""

    body: bytes
    tail: bytes
    etag: str

    @property
    def size(self) -> int:
        """Bytes of the object."""
        return len(self.body) + len(self.tail)


FaultRule = Callable[[str, int], Fault | None]
"""From an object's key and the number of requests for it before this one to what goes wrong, if anything."""


def store(objects: Mapping[str, bytes]) -> dict[str, Stored]:
    """Objects as the server keeps them."""
    return {
        key: Stored(data, b"", hashlib.md5(data, usedforsecurity=False).hexdigest()) for key, data in objects.items()
    }


class ObjectServer:
    """Serves objects of one bucket on a free port of the loopback interface, in a separate thread."""

    def __init__(
        self,
        objects: Mapping[str, bytes | Stored],
        *,
        latency: float = 0.0,
        fault: FaultRule | None = None,
        bucket: str = BUCKET,
        port: int = 0,
    ) -> None:
        kept = {key: value for key, value in objects.items() if isinstance(value, Stored)}
        self.objects = {**kept, **store({key: value for key, value in objects.items() if isinstance(value, bytes)})}
        self.keys = sorted(self.objects)
        self.bucket = bucket
        self.latency = latency
        self.fault = fault
        self.requests: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        """Bytes of bodies, by key."""
        self.listing = ""
        """The prefix that the latest listing is of; the fault rule is asked about it under the key LISTING."""
        self.connections: set[asyncio.Transport] = set()
        self.in_flight = 0
        self.most_in_flight = 0
        self._port = port
        self._loop = uvloop.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def endpoint_url(self) -> str:
        """Where it listens."""
        assert self._server is not None, "the server is not started"
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        """Close every connection: a process of tests starts many servers, and may often have 1,024 open files only."""
        assert self._server is not None, "the server is not started"
        self._server.close()
        for transport in tuple(self.connections):
            transport.abort()
        await asyncio.sleep(0)  # in which the loop closes them

    async def _listen(self) -> asyncio.Server:
        server = await self._loop.create_server(lambda: _Connection(self), "127.0.0.1", self._port, backlog=1024)
        return cast(asyncio.Server, server)


class _Connection(asyncio.Protocol):
    """One client's connection: requests come one after the other."""

    def __init__(self, server: ObjectServer) -> None:
        self._server = server
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._transport is not None
        self._server.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end >= 0:
            head, self._received = self._received[:end].decode("latin-1"), self._received[end + 4 :]
            server = self._server
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
            asyncio.get_running_loop().call_later(server.latency, self._answer, head)

    def _answer(self, head: str) -> None:
        server = self._server
        server.in_flight -= 1
        assert self._transport is not None
        if self._transport.is_closing():
            return
        method, target, _ = head.split(" ", 2)
        headers = {name.lower(): value for name, value in _HEADERS.findall(head)}
        path, _, query = target.partition("?")
        key = unquote(path).removeprefix(f"/{server.bucket}").removeprefix("/")
        if not key:
            key, server.listing = LISTING, parse_qs(query).get("prefix", [""])[0]
        before = server.requests[key]
        server.requests[key] += 1
        fault = server.fault(key, before) if server.fault else None
        if key == LISTING and fault is None:
            self._send(200, "OK", _listing(server, query), content_type="application/xml")
        else:
            self._object(method, key, headers, fault)

    def _object(self, method: str, key: str, headers: Mapping[str, str], fault: Fault | None) -> None:
        assert self._transport is not None
        found = self._server.objects.get(key)
        if fault is Fault.STALL:
            return
        if fault is Fault.RESET:
            self._transport.abort()
        elif fault is Fault.SLOW_DOWN:
            self._send(503, "Slow Down", [_SLOW_DOWN], content_type="application/xml")
        elif fault is Fault.DENY:
            self._send(403, "Forbidden", [])
        elif found is None:
            self._send(404, "Not Found", [b"<Error><Code>NoSuchKey</Code></Error>"], content_type="application/xml")
        elif headers.get("if-match", found.etag).strip('"') != found.etag:
            self._send(412, "Precondition Failed", [])
        elif method == "HEAD":
            self._send(200, "OK", [], etag=found.etag, size=found.size)
        else:
            self._server.sent[key] += self._body(found, headers.get("range"), fault)

    def _body(self, found: Stored, wanted: str | None, fault: Fault | None) -> int:
        """Send what is wanted of the object, as far as the fault allows; gives the bytes sent."""
        assert self._transport is not None
        first, _, last = (wanted or "bytes=0-").removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last) + 1 if last else found.size, found.size)
        if wanted and start >= found.size:
            self._send(416, "Range Not Satisfiable", [_INVALID_RANGE], content_type="application/xml")
            return 0
        body = [found.body, found.tail]
        if (start, end) != (0, found.size) or fault in (Fault.FLIP, Fault.DROP):
            part = (found.body + found.tail)[start:end]
            body = [bytes([part[0] ^ 1]) + part[1:]] if fault is Fault.FLIP else [part]
        if fault is Fault.DROP:
            body = [body[0][: len(body[0]) // 2]]
        span = f"bytes {start}-{end - 1}/{found.size}"
        status, reason = (206, "Partial Content") if wanted else (200, "OK")
        self._send(status, reason, body, etag=found.etag, size=end - start, span=span if wanted else "")
        if fault is Fault.DROP:
            self._transport.close()
        return sum(len(part) for part in body)

    def _send(
        self,
        status: int,
        reason: str,
        body: list[bytes],
        *,
        content_type: str = "image/jpeg",
        etag: str = "",
        size: int | None = None,
        span: str = "",
    ) -> None:
        assert self._transport is not None
        length = sum(len(part) for part in body) if size is None else size
        lines = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {length}", f"Last-Modified: {_DATE}"]
        lines.append(f"Content-Type: {content_type}")
        if etag:
            lines.append(f'ETag: "{etag}"')
        if span:
            lines.append(f"Content-Range: {span}")
        self._transport.writelines([("\r\n".join(lines) + "\r\n\r\n").encode(), *body])


def _listing(server: ObjectServer, query: str) -> list[bytes]:
    """One page of ListObjectsV2: a key without an object was deleted. It counts, as in S3, and is not shown."""
    asked = {name: values[0] for name, values in parse_qs(query).items()}
    prefix = asked.get("prefix", "")
    after = asked.get("continuation-token") or asked.get("start-after", "")
    most = int(asked.get("max-keys", "1000"))
    begin = bisect_right(server.keys, max(after, prefix)) if after else _first(server.keys, prefix)
    seen: list[str] = []
    more = False
    for key in server.keys[begin : begin + most + 1]:
        if not key.startswith(prefix):
            break
        if len(seen) == most:
            more = True
            break
        seen.append(key)
    page = [key for key in seen if key in server.objects]
    encoding = "<EncodingType>url</EncodingType>" if asked.get("encoding-type") == "url" else ""
    shown = quote if encoding else escape
    contents = "".join(
        f"<Contents><Key>{shown(key)}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{server.objects[key].etag}&quot;</ETag><Size>{server.objects[key].size}</Size></Contents>"
        for key in page
    )
    token = f"<NextContinuationToken>{escape(seen[-1])}</NextContinuationToken>" if more else ""
    return [
        f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>{server.bucket}</Name><Prefix>{escape(prefix)}'
        f"</Prefix><KeyCount>{len(page)}</KeyCount><MaxKeys>{most}</MaxKeys><IsTruncated>{str(more).lower()}"
        f"</IsTruncated>{encoding}{contents}{token}</ListBucketResult>".encode()
    ]


def _first(keys: list[str], prefix: str) -> int:
    return bisect_right(keys, prefix) - (1 if prefix in keys else 0)


def repeated(folder: Path, photos: int) -> Iterator[tuple[str, Stored]]:
    """This many photos, made from those of a folder: each gets different bytes at its end, so that no two are equal."""
    originals = [path.read_bytes() for path in sorted((folder / "bin-images").glob("*.jpg"))]
    if not originals:
        raise SystemExit(f"{folder}/bin-images holds no *.jpg")
    digests = [hashlib.md5(data, usedforsecurity=False) for data in originals]
    for number in range(photos):
        # Decoders ignore what follows the end of a JPEG.
        tail = number.to_bytes(8, "big")
        digest = digests[number % len(originals)].copy()
        digest.update(tail)
        name = f"{number + 1:05}"
        record = _record(number)
        yield f"bin-images/{name}.jpg", Stored(originals[number % len(originals)], tail, digest.hexdigest())
        yield f"metadata/{name}.json", Stored(record, b"", hashlib.md5(record, usedforsecurity=False).hexdigest())


def _record(number: int) -> bytes:
    """A record of 1 to 5 SKUs, one item of each: laid out like a real one, and on average as large (2.2 kB)."""
    count = number % 5 + 1
    items = ",\n".join(_ITEM.replace("SKU", f"B{(number + at) % 7919:09}") for at in range(count))
    return f'{{\n    "BIN_FCSKU_DATA": {{\n{items}\n    }},\n    "EXPECTED_QUANTITY": {count}\n}}\n'.encode()


def main() -> None:
    """Serve a folder's photos, repeated, until the process is ended; prints the endpoint on one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--latency", type=float, default=0.1, help="seconds added to each request")
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    with ObjectServer(dict(repeated(args.folder, args.photos)), latency=args.latency, port=args.port) as server:
        print(server.endpoint_url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
