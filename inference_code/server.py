"""The endpoint's HTTP server: /ping and /invocations under SageMaker's container contract.

By hand: `python server.py serve --model model.tar.gz`, then
`curl --data-binary @bin.jpg -H 'content-type: image/jpeg' localhost:8080/invocations`.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import uvicorn
from PIL import Image, ImageDraw

from inference import CountingModel, Reading, model_fn, predict_fn
from serving.admission import AdmissionLimits, whole_number
from serving.application import Application
from serving.artefact import ArtefactError, unpack
from serving.connections import HttpProtocol
from serving.network import ModelError
from serving.refusals import Refusal
from serving.rights import give_up_root
from serving.telemetry import Metrics, log

# SageMaker kills a container 30 seconds after SIGTERM.
DRAIN_SECONDS: Final = 25


def main(arguments: list[str] | None = None) -> int:
    """Load the model, answer the self-test photo, give up root, then serve until SIGTERM. Returns the exit status."""
    options = _options(arguments)
    # Before uvicorn handles signals, and after it has drained: stop at once, with success.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    begun = time.perf_counter()
    try:
        limits = AdmissionLimits.from_environment()
        port = whole_number("SAGEMAKER_BIND_TO_PORT", 8080, most=65_535) if options.port is None else options.port
        _is_measured()
        counter = load(options.model)
    except (ArtefactError, ValueError) as error:
        log("refused", stream=sys.stderr, message=str(error))
        return 1
    kept_rights = give_up_root()
    seconds = round(time.perf_counter() - begun, 3)
    log("ready", seconds=seconds, port=port, model=counter.identity, user=os.geteuid(), kept_rights=kept_rights)
    serve(counter, limits, port)
    return 0


def _is_measured() -> bool:
    """Whether metrics are written. Raises ValueError for another value than on and off."""
    value = os.environ.get("BINVENTORY_METRICS", "on")
    if value not in ("on", "off"):
        raise ValueError(f"BINVENTORY_METRICS must be on or off, not {value!r}")
    return value == "on"


def serve(counter: CountingModel, limits: AdmissionLimits, port: int) -> None:
    """Answer requests until SIGTERM, then finish those in progress."""
    # SageMaker sets this in the containers of transform jobs.
    in_transform_job = os.environ.get("SAGEMAKER_BATCH") == "true"
    metrics = Metrics(
        namespace="Binventory/Endpoint",
        dimensions={"Endpoint": os.environ.get("BINVENTORY_ENDPOINT", "local")},
        properties={"ModelPackage": os.environ.get("MODEL_PACKAGE_ARN", "")},
        # A transform job is no endpoint, and CloudWatch bills what it makes of these lines.
        enabled=_is_measured() and not in_transform_job,
    )
    uvicorn.run(
        Application(
            counter,
            limits=limits,
            metrics=metrics,
            in_transform_job=in_transform_job,
        ),
        host=os.environ.get("BINVENTORY_BIND_HOST", "0.0.0.0"),
        port=port,
        lifespan="on",
        ws="none",
        loop="uvloop",
        http=HttpProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


def load(model: Path) -> CountingModel:
    """The model in a folder or a model.tar.gz, once it has answered the self-test photo. Raises ArtefactError."""
    package = os.environ.get("MODEL_PACKAGE_ARN", "")
    if model.is_file():
        with tempfile.TemporaryDirectory() as folder:
            unpack(model, Path(folder))
            counter = model_fn(folder, package=package)
    else:
        counter = model_fn(model, package=package)
    _check_digest(counter)
    _check_classes(counter)
    self_test(counter)
    return counter


def _check_digest(counter: CountingModel) -> None:
    """Raises ArtefactError for another archive than the one that was registered, and so approved."""
    expected = os.environ.get("BINVENTORY_MODEL_DIGEST", "")
    if expected and counter.seal != expected:
        raise ArtefactError(
            f"serving.json: the archive has the digest {counter.seal}, but the model package was registered with "
            f"{expected}; another archive was written to its address: restore the earlier version of the object"
        )


def _check_classes(counter: CountingModel) -> None:
    """Raises ArtefactError for a model of other counts than the deployment promises: its answers would be wrong."""
    expected = os.environ.get("BINVENTORY_CLASSES", "")
    found = ",".join(str(count) for count in counter.description.classes)
    if expected and found != expected:
        raise ArtefactError(f"serving.json: the model counts {found}, but this endpoint promises {expected}")


def self_test(counter: CountingModel) -> None:
    """Count a drawn bin, from JPEG bytes to answer. Raises ArtefactError when the model fails."""
    try:
        result = predict_fn(Reading((self_test_photo(),), batch=False), counter).results[0]
    except ModelError as error:
        raise ArtefactError(f"the model cannot answer the self-test photo: {error}") from error
    if isinstance(result, Refusal):
        raise ArtefactError(f"the model's preprocessing refuses the self-test photo: {result.message}")


def self_test_photo() -> bytes:
    """The JPEG bytes of a bin with three boxes."""
    image = Image.new("RGB", (400, 320), (196, 164, 60))
    draw = ImageDraw.Draw(image)
    for left, colour in ((40, (90, 60, 30)), (150, (40, 90, 160)), (270, (170, 40, 40))):
        draw.rectangle((left, 110, left + 90, 280), fill=colour)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _options(arguments: list[str] | None) -> argparse.Namespace:
    base = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
    parser = argparse.ArgumentParser(description="Serve a model that counts the items in bin photos.")
    parser.add_argument("command", nargs="?", choices=["serve"], default="serve")
    parser.add_argument("--model", type=Path, default=base / "model", help="a model folder or a model.tar.gz")
    parser.add_argument("--port", type=int, help="default: SAGEMAKER_BIND_TO_PORT, or 8080")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
