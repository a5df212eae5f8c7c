"""All settings: `settings/<environment>.yaml`, overridden by the variables `BINVENTORY_SECTION__FIELD`.

All values are checked before the first construct is built: a wrong one costs a second, not a deployment.
"""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from stacks.settings.batch import BatchSettings
from stacks.settings.data import DataSettings
from stacks.settings.ec2 import Ec2Settings
from stacks.settings.file import SettingsFile
from stacks.settings.github import GithubSettings
from stacks.settings.instances import Processor, Region, processor_of
from stacks.settings.jobs import (
    EmbedSettings,
    EvaluationSettings,
    JobSettings,
    MachineSettings,
    SpotJobSettings,
    supported_precision,
)
from stacks.settings.money import MoneySettings
from stacks.settings.monitoring import MonitoringSettings
from stacks.settings.naming import EnvironmentName, ProjectName, Tags
from stacks.settings.network import NetworkSettings
from stacks.settings.section import matching, wrong_setting
from stacks.settings.security import SecuritySettings
from stacks.settings.serving import ServingSettings
from stacks.settings.storage import StorageSettings
from stacks.settings.training import TrainingSettings
from stacks.settings.tuning import TuningSettings

ENVIRONMENT_PREFIX = "BINVENTORY_"
_DATASET, _DATASET_REGION = "aft-vbi-pds", "us-east-1"
"""The bucket of the Amazon Bin Image Dataset, and where it is."""
# What the key of a tag may be on a machine that reads its tags from the instance metadata, as those of ec2.enabled do:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/work-with-tags-in-IMDS.html
_IN_METADATA = re.compile(r"(?!(\.|\.\.|_index)$)[A-Za-z0-9+=,._:@-]+")
_DAY_MINUTES = 24 * 60
_WORKING = ("ingest", "embed", "training", "tuning")
"""What bounds the time of an execution, beside its evaluation."""


