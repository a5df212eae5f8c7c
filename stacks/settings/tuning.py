"""The search for learning rate, batch size and what `ranges` names. Its objective is the validation loss."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from stacks.settings.section import Section, distinct, matching, wrong_setting
from stacks.settings.tuning_ranges import Tunable, TuningRange, check_range

TuningJobName = Annotated[
    str, matching(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,31}", "the name of a tuning job: letters, digits, hyphens", longest=32)
]


LearningRate = Annotated[float, Field(gt=0, le=1)]
BatchSize = Annotated[int, Field(ge=1, le=4096)]


class WarmStartSettings(Section):
    """Earlier tuning jobs that a new one starts from."""

    type: Literal["IdenticalDataAndAlgorithm", "TransferLearning"]
    """Identical: equal shards, features (step caching reuses them) and code. Transfer: they may differ."""
    parents: tuple[TuningJobName, ...] = Field(min_length=1, max_length=5)
    """Names of tuning jobs that have ended, as `binventory train` shows them. SageMaker allows five."""

    @field_validator("parents")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return distinct(value, "a tuning job")


class TuningSettings(Section):
    """The search for learning rate, batch size and what `ranges` names. Its objective is the validation loss."""

    jobs: int = Field(ge=1, le=500)
    """Number of trials."""
    parallel_jobs: int = Field(ge=1, le=100)
    """Trials that run at the same time."""
    strategy: Literal["Bayesian", "Random", "Hyperband"]
    """How the values of the next trial are chosen."""
    early_stopping: Literal["Auto", "Off"] = "Auto"
    """Auto stops a trial whose validation loss is worse than the median of the earlier trials' running averages."""
    hyperband_min_epochs: int = Field(default=1, ge=1, le=1000)
    """Epochs that every trial runs before Hyperband may stop it; the maximum is training.epochs."""
    warm_start: WarmStartSettings | None = None
    learning_rate_min: LearningRate
    """Smallest learning rate of the search."""
    learning_rate_max: LearningRate
    """Largest learning rate of the search."""
    learning_rate_scale: Literal["Auto", "Linear", "Logarithmic", "ReverseLogarithmic"] = "Logarithmic"
    """Scale on which the range is searched uniformly."""
    batch_sizes: tuple[BatchSize, ...] = Field(min_length=1, max_length=30)
    """Batch sizes of the search."""
    ranges: dict[Tunable, TuningRange] = Field(default_factory=dict)
    """Other hyperparameters of the training that are searched, each with its range."""

    @field_validator("ranges")
    @classmethod
    def _values_that_the_training_takes(cls, value: dict[Tunable, TuningRange]) -> dict[Tunable, TuningRange]:
        for name, found in value.items():
            check_range(name, found)
        return value

    @field_validator("parallel_jobs")
    @classmethod
    def _no_more_than_jobs(cls, value: int, info: ValidationInfo) -> int:
        jobs = info.data.get("jobs")
        if jobs is not None and value > jobs:
            raise wrong_setting("must be at most jobs ({jobs})", jobs=jobs)
        return value

    @field_validator("early_stopping")
    @classmethod
    def _check_early_stopping(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("strategy") == "Hyperband" and value != "Off":
            raise wrong_setting("must be Off with strategy Hyperband, which stops trials by its own rule")
        return value

    @field_validator("hyperband_min_epochs")
    @classmethod
    def _check_hyperband(cls, value: int, info: ValidationInfo) -> int:
        strategy = info.data.get("strategy", "Hyperband")
        if value != 1 and strategy != "Hyperband":
            raise wrong_setting(
                "has no effect with strategy {strategy}: leave it out, or set strategy Hyperband", strategy=strategy
            )
        return value

    @field_validator("warm_start")
    @classmethod
    def _check_warm_start(cls, value: WarmStartSettings | None, info: ValidationInfo) -> WarmStartSettings | None:
        strategy = info.data.get("strategy", "Bayesian")
        if value is not None and strategy != "Bayesian":
            raise wrong_setting(
                "requires strategy Bayesian: {strategy} draws its values without looking at earlier trials",
                strategy=strategy,
            )
        return value

    @field_validator("learning_rate_max")
    @classmethod
    def _above_the_minimum(cls, value: float, info: ValidationInfo) -> float:
        minimum = info.data.get("learning_rate_min")
        if minimum is not None and value <= minimum:
            raise wrong_setting("must be greater than learning_rate_min ({minimum})", minimum=minimum)
        return value

    @field_validator("learning_rate_scale")
    @classmethod
    def _fits_the_range(cls, value: str, info: ValidationInfo) -> str:
        if value == "ReverseLogarithmic" and info.data.get("learning_rate_max") == 1:
            raise wrong_setting("requires learning_rate_max below 1: the scale is the logarithm of 1 - rate")
        return value

    @field_validator("batch_sizes")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise wrong_setting("must not repeat a batch size")
        return value
