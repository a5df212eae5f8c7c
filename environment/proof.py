"""Import each installed package and use it once; the environment's interpreter runs this file.

    .venv/bin/python environment/proof.py [pytorch] [jobs] [others] [--without-operators]

Prints a line for each that works; exits with 1 at the first that does not, and names it.
"""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def prove_torch() -> str:
    """A product of two matrices."""
    import torch

    ones = torch.ones(8, 8)
    if float((ones @ ones).sum()) != 512.0:
        raise ArithmeticError("a product of two matrices of ones is wrong")
    return f"{torch.__version__}, {'CUDA' if torch.version.cuda else 'CPU'} build"


def prove_torchvision() -> str:
    """A network, and `nms`: of two boxes that overlap by more than the threshold, the better one stays."""
    import torch
    from torchvision import __version__, models
    from torchvision.ops import nms

    with torch.inference_mode():
        answer = models.resnet18(weights=None).eval()(torch.zeros(1, 3, 32, 32))
    if tuple(answer.shape) != (1, 1000):
        raise ArithmeticError(f"resnet18 answers with the shape {tuple(answer.shape)}")
    if "--without-operators" in sys.argv:
        return f"{__version__}, without its compiled operators"
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [20.0, 20.0, 30.0, 30.0]])
    kept = nms(boxes, torch.tensor([0.5, 0.9, 0.7]), 0.5).tolist()
    if kept != [1, 2]:
        raise ArithmeticError(f"nms keeps the boxes {kept} instead of [1, 2]")
    return str(__version__)


def prove_openvino() -> str:
    """A network of one addition, compiled and called."""
    import numpy

    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # see inference_code/silent_openvino.py
    import openvino
    from openvino import opset15

    given = opset15.parameter([2], numpy.float32)
    model = openvino.Model([opset15.add(given, given)], [given])
    answer = openvino.Core().compile_model(model, "CPU")(numpy.ones(2, numpy.float32))[0]
    if answer.tolist() != [2.0, 2.0]:
        raise ArithmeticError(f"1 + 1 is {answer.tolist()}")
    return str(openvino.__version__.partition("-")[0])


def prove_onnxruntime() -> str:
    """A network of one addition, checked by ONNX and called."""
    import numpy
    import onnx
    import onnxruntime

    one = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])
    two = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "x"], ["y"])], "proof", [one], [two])
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answer = session.run(None, {"x": numpy.ones(2, numpy.float32)})[0]
    if answer.tolist() != [2.0, 2.0]:
        raise ArithmeticError(f"1 + 1 is {answer.tolist()}")
    return str(onnxruntime.__version__)


def prove_photos() -> str:
    """A photo, written as JPEG by Pillow, read by simplejpeg and resized."""
    import io

    import simplejpeg
    from cykooz_resizer import FilterType, ResizeAlg, ResizeOptions, Resizer
    from PIL import Image, __version__

    photo = io.BytesIO()
    Image.new("RGB", (64, 48), (90, 120, 30)).save(photo, "JPEG")
    if simplejpeg.decode_jpeg(photo.getvalue()).shape != (48, 64, 3):
        raise ArithmeticError("a photo of 64 x 48 pixels is read with another size")
    small = Image.new("RGB", (32, 24))
    box = ResizeOptions(resize_alg=ResizeAlg.convolution(FilterType.box))
    Resizer().resize_pil(Image.open(photo).convert("RGB"), small, box)
    if abs(small.getpixel((5, 5))[1] - 120) > 8:  # type: ignore[index]
        raise ArithmeticError("a resized photo has another colour")
    return f"Pillow {__version__}, simplejpeg, cykooz-resizer"


def prove_clients() -> str:
    """The S3 clients and the file formats."""
    import boto3
    import obstore
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]
    import safetensors
    import uvloop

    names = (obstore, pyarrow, safetensors, uvloop)
    return f"boto3 {boto3.__version__}, {', '.join(module.__name__.partition('.')[0] for module in names)}"


def prove_local_aws() -> str:
    """The local AWS, whose CloudFormation imports the other services, and the toolkit that its training jobs start."""
    # By name, because only local_aws/ministack/ may import it (tests/architecture).
    local_aws = importlib.import_module("ministack.app")
    importlib.import_module("ministack.services.cloudformation")

    with tempfile.TemporaryDirectory() as folder:
        # The toolkit creates the folders of a job when it is imported.
        os.environ["SAGEMAKER_BASE_DIR"] = folder
        logging.disable(logging.INFO)
        from sagemaker_pytorch_container import training
        from sagemaker_training import entry_point

    return f"{local_aws.__name__.partition('.')[0]}, {training.__name__}, {entry_point.__name__}"


def prove_cdk() -> str:
    """A stack with a bucket, written by the CDK library, which starts Node; and the CDK command line."""
    import aws_cdk
    from aws_cdk import aws_s3

    app = aws_cdk.App(builtin_cloud_formation_validation=False)
    stack = aws_cdk.Stack(app, "Proof")
    aws_s3.CfnBucket(stack, "Bucket")
    template = stack.to_json_string(stack.node.id)
    if not template:
        raise ArithmeticError("the stack has no template")
    cdk = ROOT / "node_modules" / ".bin" / "cdk"
    version = subprocess.run([str(cdk), "--version"], capture_output=True, text=True, check=True).stdout.split()[0]
    return f"aws-cdk-lib, CDK CLI {version}"


def prove_jobs() -> str:
    """The programs of jobs and of the endpoint, which import their modules flat, with all that they import.

    It also leaves their bytecode, without which each job would compile it again; so do the next two.
    """
    sys.path += [str(ROOT / folder) for folder in ("training_code", "inference_code")]
    programs = ("ingest", "embed", "train", "evaluate", "server")
    for name in programs:
        importlib.import_module(name)
    return ", ".join(programs)


def prove_commands() -> str:
    """Every command of `binventory`, and what serves a rehearsal."""
    commands = importlib.import_module("binventory.cli")
    names = sorted(module.name for module in pkgutil.iter_modules(commands.__path__))
    for name in names:
        importlib.import_module(f"binventory.cli.{name}")
    importlib.import_module("local_aws.process")
    return f"{len(names)} parts"


def prove_stacks() -> str:
    """The stacks, with the parts of the CDK's library that they import."""
    return importlib.import_module("app").__name__


PYTORCH: dict[str, Callable[[], str]] = {"torch": prove_torch, "torchvision": prove_torchvision}
JOBS: dict[str, Callable[[], str]] = {"jobs": prove_jobs}
OTHERS: dict[str, Callable[[], str]] = {
    "OpenVINO": prove_openvino,
    "ONNX Runtime": prove_onnxruntime,
    "photos": prove_photos,
    "clients": prove_clients,
    "local AWS": prove_local_aws,
    "CDK": prove_cdk,
    "stacks": prove_stacks,
    "commands": prove_commands,
}


def main() -> int:
    """Try the packages of the groups in the arguments, or all; returns the exit code."""
    sys.path[0] = str(ROOT)  # not the folder of this file
    groups = {"pytorch": PYTORCH, "jobs": JOBS, "others": OTHERS}
    chosen = [group for name, group in groups.items() if name in sys.argv] or list(groups.values())
    for name, prove in (item for group in chosen for item in group.items()):
        try:
            print(f"{name}: {prove()}", flush=True)
        except BaseException as error:  # an extension module may raise any exception at import
            print(f"{name} does not work: {type(error).__name__}: {error}", flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