class Settings(BaseSettings):
    """The settings of one environment, and the checks that concern several sections."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
    )

    project: ProjectName
    """First part of every resource name."""
    environment: EnvironmentName
    """Second part of every resource name."""
    account: Annotated[str, matching(r"\d{12}", "the 12 digits of an account")] | None = None
    """The only account to deploy to; absent: the account that the CDK CLI is signed in to."""
    region: Region
    """Region of all stacks."""
    tags: Tags = Field(default_factory=dict, max_length=40)
    """More tags for every resource that bills."""
    storage: StorageSettings
    data: DataSettings
    ingest: JobSettings
    embed: EmbedSettings
    training: TrainingSettings
    tuning: TuningSettings
    evaluation: EvaluationSettings
    serving: ServingSettings
    batch: BatchSettings = BatchSettings()
    money: MoneySettings
    monitoring: MonitoringSettings = MonitoringSettings()
    github: GithubSettings = GithubSettings()
    ec2: Ec2Settings = Ec2Settings()
    security: SecuritySettings = SecuritySettings()
    network: NetworkSettings = NetworkSettings()

    @field_validator("ec2")
    @classmethod
    def _check_tags_of_machines(cls, value: Ec2Settings, info: ValidationInfo) -> Ec2Settings:
        tags: dict[str, str] = info.data.get("tags", {})
        for key in sorted(tags) if value.enabled else ():
            if not _IN_METADATA.fullmatch(key):
                raise wrong_setting(
                    "must have no key {key} with ec2.enabled: a machine reads its tags from its metadata, so EC2 takes "
                    "only letters without accents, digits and + - = . , _ : @ in their keys",
                    field="tags",
                    value=tags,
                    key=repr(key),
                )
        return value

    @field_validator("github", "security")
    @classmethod
    def _check_arns_of_this_account(
        cls, value: GithubSettings | SecuritySettings, info: ValidationInfo
    ) -> GithubSettings | SecuritySettings:
        """IAM takes an identity provider and a permissions boundary of the role's own account only, or one of AWS's."""
        field = "provider" if isinstance(value, GithubSettings) else "permissions_boundary"
        arn, account = str(getattr(value, field)), info.data.get("account")
        if arn.startswith("arn:") and account and arn.split(":")[4] not in {account, "aws"}:
            raise wrong_setting(
                "must be of account {account}, to which the stacks are deployed: IAM takes no other",
                field=f"{info.field_name}.{field}",
                value=arn,
                account=account,
            )
        return value

    @field_validator("training")
    @classmethod
    def _check_checkpoints_outlive_the_wait(cls, value: TrainingSettings, info: ValidationInfo) -> TrainingSettings:
        storage: StorageSettings | None = info.data.get("storage")
        days = math.ceil(value.max_wait_minutes / _DAY_MINUTES)
        if storage is not None and value.spot and storage.checkpoints_expire_days < days:
            raise wrong_setting(
                "must be at least {days}: a job may wait so long for spot capacity, and S3 would delete its "
                "checkpoints",
                field="storage.checkpoints_expire_days",
                value=storage.checkpoints_expire_days,
                days=days,
            )
        return value

    @field_validator("evaluation")
    @classmethod
    def _check_results_outlive_the_execution(
        cls, value: EvaluationSettings, info: ValidationInfo
    ) -> EvaluationSettings:
        if not {"storage", *_WORKING} <= set(info.data):
            return value
        storage: StorageSettings = info.data["storage"]
        days = _longest_days(evaluation=value, **{name: info.data[name] for name in _WORKING})
        if storage.executions_expire_days < days:
            raise wrong_setting(
                "must be at least {days}: within its time limits an execution may take so long, and S3 would delete "
                "its shards and features meanwhile",
                field="storage.executions_expire_days",
                value=storage.executions_expire_days,
                days=days,
            )
        return value

    @field_validator("tuning")
    @classmethod
    def _check_searched_features_are_embedded(cls, value: TuningSettings, info: ValidationInfo) -> TuningSettings:
        training: TrainingSettings | None = info.data.get("training")
        searched = value.ranges.get("features")
        if searched is not None and training is not None and training.features == "last":
            raise wrong_setting(
                "must be stages, so that Embed writes what tuning.ranges.features tries",
                field="training.features",
                value=training.features,
            )
        return value

    @field_validator("storage")
    @classmethod
    def _check_prod_retains(cls, value: StorageSettings, info: ValidationInfo) -> StorageSettings:
        if info.data.get("environment") == "prod" and not value.retain:
            raise wrong_setting("must be true in prod", field="storage.retain", value=False)
        return value

    @field_validator("money")
    @classmethod
    def _check_prod_has_no_idle_guard(cls, value: MoneySettings, info: ValidationInfo) -> MoneySettings:
        if info.data.get("environment") == "prod" and value.idle_hours:
            raise wrong_setting(
                "must be 0 in prod: a quiet night must not turn the endpoint off",
                field="money.idle_hours",
                value=value.idle_hours,
            )
        return value

    @field_validator("monitoring")
    @classmethod
    def _check_window_within_log_retention(cls, value: MonitoringSettings, info: ValidationInfo) -> MonitoringSettings:
        storage: StorageSettings | None = info.data.get("storage")
        if storage is not None and value.window_hours > storage.log_retention_days * 24:
            raise wrong_setting(
                "must be at most {hours}: the endpoint's log is kept for storage.log_retention_days ({days})",
                field="monitoring.window_hours",
                value=value.window_hours,
                hours=storage.log_retention_days * 24,
                days=storage.log_retention_days,
            )
        return value

    @field_validator("batch")
    @classmethod
    def _check_bf16_where_answers_are_computed(cls, value: BatchSettings, info: ValidationInfo) -> BatchSettings:
        evaluation: EvaluationSettings | None = info.data.get("evaluation")
        serving: ServingSettings | None = info.data.get("serving")
        if evaluation is None or serving is None or evaluation.precision != "bf16":
            return value
        if serving.mode == "serverless":
            raise wrong_setting(
                "must not be bf16 with serving.mode serverless: SageMaker does not say on which processors it runs",
                field="evaluation.precision",
                value=evaluation.precision,
            )
        for field, machine in (
            ("serving.instance_type", serving.instance_type),
            ("batch.instance_type", value.instance_type),
        ):
            supported_precision(
                evaluation.precision, machine, field, field="evaluation.precision", value=evaluation.precision
            )
        return value

    @field_validator("network")
    @classmethod
    def _check_weights_in_network(cls, value: NetworkSettings, info: ValidationInfo) -> NetworkSettings:
        training = info.data.get("training")
        if value.mode != "none" and training is not None and training.weights == "torchvision":
            raise wrong_setting(
                "must be an s3:// address, packaged or none with network.mode {mode}: jobs reach nothing else",
                field="training.weights",
                value=training.weights,
                mode=value.mode,
            )
        return value

    @field_validator("network")
    @classmethod
    def _check_photos_in_region(cls, value: NetworkSettings, info: ValidationInfo) -> NetworkSettings:
        data: DataSettings | None = info.data.get("data")
        uri = data.photos_uri if data is not None else ""
        bucket = uri.removeprefix("s3://").partition("/")[0]
        region = info.data.get("region", _DATASET_REGION)
        if value.mode == "create" and bucket == _DATASET and region != _DATASET_REGION:
            raise wrong_setting(
                "must be in a bucket of {region} with network.mode create: S3's gateway endpoint reaches no other "
                "region, and {bucket} is in {other}",
                field="data.photos_uri",
                value=uri,
                region=region,
                bucket=bucket,
                other=_DATASET_REGION,
            )
        return value

    @field_validator("network")
    @classmethod
    def _check_mlflow_in_network(cls, value: NetworkSettings, info: ValidationInfo) -> NetworkSettings:
        training: TrainingSettings | None = info.data.get("training")
        if value.mode != "none" and training is not None and training.mlflow != "none":
            raise wrong_setting(
                "must be none with network.mode {mode}: a training job is isolated there, so it can neither install "
                "MLflow nor reach a server",
                field="training.mlflow",
                value=training.mlflow,
                mode=value.mode,
            )
        return value

    @field_validator("network")
    @classmethod
    def _check_no_network_with_serverless(cls, value: NetworkSettings, info: ValidationInfo) -> NetworkSettings:
        serving: ServingSettings | None = info.data.get("serving")
        if value.mode != "none" and serving is not None and serving.mode == "serverless":
            raise wrong_setting(
                "must be none with serving.mode serverless: SageMaker puts serverless endpoints into no network",
                field="network.mode",
                value=value.mode,
            )
        return value

    @field_validator("evaluation", "ingest")
    @classmethod
    def _check_cpu(cls, value: MachineSettings, info: ValidationInfo) -> MachineSettings:
        if processor_of(value.instance_type) is Processor.GPU:
            raise wrong_setting(
                "must be a CPU instance: this step computes nothing that a GPU would speed up",
                field=f"{info.field_name}.instance_type",
                value=value.instance_type,
            )
        return value

    @field_validator("training")
    @classmethod
    def _check_fallback_needs_spot(cls, value: TrainingSettings, info: ValidationInfo) -> TrainingSettings:
        embed = info.data.get("embed")
        if value.on_demand_after_reclaims and not value.spot and embed is not None and not embed.spot:
            raise wrong_setting(
                "must be 0: neither embed.spot nor training.spot is true, so nothing can be reclaimed",
                field="training.on_demand_after_reclaims",
                value=value.on_demand_after_reclaims,
            )
        return value

    @field_validator("tuning")
    @classmethod
    def _check_searched_head_rate_has_an_effect(cls, value: TuningSettings, info: ValidationInfo) -> TuningSettings:
        training: TrainingSettings | None = info.data.get("training")
        if "head_rate" in value.ranges and training is not None and training.strategy == "head":
            raise wrong_setting(
                "must not have head_rate with training.strategy head: the head is all that learns there, at lr",
                field="tuning.ranges",
                value=sorted(value.ranges),
            )
        return value

    @field_validator("tuning")
    @classmethod
    def _check_hyperband_epochs(cls, value: TuningSettings, info: ValidationInfo) -> TuningSettings:
        training = info.data.get("training")
        if training is None or value.strategy != "Hyperband" or value.hyperband_min_epochs < training.epochs:
            return value
        raise wrong_setting(
            "must be less than training.epochs ({epochs}): Hyperband distributes epochs between the two",
            field="tuning.hyperband_min_epochs",
            value=value.hyperband_min_epochs,
            epochs=training.epochs,
        )

    @property
    def prefix(self) -> str:
        """Name of pipeline, model package group and endpoint, and first part of every stack's name."""
        return f"{self.project}-{self.environment}"

    @property
    def longest_execution_days(self) -> int:
        """Days, rounded up, that an execution may take when each job waits and works to its limits."""
        return _longest_days(evaluation=self.evaluation, **{name: getattr(self, name) for name in _WORKING})

    @property
    def continues_on_demand(self) -> bool:
        """Whether further pipelines continue executions that spot capacity keeps failing."""
        return self.training.on_demand_after_reclaims > 0

    @property
    def all_tags(self) -> dict[str, str]:
        """Tags of every resource that bills, sorted by key."""
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
        """Environment variables take precedence over the file, which the subclass in `load` names."""
        return (init_settings, env_settings, SettingsFile(settings_cls))


def _longest_days(
    *,
    ingest: JobSettings,
    embed: EmbedSettings,
    training: TrainingSettings,
    tuning: TuningSettings,
    evaluation: EvaluationSettings,
) -> int:
    def minutes(job: SpotJobSettings) -> int:
        again = job.max_runtime_minutes if training.on_demand_after_reclaims else 0
        return (job.max_wait_minutes if job.spot else job.max_runtime_minutes) + again

    searching = math.ceil(tuning.jobs / tuning.parallel_jobs) * minutes(training)
    working = minutes(embed) + searching + minutes(training)
    return math.ceil((ingest.max_runtime_minutes + working + evaluation.max_runtime_minutes) / _DAY_MINUTES)
