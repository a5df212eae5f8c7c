"""The groups of settings: what each field means, what it may be, and how it must fit the others of its group."""

from __future__ import annotations

import re
import zoneinfo
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from stacks.backbones import WITH_PACKAGED_WEIGHTS, WITHOUT_TORCHVISION_WEIGHTS, Backbone
from stacks.images import FrameworkVersion
from stacks.instances import JobInstance, ServingInstance, computes_in_bf16
from stacks.mode_settings import AsyncSettings, Mode, ServerlessSettings
from stacks.tuning_ranges import Tunable, TuningRange
from stacks.watch_settings import WatchRules

S3_URI = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?")


def _s3_uri_or(*words: str) -> AfterValidator:
    """Accepts an S3 address or one of the words."""

    def check(value: str) -> str:
        if value in words or (S3_URI.fullmatch(value) and len(value) <= 1024):
            return value
        raise wrong_setting("must be {allowed}", allowed=" or ".join([*words, "an address like s3://bucket/prefix/"]))

    return AfterValidator(check)


def wrong_setting(message: str, **context: Any) -> PydanticCustomError:
    """An error of a check that looks at more than one value. `field` and `value` in the context name another field."""
    # pydantic asks for literal templates so that they can be translated; ours are literals at every call.
    return PydanticCustomError("wrong_setting", message, context)


def had_by(precision: str, instance_type: str | None, machine: str, **names: Any) -> str:
    """The precision, unless it is bf16 and the instance type that the setting `machine` names lacks it."""
    if precision == "bf16" and instance_type is not None and not computes_in_bf16(instance_type):
        raise wrong_setting(
            "must not be bf16 with {machine} {instance_type}, which lacks it: c7i, m7i, g5 and g6 have it",
            machine=machine,
            instance_type=instance_type,
            **names,
        )
    return precision


Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
TagValue = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[\w .:/=+@-]*$")]
TagKey = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[\w ./=+@-]*$")]
TuningJobName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,31}$", max_length=32)]
Percent = Annotated[int, Field(ge=0, le=100)]
Retention = Annotated[
    # Environment variables are text.
    Literal[1, 3, 7, 14, 30, 90, 180, 365, 731],
    BeforeValidator(lambda days: int(days) if isinstance(days, str) and days.isdecimal() else days),
]
_MLFLOW = r"^(none|https?://[^\s/]+\S*|file:///opt/ml/output/data/\S+)$"
_DAY = "(MON|TUE|WED|THU|FRI|SAT|SUN)"
_CLOCK = r"^([01]\d|2[0-3]):[0-5]\d$"


class Section(BaseModel):
    """A group of settings: immutable, and without room for keys that mean nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StorageSettings(Section):
    """How long things are kept."""

    retain: bool
    """Keep buckets and their contents when the stack is destroyed."""
    executions_expire_days: int = Field(ge=1, le=3650)
    """Age at which the shards and features of a pipeline execution are deleted; they can be computed again."""
    checkpoints_expire_days: int = Field(ge=1, le=365)
    """Age at which checkpoints of training jobs are deleted."""
    models_infrequent_access_days: int = Field(ge=30, le=3650)
    """Age at which model artefacts move to a cheaper class. S3 allows no less than 30 days."""
    previous_versions_expire_days: int = Field(ge=1, le=3650)
    """Age at which overwritten and deleted models are deleted for good."""
    logs_expire_days: int = Field(ge=1, le=3650)
    """Age at which the buckets' access logs are deleted."""
    log_retention_days: Retention
    """CloudWatch Logs retention of the log groups the stacks own."""


class DataSettings(Section):
    """Where the bin photos are and which of them are taken."""

    photos_uri: Annotated[str, _s3_uri_or()]
    """Prefix that holds `bin-images/` and `metadata/`."""
    labels_uri: Annotated[str, _s3_uri_or("none")]
    """A CSV with image_id and count instead of the metadata, or `none`."""
    limit_per_class: int = Field(ge=0)
    """At most this many photos of each count; 0 takes all."""
    block_size: int = Field(ge=1, le=100_000)
    """Neighbouring ids show the same bin, so ids are split in blocks of this size."""


