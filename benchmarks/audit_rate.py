"""How many real photos a second an audit by a local transform job judges, page and report included.

    python -m benchmarks.audit_rate                  # 10,000 photos: ../shared/abid-10k, then its first ones again
    python -m benchmarks.audit_rate --photos 2000    # shorter

A local AWS holds the photos and their records as the public bucket does. `binventory audit --batch` then runs as it
does on AWS: it lists and reads the records, starts a transform job with EfficientNet-Lite0 as the pipeline serves it
(benchmarks/endpoint/lite0.py), reads the answers and writes every file. Timed is all of that; filling the bucket is
not. Photos whose record is out of scope are set aside before they are counted, and are not judged. Photos that are
repeated have other ids; their records are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks import REPOSITORY
from benchmarks.claims import claim, exit_status
from benchmarks.endpoint import lite0
from benchmarks.processor import this_processor
from binventory.audit import job
from binventory.core.aws import Aws, connect
from binventory.core.names import Names
from binventory.core.processors import usable_cpus
from inference import model_fn
from local_aws.images.builder import ImageBuilder
from local_aws.images.docker_cli import put_image
from local_aws.server import REGION, LocalAws

PHOTOS: Final = 10_000
GOAL: Final = 150.0
_NAMES: Final = Names("dev", "binventory")
_BINS, _DATA, _MODELS, _ROLE, _IMAGE = "audited-bins", "audit-data", "audit-models", "transform", "endpoint"
_WRITERS: Final = 16
_MACHINE: Final = "ml.m5.xlarge"


@dataclass
class Steps:
    """When each step of an audit ended."""

    began: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)

    def passed(self, step: str) -> None:
        """Note that a step is over. A step can be over more than once; the last time counts."""
        self.seconds[step] = time.perf_counter() - self.began


def main() -> int:
    """Fill the bucket, audit it, print; the exit status is 1 when the claim was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=REPOSITORY.parent / "shared" / "abid-10k")
    parser.add_argument("--photos", type=int, default=PHOTOS)
    parser.add_argument("--work", type=Path, default=REPOSITORY / "build" / "serving-benchmark")
    asked = parser.parse_args()
    if not asked.folder.is_dir():
        sys.exit(f"no photos at {asked.folder}; give a folder laid out like the public bucket: --folder")
    print(f"processor: {this_processor()}, {usable_cpus()} cores")
    served, reason = lite0.make(asked.work / "lite0", asked.folder)
    print(f"EfficientNet-Lite0 is served in {reason}")
    alone = _alone(served, asked.folder)
    with tempfile.TemporaryDirectory() as folder, LocalAws(Path(folder) / "aws") as local:
        aws = connect(local.environment())
        began = time.perf_counter()
        repeated = _fill(aws, asked.folder, asked.photos)
        _deploy(aws, local, lite0.archive(asked.work / "lite0"))
        print(f"{asked.photos} photos of {asked.folder.name}, {repeated} of them again, in {_clock(began)} of filling")
        _audit(aws, asked, Path(folder) / "audit", alone)
    return exit_status()


def _audit(aws: Aws, asked: argparse.Namespace, output: Path, alone: float) -> None:
    request = job.Request(
        f"s3://{_BINS}/",
        output,
        evaluation=str(asked.work / "lite0" / "evaluated" / "evaluation" / "evaluation.json"),
        batch=True,
        names=_NAMES,
    )
    steps = Steps()
    heard = job.Progress(
        launched=lambda bins, site: steps.passed("listing"),
        transformed=lambda name, done: steps.passed("records and transform job" if done else "records and start"),
        audited=lambda count: steps.passed("answers"),
        drawn=lambda count: steps.passed("page and report"),
    )
    used = _processor_seconds()
    result = job.run_audit(request, lambda: aws, heard)
    seconds = time.perf_counter() - steps.began
    spent = _processor_seconds() - used
    counted, aside = result.summary.counted, asked.photos - result.summary.counted
    for step, at in steps.seconds.items():
        print(f"  {step}: until {at:.1f} s")
    files = ", ".join(f"{path.name} {path.stat().st_size / 1e6:.1f} MB" for path in result.files)
    print(f"  all files: {seconds:.1f} s ({files})")
    print(
        f"{counted} bins judged, {aside} set aside; {spent:.0f} s of processor time, {1000 * spent / counted:.1f} ms a "
        f"judged photo, of which its decoding and counting take {1000 * alone:.1f} ms; load {os.getloadavg()[0]:.1f}"
    )
    claim("audit_photos_judged_a_second", counted / seconds, at_least=GOAL)
    cores = usable_cpus()
    print(
        f"with those set aside {asked.photos / seconds:.0f} a second; by processor time alone, were {cores} cores "
        f"free: {counted / (spent / cores):.0f} judged photos a second"
    )


