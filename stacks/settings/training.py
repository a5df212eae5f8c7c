"""What is trained. Embed runs the frozen backbone, Train fits the head (or everything, with strategy `full`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator

from stacks.backbones import SMALL_BACKBONE, Backbone
from stacks.settings.jobs import SpotJobSettings
from stacks.settings.section import s3_uri_or, wrong_setting
from stacks.watch_rules import WatchTextError, changes_in

FrameworkVersion = Literal["2.11", "2.12", "2.13"]
_MLFLOW = r"^(none|https?://[^\s/]+\S*|file:///opt/ml/output/data/\S+)$"


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

    framework_version: FrameworkVersion
    """Version of AWS's PyTorch training image."""
    strategy: Literal["head", "full"]
    """`head` fits the last layers on features that are computed once; `full` trains the whole network."""
    backbone: Backbone
    """The network below the head, by torchvision's name; `small` is a few layers of our own, for rehearsals."""
    weights: Annotated[str, s3_uri_or("torchvision", "none")]
    """Where the backbone starts: torchvision's ImageNet weights, an S3 object, or explicitly nothing."""
    epochs: int = Field(ge=1, le=1000)
    """Passes over the training split."""
    loss: Literal["cross-entropy", "ordinal", "expected-count"] = "cross-entropy"
    """What is minimised. A count is ordinal: the other two ask that a wrong answer be near, see training.md."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Numbers that training computes in; auto: bf16 on a GPU that has it, else fp16; fp32 on a CPU."""
    views: int = Field(ge=0, le=32)
    """Augmented views of each training photo that Embed writes beside the photo itself."""
    seed: int = Field(ge=0, le=2**31 - 1)
    """Equal seeds split, shuffle and initialise alike."""
    watch: WatchText = "default"
    """Rules that watch a training: `default` warns, `off`, or changes such as overfit=stop:0.3,overtraining=off."""
    profile_steps: int = Field(default=0, ge=0, le=1000)
    """Steps of each training whose operators torch.profiler measures; 0: none, the report times the steps alone."""
    mlflow: Annotated[str, StringConstraints(pattern=_MLFLOW, max_length=1024)] = "none"
    """An MLflow server (https://...), file:///opt/ml/output/data/... to keep its runs beside the model, or none."""
    on_demand_after_reclaims: int = Field(default=0, ge=0, le=20)
    """Reclaims of one spot job after which its execution goes on on demand; 0: it waits for spot capacity."""

    @field_validator("weights")
    @classmethod
    def _exist(cls, value: str, info: ValidationInfo) -> str:
        backbone = info.data.get("backbone")
        if value == "torchvision" and backbone == SMALL_BACKBONE:
            raise wrong_setting(
                "torchvision has none for backbone {backbone}; use none or an s3:// uri", backbone=backbone
            )
        return value
