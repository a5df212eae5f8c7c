"""Data capture: a sample of an endpoint's requests and responses, stored in the bucket of its configuration."""

from __future__ import annotations

import base64
import json
import logging
import random
import threading
import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.core.context import Context
from local_aws.core.objects import S3Uri, encryption
from local_aws.core.protocol import Document

_log = logging.getLogger(__name__)
# SageMaker collects for minutes.
_COLLECT_SECONDS = 1.0
_SIDES = {"Input": "endpointInput", "Output": "endpointOutput"}
_MODES = {"InputAndOutput": ("Input", "Output")}


@dataclass(frozen=True)
class CapturedMessage:
    """A request or a response."""

    body: bytes
    content_type: str


@dataclass(frozen=True)
class _Exchange:
    request: CapturedMessage
    response: CapturedMessage
    inference_id: str | None
    happened: datetime


class DataCapture:
    """Stores a sample of one endpoint's traffic.

    Args:
        context: the local AWS.
        endpoint: the endpoint's name.
        config: its DataCaptureConfig.
    """

    def __init__(self, context: Context, endpoint: str, config: Document) -> None:
        self._context = context
        self._endpoint = endpoint
        self._percent = float(config["InitialSamplingPercentage"])
        self._destination = S3Uri.parse(config["DestinationS3Uri"])
        self._key = config.get("KmsKeyId")
        options = [option["CaptureMode"] for option in config["CaptureOptions"]]
        self._modes = [mode for option in options for mode in _MODES.get(option, (option,))]
        headers = config.get("CaptureContentTypeHeader", {})
        self._encodings = dict.fromkeys(headers.get("CsvContentTypes", ("text/csv",)), "CSV")
        self._encodings |= dict.fromkeys(headers.get("JsonContentTypes", ("application/json",)), "JSON")
        self._pending: dict[tuple[str, str | None], list[_Exchange]] = defaultdict(list)
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def record(
        self,
        variant: str,
        role: str | None,
        request: CapturedMessage,
        response: CapturedMessage,
        inference_id: str | None = None,
    ) -> None:
        """Store this exchange, as the model's role, if it falls into the sample; returns at once.

        Args:
            variant: which has answered.
            role: of its model.
            request: what the caller has sent.
            response: what the container has answered.
            inference_id: the request's InferenceId, by which ground truth is merged with what was captured.
        """
        if random.uniform(0, 100) >= self._percent:
            return
        # Encoded later, on the writer's thread, because this thread answers every request.
        with self._lock:
            self._pending[variant, role].append(_Exchange(request, response, inference_id, datetime.now(UTC)))
            if self._timer is None:
                self._timer = threading.Timer(_COLLECT_SECONDS, self.flush)
                self._timer.daemon = True
                self._timer.start()

    def _line(self, exchange: _Exchange) -> bytes:
        sides = {"Input": exchange.request, "Output": exchange.response}
        happened = exchange.happened.isoformat(timespec="seconds").replace("+00:00", "Z")
        metadata = {"eventId": str(uuid.uuid4()), "inferenceTime": happened}
        event = {
            "captureData": {_SIDES[mode]: self._captured(mode, sides[mode]) for mode in self._modes},
            "eventMetadata": metadata | ({"inferenceId": exchange.inference_id} if exchange.inference_id else {}),
            "eventVersion": "0",
        }
        return json.dumps(event).encode() + b"\n"

    def _captured(self, mode: str, message: CapturedMessage) -> Document:
        encoding = self._encodings.get(message.content_type.partition(";")[0].strip(), "BASE64")
        plain = encoding != "BASE64"
        data = message.body.decode("utf-8", "replace") if plain else base64.b64encode(message.body).decode()
        return {
            "observedContentType": message.content_type,
            "mode": mode.upper(),
            "data": data,
            "encoding": encoding,
        }

    def flush(self) -> None:
        """Store the exchanges collected so far; those that S3 refuses are logged and lost."""
        with self._lock:
            pending, self._timer = dict(self._pending), None
            self._pending.clear()
        for (variant, role), exchanges in pending.items():
            now = datetime.now(UTC)
            folder = f"{self._endpoint}/{variant}/{now:%Y/%m/%d/%H}"
            key = "/".join(part for part in (self._destination.key.strip("/"), folder) if part)
            try:
                with self._context.acting(role):
                    self._context.client("s3").put_object(
                        Bucket=self._destination.bucket,
                        Key=f"{key}/{now:%M-%S}-{now.microsecond // 1000:03}-{uuid.uuid4()}.jsonl",
                        Body=b"".join(map(self._line, exchanges)),
                        **encryption(self._key),
                    )
            except (ClientError, BotoCoreError) as error:
                _log.warning("%d captured requests of %s were lost: %s", len(exchanges), self._endpoint, error)