def _alone(served: Path, folder: Path) -> float:
    """Processor seconds of one photo from JPEG to scores, in this process on one thread."""
    model = model_fn(served, threads=1)
    photos = [path.read_bytes() for path in sorted((folder / "bin-images").iterdir())[:64]]
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        for photo in photos:
            model.logits(model.prepare(photo)[None])  # type: ignore[index]
        best = min(best, (time.process_time() - began) / len(photos))
    return best


def _processor_seconds() -> float:
    """Of this process, the local AWS and everything that they have started."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    total = own.ru_utime + own.ru_stime
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        # With those that it has waited for: the servers of a job that is over.
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _objects(folder: Path, photos: int) -> Iterator[tuple[str, bytes]]:
    """Photos and records; those of a second round have ids that the first has not."""
    found = sorted((folder / "bin-images").glob("*.jpg"))
    for number in range(photos):
        path = found[number % len(found)]
        name = path.stem if number < len(found) else f"{1_000_000 + number}"
        yield f"bin-images/{name}.jpg", path.read_bytes()
        yield f"metadata/{name}.json", (folder / "metadata" / f"{path.stem}.json").read_bytes()


def _fill(aws: Aws, folder: Path, photos: int) -> int:
    s3 = aws.client("s3")
    for bucket in (_BINS, _DATA, _MODELS):
        s3.create_bucket(Bucket=bucket)

    def put(entry: tuple[str, bytes]) -> None:
        s3.put_object(Bucket=_BINS, Key=entry[0], Body=entry[1])

    with ThreadPoolExecutor(_WRITERS) as pool:
        for _ in pool.map(put, _objects(folder, photos)):
            pass
    return max(0, photos - sum(1 for _ in (folder / "bin-images").glob("*.jpg")))


def _deploy(aws: Aws, local: LocalAws, archive: Path) -> None:
    """The endpoint's image, the model package, the role, and a stack with the outputs that the audit reads."""
    trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = aws.client("iam").create_role(RoleName=_ROLE, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    aws.client("ecr").create_repository(repositoryName=_IMAGE)
    put_image(aws.client("ecr"), _IMAGE, "1", ImageBuilder(REPOSITORY / "inference_code").build())
    aws.client("s3").upload_file(str(archive), _MODELS, "model.tar.gz")
    sagemaker = aws.client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName=_NAMES.prefix)
    image = f"{local.account}.dkr.ecr.{REGION}.amazonaws.com/{_IMAGE}:1"
    sagemaker.create_model_package(
        ModelPackageGroupName=_NAMES.prefix,
        ModelApprovalStatus="Approved",
        InferenceSpecification={
            "Containers": [{"Image": image, "ModelDataUrl": f"s3://{_MODELS}/model.tar.gz"}],
            "SupportedContentTypes": ["image/jpeg"],
            "SupportedResponseMIMETypes": ["application/json"],
            "SupportedTransformInstanceTypes": [_MACHINE],
        },
    )
    outputs = {
        "BatchRoleArn": role,
        "BatchOutputUri": f"s3://{_DATA}/batch/",
        "BatchInstanceType": _MACHINE,
        "BatchInstanceCount": "1",
        "BatchPhotosUris": f"s3://{_BINS}/",
    }
    template: dict[str, Any] = {
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }
    cloudformation = aws.client("cloudformation")
    cloudformation.create_stack(StackName=_NAMES.serving_stack, TemplateBody=json.dumps(template))
    waiter = cloudformation.get_waiter("stack_create_complete")
    waiter.wait(StackName=_NAMES.serving_stack, WaiterConfig={"Delay": 1})


def _clock(began: float) -> str:
    return f"{time.perf_counter() - began:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