class JobSettings(Section):
    """A job: its machines and its limit."""

    instance_type: JobInstance
    """The machine."""
    instance_count: int = Field(default=1, ge=1, le=20)
    """How many of them share the work."""
    volume_gb: int = Field(ge=10, le=1024)
    """Disk of each."""
    max_runtime_minutes: int = Field(ge=5, le=5 * 24 * 60)
    """When the job is stopped, whatever it is doing."""


class SpotJobSettings(JobSettings):
    """A training job that may run on managed spot."""

    spot: bool
    """Run on spot capacity, for about a third of the price; a reclaimed job goes on from its checkpoint."""
    max_wait_minutes: int = Field(ge=5, le=5 * 24 * 60)
    """Time for waiting and running together; only spot jobs wait."""

    @field_validator("max_wait_minutes")
    @classmethod
    def _covers_the_run(cls, value: int, info: ValidationInfo) -> int:
        runtime = info.data.get("max_runtime_minutes")
        if runtime is not None and value < runtime:
            raise wrong_setting(
                "must be at least max_runtime_minutes ({runtime}): the wait for spot capacity includes the run",
                runtime=runtime,
            )
        return value


class EmbedSettings(SpotJobSettings):
    """The job that runs the frozen backbone once over every photo."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Numbers that features are computed in; auto: bf16 (a T4: fp16) where the machine's processor has it."""

    @field_validator("precision")
    @classmethod
    def _had_by_the_machine(cls, value: str, info: ValidationInfo) -> str:
        return had_by(value, info.data.get("instance_type"), "instance_type")


class TrainingSettings(SpotJobSettings):
    """What is trained. Embed runs the frozen backbone, Train fits the head (or everything, with strategy `full`)."""

    framework_version: FrameworkVersion
    """Version of AWS's PyTorch training image."""
    strategy: Literal["head", "full"]
    """`head` fits the last layers on features that are computed once; `full` trains the whole network."""
    backbone: Backbone
    """The network below the head: torchvision's, EfficientNet-Lite, or `small`, a few layers of our own for tests."""
    weights: Annotated[str, _s3_uri_or("packaged", "torchvision", "none")]
    """Where the backbone starts: ImageNet weights of torchvision or of an installed package (EfficientNet-Lite), an S3
    object, or explicitly nothing."""
    features: Literal["stages", "last"] = "stages"
    """What the head reads: mean and deviation of every stage beside the last pool, or the last pool alone."""
    fit: Literal["whole", "crop"] = "whole"
    """How a photo fits the network's square: the whole frame squashed, or its centre cut out."""
    input_size: int = Field(default=224, ge=32, le=512)
    """Side of that square, pixels."""
    head: Literal["ordered", "softmax"] = "ordered"
    """ordered: one score and four thresholds; softmax: a score for each count, as in 2048-128-5."""
    answer: Literal["median", "most-probable"] = "median"
    """Which count is answered; the expected count and all probabilities are answered beside it."""
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
    watch: WatchRules = "default"
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
        if value == "torchvision" and backbone in WITHOUT_TORCHVISION_WEIGHTS:
            other = "packaged" if backbone in WITH_PACKAGED_WEIGHTS else "none"
            raise wrong_setting(
                "torchvision has none for backbone {backbone}; use {other} or an s3:// uri",
                backbone=backbone,
                other=other,
            )
        if value == "packaged" and backbone not in WITH_PACKAGED_WEIGHTS:
            raise wrong_setting(
                "no package has weights for backbone {backbone}; use torchvision, none or an s3:// uri",
                backbone=backbone,
            )
        return value


