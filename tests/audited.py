"""A folder of bins to audit, hostile ones among them, and a SageMaker runtime endpoint that answers over HTTP."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
from PIL import Image

from binventory.core.aws import Aws
from evaluation.report import write_report
from tests.evaluated import evaluated, samples

SCRIPT = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"
FORMULA = "=cmd|'/c calc'!A1"


def photo_bytes(shade: int, comment: str = "") -> bytes:
    """A small JPEG of one shade; with another comment its content is another."""
    buffer = io.BytesIO()
    Image.new("RGB", (60, 48), (shade, 255 - shade, 90)).save(buffer, "JPEG", comment=comment)
    return buffer.getvalue()


def write_bin(
    folder: Path,
    image_id: str,
    quantity: int,
    *,
    name: str = "Cup",
    photo: bytes | None = None,
    record: bytes | None = None,
) -> None:
    """One bin laid out like the public bucket; its photo's shade says its quantity (20 a count).

    No two photos have the same content, of which Ingest would leave out what is in another split.
    """
    (folder / "bin-images").mkdir(parents=True, exist_ok=True)
    (folder / "metadata").mkdir(exist_ok=True)
    (folder / "bin-images" / f"{image_id}.jpg").write_bytes(
        photo_bytes(20 * quantity, image_id) if photo is None else photo
    )
    items = {f"B{image_id}": {"name": name, "quantity": quantity}} if quantity else {}
    document = json.dumps({"BIN_FCSKU_DATA": items, "EXPECTED_QUANTITY": quantity}).encode()
    (folder / "metadata" / f"{image_id}.json").write_bytes(document if record is None else record)


def write_folder(folder: Path, bins: int) -> Path:
    """`bins` good bins with quantities 1 to 5 in turn."""
    for number in range(bins):
        write_bin(folder, f"{number * 10:05d}", number % 5 + 1)
    return folder


def write_predictions(folder: Path, path: Path, wrong: int = 0) -> Path:
    """JSON Lines that agree with the records of `folder`, but for the first `wrong` ids."""
    lines = []
    for number, file in enumerate(sorted((folder / "bin-images").iterdir())):
        count = number % 5 + 1 if number >= wrong else (number + 2) % 5 + 1
        table = {str(each): 0.9 if each == count else 0.025 for each in range(1, 6)}
        lines.append(json.dumps({"image_id": file.stem, "count": count, "probabilities": table}))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_evaluation(folder: Path, skill: float) -> Path:
    """The evaluation.json of a model that leans towards the truth by `skill`; with 0 it knows nothing."""
    photos = samples(200)
    write_report(folder, evaluated(photos, skill=skill, replicates=100), photos)
    return folder / "evaluation.json"


Reply = tuple[int, bytes]
Answering = Callable[[bytes, int], Reply]
"""From a photo and the number of the request to status and body."""
CUT = -1
"""As a status: the connection ends before all of the body has been sent."""


def shade_answer(photo: bytes, number: int) -> Reply:
    """The answer of a good model: the count that the photo's shade encodes."""
    with Image.open(io.BytesIO(photo)) as image:
        count = round(image.convert("RGB").resize((1, 1)).getpixel((0, 0))[0] / 20)  # type: ignore[index]
    table = {str(each): 0.8 if each == count else 0.05 for each in range(1, 6)}
    return 200, json.dumps({"count": count, "probabilities": table}).encode()


@dataclass
class Runtime:
    """The endpoint, with the requests that it got."""

    aws: Aws
    photos: list[bytes] = field(default_factory=list)


@contextmanager
def runtime(answer: Answering = shade_answer) -> Iterator[Runtime]:
    """SageMaker's InvokeEndpoint on loopback, for real boto3; an answer with status 4xx or 5xx is a ModelError."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if "X-Amz-Target" in self.headers:  # SageMaker itself: nobody has described this endpoint
                self._reply(400, json.dumps({"__type": "ValidationException", "message": "Could not find it"}).encode())
                return
            with lock:
                found.photos.append(body)
                number = len(found.photos)
            status, reply = answer(body, number)
            if status == CUT:
                self.send_response(200)
                self.send_header("Content-Length", str(len(reply) + 100))
                self.end_headers()
                self.wfile.write(reply)
                self.close_connection = True
                return
            if status != 200:
                message = reply.decode()
                reply = json.dumps(
                    {"Message": message, "OriginalStatusCode": status, "OriginalMessage": message}
                ).encode()
            self._reply(
                424 if status != 200 else 200, reply, **({"x-amzn-errortype": "ModelError"} if status != 200 else {})
            )

        def _reply(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    session = boto3.Session("test", "test", region_name="us-east-1")
    found = Runtime(Aws(session, f"http://127.0.0.1:{server.server_port}"))
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
