"""What differs between environments: `settings/<environment>.yaml`, overridden by `BINVENTORY_SECTION__FIELD`.

Everything is checked before a single construct exists, so that a wrong value costs a second and not a deployment.
"""

from __future__ import annotations

import difflib
import os
import re
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

from stacks.github_settings import GithubSettings
from stacks.images import FrameworkVersion
from stacks.instances import JobInstance, Processor, Region, ServingInstance, processor_of

SETTINGS_FOLDER = Path(__file__).resolve().parent.parent / "settings"
ENVIRONMENT_PREFIX = "BINVENTORY_"
EnvironmentName = Literal["dev", "prod"]
S3_URI = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?")


def _s3_uri_or(*words: str) -> AfterValidator:
    """Accepts an S3 address or one of the words."""

    def check(value: str) -> str:
        if value in words or (S3_URI.fullmatch(value) and len(value) <= 1024):
            return value
        raise _wrong("must be {allowed}", allowed=" or ".join([*words, "an address like s3://bucket/prefix/"]))

    return AfterValidator(check)


def _wrong(message: str, **context: Any) -> PydanticCustomError:
    # pydantic asks for literal templates so that they can be translated; ours are literals at every call.
    return PydanticCustomError("wrong_setting", message, context)


Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
TagValue = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[\w .:/=+@-]*$")]
TagKey = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[\w ./=+@-]*$")]
Percent = Annotated[int, Field(ge=0, le=100)]
Retention = Literal[1, 3, 7, 14, 30, 90, 180, 365, 731]
OWN_TAGS = ("deployment", "environment", "project")


_DAY = "(MON|TUE|WED|THU|FRI|SAT|SUN)"
_CLOCK = r"^([01]\d|2[0-3]):[0-5]\d$"


class InvalidSettingsError(Exception):
    """The settings are wrong; the message names each field, its value and what is allowed."""


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
    models_infrequent_access_days: int = Field(ge=30, le=3650)
    """Age at which model artefacts move to a cheaper class. S3 allows no less than 30 days."""
    previous_versions_expire_days: int = Field(ge=1, le=3650)
    logs_expire_days: int = Field(ge=1, le=3650)
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
    instance_count: int = Field(default=1, ge=1, le=20)
    volume_gb: int = Field(ge=10, le=1024)
    max_runtime_minutes: int = Field(ge=5, le=5 * 24 * 60)


class SpotJobSettings(JobSettings):
    """A training job that may run on managed spot."""

    spot: bool
    max_wait_minutes: int = Field(ge=5, le=5 * 24 * 60)
    """Time for waiting and running together; only spot jobs wait."""

    @field_validator("max_wait_minutes")
    @classmethod
    def _covers_the_run(cls, value: int, info: ValidationInfo) -> int:
        runtime = info.data.get("max_runtime_minutes")
        if runtime is not None and value < runtime:
            raise _wrong(
                "must be at least max_runtime_minutes ({runtime}): the wait for spot capacity includes the run",
                runtime=runtime,
            )
        return value


class TrainingSettings(SpotJobSettings):
    """What is trained. Embed runs the frozen backbone, Train fits the head (or everything, with strategy `full`)."""

    framework_version: FrameworkVersion
    """Version of AWS's PyTorch training image."""
    strategy: Literal["head", "full"]
    backbone: Literal["resnet50"]
    weights: Annotated[str, _s3_uri_or("torchvision", "none")]
    """Where the backbone starts: torchvision's ImageNet weights, an S3 object, or explicitly nothing."""
    epochs: int = Field(ge=1, le=1000)
    views: int = Field(ge=1, le=32)
    """Augmented views of each photo that Embed writes."""
    seed: int = Field(ge=0, le=2**31 - 1)

    @property
    def processor(self) -> Processor:
        """What the training image must support."""
        return processor_of(self.instance_type)


class TuningSettings(Section):
    """The search for learning rate and batch size."""

    jobs: int = Field(ge=1, le=500)
    parallel_jobs: int = Field(ge=1, le=100)
    strategy: Literal["Bayesian", "Random"]
    learning_rate_min: float = Field(gt=0, le=1)
    learning_rate_max: float = Field(gt=0, le=1)
    batch_sizes: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(min_length=1, max_length=30)

    @field_validator("parallel_jobs")
    @classmethod
    def _no_more_than_jobs(cls, value: int, info: ValidationInfo) -> int:
        jobs = info.data.get("jobs")
        if jobs is not None and value > jobs:
            raise _wrong("must be at most jobs ({jobs})", jobs=jobs)
        return value

    @field_validator("learning_rate_max")
    @classmethod
    def _above_the_minimum(cls, value: float, info: ValidationInfo) -> float:
        minimum = info.data.get("learning_rate_min")
        if minimum is not None and value <= minimum:
            raise _wrong("must be greater than learning_rate_min ({minimum})", minimum=minimum)
        return value

    @field_validator("batch_sizes")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise _wrong("must not repeat a batch size")
        return value