class WarmStartSettings(Section):
    """Earlier searches that a new one learns from."""

    type: Literal["IdenticalDataAndAlgorithm", "TransferLearning"]
    """Identical: the same shards and features (step caching reuses them) and code. Transfer: either may differ."""
    parents: tuple[TuningJobName, ...] = Field(min_length=1, max_length=5)
    """Names of tuning jobs that have ended, as `binventory train` shows them. SageMaker allows five."""

    @field_validator("parents")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise wrong_setting("must not repeat a tuning job")
        return value


class TuningSettings(Section):
    """The search for learning rate, batch size and what `ranges` names.

    Its objective is the validation loss, never the test split's.
    """

    jobs: int = Field(ge=1, le=500)
    """Trials in all."""
    parallel_jobs: int = Field(ge=1, le=100)
    """Trials at a time."""
    strategy: Literal["Bayesian", "Random", "Hyperband"]
    """How the next trial is chosen."""
    early_stopping: Literal["Auto", "Off"] = "Auto"
    """Auto stops a trial whose validation loss is worse than the median of the earlier trials' running averages."""
    hyperband_min_epochs: int = Field(default=1, ge=1, le=1000)
    """Epochs that Hyperband gives every trial before it may stop it; the most it gives is training.epochs."""
    warm_start: WarmStartSettings | None = None
    learning_rate_min: float = Field(gt=0, le=1)
    """Least learning rate that is tried."""
    learning_rate_max: float = Field(gt=0, le=1)
    """Largest learning rate that is tried."""
    learning_rate_scale: Literal["Auto", "Linear", "Logarithmic", "ReverseLogarithmic"] = "Logarithmic"
    """The scale on which the range is searched evenly."""
    batch_sizes: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(min_length=1, max_length=30)
    """Batch sizes that are tried."""
    ranges: dict[Tunable, TuningRange] = {}
    """Other hyperparameters of the training that are searched, each with its range."""

    @field_validator("parallel_jobs")
    @classmethod
    def _no_more_than_jobs(cls, value: int, info: ValidationInfo) -> int:
        jobs = info.data.get("jobs")
        if jobs is not None and value > jobs:
            raise wrong_setting("must be at most jobs ({jobs})", jobs=jobs)
        return value

    @field_validator("early_stopping")
    @classmethod
    def _hyperband_stops_by_itself(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("strategy") == "Hyperband" and value != "Off":
            raise wrong_setting("must be Off with strategy Hyperband, which stops trials by its own rule")
        return value

    @field_validator("warm_start")
    @classmethod
    def _learnt_from(cls, value: WarmStartSettings | None, info: ValidationInfo) -> WarmStartSettings | None:
        strategy = info.data.get("strategy", "Bayesian")
        if value is not None and strategy != "Bayesian":
            raise wrong_setting(
                "wants strategy Bayesian: {strategy} draws its values without looking at earlier trials",
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
            raise wrong_setting("wants learning_rate_max below 1: the scale is the logarithm of 1 - rate")
        return value

    @field_validator("batch_sizes")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise wrong_setting("must not repeat a batch size")
        return value


class EvaluationSettings(JobSettings):
    """The gate in front of the registry."""

    accuracy_threshold: float = Field(ge=0, le=1)
    """Accuracy on the test split below which a model is refused."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Numbers that answers are computed in, in evaluation and behind the endpoint; auto: int8 where it is as good as
    fp32, else fp32."""

    @field_validator("precision")
    @classmethod
    def _had_by_the_machine(cls, value: str, info: ValidationInfo) -> str:
        return had_by(value, info.data.get("instance_type"), "instance_type")


class ServingSettings(Section):
    """The endpoint, its scaling and how it is replaced."""

    mode: Mode = "realtime"
    """realtime: machines that always run. serverless: capacity on demand. async: a queue, answers to S3."""
    serverless: ServerlessSettings = ServerlessSettings()
    """Read with mode serverless, which has no machines, canary, data capture or network isolation."""
    asynchronous: AsyncSettings = AsyncSettings()
    """Read with mode async."""
    instance_type: ServingInstance
    """The machine behind the endpoint; it bills by the hour while the endpoint is on."""
    min_instances: int = Field(ge=0, le=50)
    """Machines of an endpoint that is on; 0 in mode async only."""
    max_instances: int = Field(ge=1, le=50)
    """Most machines that autoscaling may add up to."""
    invocations_per_instance_minute: int = Field(ge=1)
    """Load that autoscaling aims at."""
    data_capture_percent: Percent
    """Share of requests and answers that is kept for audits; 0 keeps none."""
    data_capture_expire_days: int = Field(ge=1, le=3650)
    """Age at which captured requests and answers are deleted."""
    canary_percent: int = Field(ge=1, le=50)
    """Share of the fleet that gets the new model first. SageMaker allows at most half."""
    canary_minutes: int = Field(ge=1, le=60)
    """How long the canary must stay free of alarms before the rest follows."""
    server_errors_per_minute: int = Field(ge=1)
    """5xx answers in a minute that raise the alarm and roll a deployment back."""
    latency_p95_milliseconds: int = Field(ge=1, le=60_000)
    """Latency that one in twenty answers may reach before the alarm rings and a deployment is rolled back."""

    @field_validator("min_instances")
    @classmethod
    def _none_only_where_requests_can_wait(cls, value: int, info: ValidationInfo) -> int:
        if not value and info.data.get("mode") != "async":
            raise wrong_setting("must be at least 1: only with mode async can requests wait for a machine")
        return value

    @field_validator("data_capture_percent")
    @classmethod
    def _captured_where_that_exists(cls, value: int, info: ValidationInfo) -> int:
        mode = info.data.get("mode")
        if value and mode not in {None, "realtime"}:
            raise wrong_setting("must be 0 with mode {mode}: SageMaker captures realtime endpoints only", mode=mode)
        return value

    @field_validator("max_instances")
    @classmethod
    def _at_least_the_minimum(cls, value: int, info: ValidationInfo) -> int:
        minimum = info.data.get("min_instances")
        if minimum is not None and value < minimum:
            raise wrong_setting("must be at least min_instances ({minimum})", minimum=minimum)
        return value


class ServingHours(Section):
    """When the endpoint is on; outside it is off and does not bill."""

    days: Annotated[str, StringConstraints(pattern=rf"^{_DAY}([-,]{_DAY})*$")]
    """As cron writes them, for example `MON-FRI`."""
    start: Annotated[str, StringConstraints(pattern=_CLOCK)]
    """For example `07:00`."""
    end: Annotated[str, StringConstraints(pattern=_CLOCK)]
    """For example `19:00`."""
    time_zone: str
    """For example `Europe/Berlin`."""

    @field_validator("end")
    @classmethod
    def _after_the_start(cls, value: str, info: ValidationInfo) -> str:
        if value <= info.data.get("start", ""):
            raise wrong_setting("must be later than start ({start})", start=info.data["start"])
        return value

    @field_validator("time_zone")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in zoneinfo.available_timezones():
            raise wrong_setting("must be a time zone such as UTC or Europe/Berlin")
        return value


class MoneySettings(Section):
    """The cap on what the environment may cost, and what is turned off when nobody uses it."""

    monthly_budget_usd: float = Field(gt=0, le=1_000_000)
    """Alerts go out at 50, 80 and 100% of it, and when it is forecast to be exceeded."""
    alert_emails: tuple[Email, ...] = Field(default=(), max_length=10)
    """Who is told by mail; each has to confirm the subscription."""
    guard_percent: int = Field(ge=0, le=1000)
    """Share of the budget at which the endpoint is turned off and executions are stopped; 0: never."""
    idle_hours: float = Field(ge=0, le=14 * 24)
    """Time without invocations after which the endpoint is turned off; 0: never."""
    serving_hours: ServingHours | None = None
    anomaly_usd: float | None = Field(default=None, gt=0)
    """Unusual cost that is worth a message; absent: AWS Cost Anomaly Detection is not used."""