class EvaluationSettings(JobSettings):
    """The gate in front of the registry."""

    accuracy_threshold: float = Field(ge=0, le=1)
    """Accuracy on the test split below which a model is refused."""


class ServingSettings(Section):
    """The endpoint, its scaling and how it is replaced."""

    instance_type: ServingInstance
    min_instances: int = Field(ge=1, le=50)
    max_instances: int = Field(ge=1, le=50)
    invocations_per_instance_minute: int = Field(ge=1)
    """Load that autoscaling aims at."""
    data_capture_percent: Percent
    """Share of requests and answers that is kept for audits; 0 keeps none."""
    data_capture_expire_days: int = Field(ge=1, le=3650)
    canary_percent: int = Field(ge=1, le=50)
    """Share of the fleet that gets the new model first. SageMaker allows at most half."""
    canary_minutes: int = Field(ge=1, le=60)
    """How long the canary must stay free of alarms before the rest follows."""
    server_errors_per_minute: int = Field(ge=1)
    """5xx answers in a minute that raise the alarm and roll a deployment back."""
    latency_p95_milliseconds: int = Field(ge=1, le=60_000)

    @field_validator("max_instances")
    @classmethod
    def _at_least_the_minimum(cls, value: int, info: ValidationInfo) -> int:
        minimum = info.data.get("min_instances")
        if minimum is not None and value < minimum:
            raise _wrong("must be at least min_instances ({minimum})", minimum=minimum)
        return value


class ServingHours(Section):
    """When the endpoint is on; outside it is off and does not bill."""

    days: Annotated[
        str, StringConstraints(pattern=r"^(MON|TUE|WED|THU|FRI|SAT|SUN)([-,](MON|TUE|WED|THU|FRI|SAT|SUN))*$")
    ]
    """As cron writes them, for example `MON-FRI`."""
    start: Annotated[str, StringConstraints(pattern=_CLOCK)]
    """For example `07:00`."""
    end: Annotated[str, StringConstraints(pattern=_CLOCK)]
    time_zone: str
    """For example `Europe/Berlin`."""

    @field_validator("end")
    @classmethod
    def _after_the_start(cls, value: str, info: ValidationInfo) -> str:
        if value <= info.data.get("start", ""):
            raise _wrong("must be later than start ({start})", start=info.data["start"])
        return value

    @field_validator("time_zone")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in zoneinfo.available_timezones():
            raise _wrong("must be a time zone such as UTC or Europe/Berlin")
        return value


class MoneySettings(Section):
    """The cap on what the environment may cost, and what is turned off when nobody uses it."""

    monthly_budget_usd: float = Field(gt=0, le=1_000_000)
    """Alerts go out at 50, 80 and 100% of it, and when it is forecast to be exceeded."""
    alert_emails: tuple[Email, ...] = Field(default=(), max_length=10)
    guard_percent: int = Field(ge=0, le=1000)
    """Share of the budget at which the endpoint is turned off and executions are stopped; 0: never."""
    idle_hours: float = Field(ge=0, le=14 * 24)
    """Time without invocations after which the endpoint is turned off; 0: never."""
    serving_hours: ServingHours | None = None
    anomaly_usd: float | None = Field(default=None, gt=0)
    """Unusual cost that is worth a message; absent: AWS Cost Anomaly Detection is not used."""


class Settings(BaseSettings):
    """Everything the stacks are made from."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
    )

    project: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{1,18}[a-z0-9]$")]
    environment: EnvironmentName
    account: Annotated[str, StringConstraints(pattern=r"^\d{12}$")] | None = None
    """The only account these stacks may go to; absent: the one the CDK command line is signed in to."""
    region: Region
    tags: dict[TagKey, TagValue] = Field(default_factory=dict, max_length=40)
    storage: StorageSettings
    data: DataSettings
    ingest: JobSettings
    embed: SpotJobSettings
    training: TrainingSettings
    tuning: TuningSettings
    evaluation: EvaluationSettings
    serving: ServingSettings
    money: MoneySettings
    github: GithubSettings = GithubSettings()

    @field_validator("tags")
    @classmethod
    def _leaves_own_tags(cls, value: dict[str, str]) -> dict[str, str]:
        taken = sorted(set(value) & set(OWN_TAGS))
        if taken:
            raise _wrong("must not set {taken}: the stacks set it", taken=", ".join(taken))
        return value

    @field_validator("storage")
    @classmethod
    def _prod_keeps_its_data(cls, value: StorageSettings, info: ValidationInfo) -> StorageSettings:
        if info.data.get("environment") == "prod" and not value.retain:
            raise _wrong("must be true in prod", field="storage.retain", value=False)
        return value

    @field_validator("money")
    @classmethod
    def _prod_is_never_idle(cls, value: MoneySettings, info: ValidationInfo) -> MoneySettings:
        if info.data.get("environment") == "prod" and value.idle_hours:
            raise _wrong(
                "must be 0 in prod: nobody's quiet night turns it off", field="money.idle_hours", value=value.idle_hours
            )
        return value

    @field_validator("evaluation", "ingest")
    @classmethod
    def _runs_on_cpu(cls, value: JobSettings, info: ValidationInfo) -> JobSettings:
        if processor_of(value.instance_type) is Processor.GPU:
            raise _wrong(
                "must be a CPU instance: this step computes nothing that a GPU would speed up",
                field=f"{info.field_name}.instance_type",
                value=value.instance_type,
            )
        return value

    @property
    def prefix(self) -> str:
        """Name of the pipeline, model package group and endpoint, and start of every stack's name."""
        return f"{self.project}-{self.environment}"

    @property
    def all_tags(self) -> dict[str, str]:
        """Tags of everything that bills, keys in sorted order."""
        own = {"deployment": self.prefix, "environment": self.environment, "project": self.project}
        return dict(sorted({**self.tags, **own}.items()))

    def stack_name(self, role: str) -> str:
        """For example `binventory-dev-serving`."""
        return f"{self.prefix}-{role}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment variables win over the file, which is given by the subclass that `load` makes."""
        return (init_settings, env_settings, YamlConfigSettingsSource(settings_cls))


def load(environment: str, folder: Path = SETTINGS_FOLDER) -> Settings:
    """The settings of one environment.

    Raises:
        InvalidSettingsError: the file is absent or unreadable, a key is unknown, or a value is not allowed.
    """
    if environment not in get_args(EnvironmentName):
        known = ", ".join(get_args(EnvironmentName))
        raise InvalidSettingsError(f"environment = {environment!r}\n    must be one of {known} (-c env=...)")
    path = folder / f"{environment}.yaml"
    if not path.is_file():
        raise InvalidSettingsError(f"{path.name} is missing in {folder.name}/")
    _refuse_unknown_variables()
    try:
        settings = _of_file(path)()  # type: ignore[call-arg]  # the values come from the sources
    except ValidationError as error:
        lines = [line for details in error.errors() for line in _explain(details)]
        raise InvalidSettingsError("\n".join(lines)) from None
    except (SettingsError, yaml.YAMLError, ValueError, TypeError) as error:
        raise InvalidSettingsError(f"{path.name} or a {ENVIRONMENT_PREFIX} variable cannot be read: {error}") from None
    if settings.environment != environment:
        raise InvalidSettingsError(
            f"environment = {settings.environment!r}\n    must be {environment!r}, as the name of {path.name} says"
        )
    return settings


def _of_file(path: Path) -> type[Settings]:
    class SettingsOfFile(Settings):
        model_config = SettingsConfigDict(yaml_file=path, yaml_file_encoding="utf-8")

    return SettingsOfFile


def _refuse_unknown_variables() -> None:
    """pydantic-settings ignores variables of unknown sections; a misspelt override must not be silent."""
    for variable in sorted(os.environ):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        section, nested, _ = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        if section in Settings.model_fields:
            continue
        if nested or difflib.get_close_matches(section, Settings.model_fields, n=1, cutoff=0.8):
            raise InvalidSettingsError(
                f"{variable} = {os.environ[variable]!r}\n"
                f"    overrides no setting; {_alternatives(section, list(Settings.model_fields))}"
            )


def _explain(details: ErrorDetails) -> Iterator[str]:
    location = [str(part) for part in details["loc"]]
    context = details.get("ctx", {})
    field = context.get("field", ".".join(location))
    variable = ENVIRONMENT_PREFIX + field.replace(".", "__").upper()
    source = f"  (from {variable})" if variable in os.environ else ""
    if details["type"] == "missing":
        yield f"{field} is missing{source}"
        yield "    add it to the settings file"
    elif details["type"] == "extra_forbidden":
        yield f"{field} = {details['input']!r}{source}"
        yield f"    is no setting; {_alternatives(location[-1], _keys_beside(location))}"
    else:
        yield f"{field} = {context.get('value', details['input'])!r}{source}"
        yield f"    {_lowered(details['msg'])}"


def _keys_beside(location: list[str]) -> list[str]:
    model: Any = Settings
    for part in location[:-1]:
        model = model.model_fields[part].annotation
    return list(model.model_fields)


def _alternatives(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"


def _lowered(message: str) -> str:
    return (
        message.replace("Input should be", "must be").replace("String should", "must").replace("Input should", "must")
    )
