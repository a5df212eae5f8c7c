"""A wrong setting is refused before synthesis, with its name, its value and the allowed values."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, get_args

import aws_cdk as cdk
import hypothesis
import pytest
import yaml
from annotated_types import Le
from hypothesis import given
from hypothesis import strategies as st

import app as application
from binventory.cost.machines import machine
from local_aws.core.disks import disk_gb as local_disk_gb
from serving.admission import AdmissionLimits
from stacks.pipeline.parameters import Parameters
from stacks.settings import SETTINGS_FOLDER, EnvironmentName, InvalidSettingsError, Settings, load
from stacks.settings.instances import CPU_JOB_INSTANCES, GPU_JOB_INSTANCES, Processor, disk_gb
from stacks.settings.serving import AsyncSettings
from stacks.shared.images import TAGS
from tests.stacks.templates import changed


@pytest.fixture(autouse=True)
def _no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("BINVENTORY_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("environment", get_args(EnvironmentName))
def test_shipped_settings_are_valid_and_named_after_their_environment(environment: str) -> None:
    settings = load(environment)
    assert settings.prefix == f"binventory-{environment}"
    assert settings.stack_name("serving") == f"binventory-{environment}-serving"
    assert settings.all_tags == {
        "deployment": f"binventory-{environment}",
        "environment": environment,
        "project": "binventory",
    }


def test_every_environment_has_a_file_and_every_file_an_environment() -> None:
    assert {path.stem for path in SETTINGS_FOLDER.glob("*.yaml")} == set(get_args(EnvironmentName))


@pytest.mark.parametrize(
    ("wrong", "project"),
    [
        ({"BINVENTORY_TRAINING__EPOCHS": "0"}, "binventory"),
        ({"BINVENTORY_TRAINING__EPOCS": "3", "BINVENTORY_PROJECT": "shelves"}, "shelves"),
        ({"BINVENTORY_SERVING__MIN_INSTANCES": "5", "binventory_project": "shelves"}, "shelves"),
        ({"BINVENTORY_TRAINING__EPOCHS": "0", "BINVENTORY_PROJECT": "No name"}, ""),
        ({"BINVENTORY_TRAINING__EPOCHS": "0", "BINVENTORY_PROJECT": "xn--shelves"}, ""),
        ({"BINVENTORY_TRAINING__EPOCHS": "0", "BINVENTORY_ENVIRONMENT": "prod"}, ""),
        ({"BINVENTORY_TRAINING__EPOCHS": "0", "BINVENTORY_ENVIRONMENT": "test"}, ""),
        ({"BINVENTORY_PROJET": "shelves"}, ""),
    ],
    ids=str,
)
def test_wrong_settings_name_the_project_where_that_is_right(
    wrong: dict[str, str], project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is deployed can be stopped with it. A name that may not be meant is none."""
    for variable, value in wrong.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSettingsError) as caught:
        load("dev")
    assert caught.value.project == project


def test_a_misspelt_variable_in_small_letters_is_refused_as_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    """pydantic-settings takes both."""
    monkeypatch.setenv("binventory_training__epochs", "3")
    assert load("dev").training.epochs == 3
    monkeypatch.setenv("binventory_trainng__epochs", "4")
    with pytest.raises(InvalidSettingsError, match="binventory_trainng__epochs = '4'"):
        load("dev")


def test_a_variable_overrides_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINVENTORY_TRAINING__EPOCHS", "3")
    monkeypatch.setenv("BINVENTORY_TUNING__BATCH_SIZES", "[16, 8]")
    settings = load("dev")
    assert settings.training.epochs == 3
    assert settings.tuning.batch_sizes == (16, 8)
    assert settings.training.backbone == "resnet50"


def _hours(**changes: str) -> str:
    hours = {"days": "MON-FRI", "start": "07:00", "end": "19:00", "time_zone": "UTC"}
    return json.dumps(hours | changes)


def _warm_start(**changes: object) -> str:
    return json.dumps({"type": "TransferLearning", "parents": ["a1b2c3-Tune-x"]} | changes)


def _range(name: str, **found: object) -> str:
    return json.dumps({name: found})


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("REGION", "mars-1", ["region = 'mars-1'", "'us-east-1'"]),
        ("ACCOUNT", "12", ["account = '12'", "must be the 12 digits of an account"]),
        ("PROJECT", "Bin Ventory", ["project = 'Bin Ventory'"]),
        ("TRAINING__INSTANCE_TYPE", "ml.huge", ["training.instance_type = 'ml.huge'", "'ml.m5.xlarge'"]),
        ("TRAINING__EPOCHS", "0", ["training.epochs = '0'", "greater than or equal to 1"]),
        ("TRAINING__EPOCHS", "many", ["training.epochs = 'many'", "integer"]),
        (
            "TRAINING__WEIGHTS",
            "random",
            ["training.weights = 'random'", "torchvision or none or an address like s3://"],
        ),
        ("TRAINING__FRAMEWORK_VERSION", "1.0", ["training.framework_version = '1.0'", "'2.13'"]),
        ("TRAINING__MAX_WAIT_MINUTES", "10", ["training.max_wait_minutes = '10'", "at least max_runtime_minutes (60)"]),
        ("EMBED__MAX_WAIT_MINUTES", "10", ["embed.max_wait_minutes = '10'", "at least max_runtime_minutes (120)"]),
        ("TRAINING__EPOCS", "3", ["training.epocs = '3'", "is no setting; did you mean epochs?"]),
        ("TRAINNG__EPOCHS", "3", ["BINVENTORY_TRAINNG__EPOCHS = '3'", "did you mean training?"]),
        ("TRAINING_EPOCHS", "3", ["BINVENTORY_TRAINING_EPOCHS = '3'", "did you mean BINVENTORY_TRAINING__EPOCHS?"]),
        (
            "REGION__NAME",
            "eu-west-1",
            ["BINVENTORY_REGION__NAME = 'eu-west-1'", "has no fields: set BINVENTORY_REGION"],
        ),
        ("TAGS__CostCentre", "4711", ["lose the capitals", """as BINVENTORY_TAGS='{"CostCentre": "4711"}'"""]),
        ("REGON", "eu-west-1", ["BINVENTORY_REGON = 'eu-west-1'", "did you mean region?"]),
        ("DATA__PHOTOS_URI", "https://x", ["data.photos_uri = 'https://x'", "an address like s3://bucket/prefix/"]),
        ("DATA__PHOTOS_URI", "s3://bins/site-*/", ["data.photos_uri = 's3://bins/site-*/'", "without *", "the folder"]),
        ("DATA__LABELS_URI", "s3://bins/labels?.csv", ["data.labels_uri", "without ?, which is a pattern", "copy the"]),
        ("TRAINING__WEIGHTS", "s3://bins/${aws:username}.pth", ["training.weights", "without ${, which is a pattern"]),
        ("DATA__LABELS_URI", "maybe", ["data.labels_uri = 'maybe'", "none or an address like s3://"]),
        ("INGEST__INSTANCE_TYPE", "ml.g5.xlarge", ["ingest.instance_type = 'ml.g5.xlarge'", "must be a CPU instance"]),
        ("EVALUATION__ACCURACY_THRESHOLD", "1.5", ["evaluation.accuracy_threshold = '1.5'", "less than or equal to 1"]),
        ("EVALUATION__ACCURACY_THRESHOLD", "nan", ["evaluation.accuracy_threshold = 'nan'", "finite"]),
        ("TRAINING__BACKBONE", "resnet51", ["training.backbone = 'resnet51'", "'resnet50'", "'vit_b_16'"]),
        ("TRAINING__BACKBONE", "small", ["training.weights", "torchvision has none for backbone small"]),
        ("TRAINING__WEIGHTS", "packaged", ["training.weights", "no package has weights for backbone resnet50"]),
        ("TRAINING__BACKBONE", "efficientnet_lite0", ["training.weights", "use packaged or an s3:// uri"]),
        ("TRAINING__VIEWS", "-1", ["training.views = '-1'", "greater than or equal to 0"]),
        ("TRAINING__WATCH", "overfitt=stop", ["training.watch = 'overfitt=stop'", "rules: vanishing-gradient, "]),
        ("TRAINING__WATCH", "overfit=stop:0", ["has 'overfit=stop:0'", "a number above 0"]),
        ("TRAINING__WATCH", "off,overfit=warn", ["has 'off'"]),
        ("TRAINING__WATCH", "overfit=stop,overfit=off", ["'overfit=off' after another part about overfit: keep one"]),
        ("TRAINING__WATCH", "overfit=off:0.3", ["has 'overfit=off:0.3'", "of a rule that is not off"]),
        ("EVALUATION__INSTANCE_COUNT", "4", ["evaluation.instance_count = '4'", "is no setting"]),
        ("SERVING__CANARY_MINUTES", "2", ["serving.canary_minutes = '2'", "greater than or equal to 3"]),
        (
            "SERVING__ASYNCHRONOUS__REQUESTS_PER_INSTANCE",
            "65",
            ["serving.asynchronous.requests_per_instance = '65'", "less than or equal to 64"],
        ),
        (
            "TUNING__RANGES",
            _range("dropout", values=["0.1", "0.5"], scale="Linear"),
            ["tuning.ranges.dropout", "distinct values without a scale"],
        ),
        (
            "TUNING__RANGES",
            _range("head_rate", min=0.1, max=1),
            ["tuning.ranges = ['head_rate']", "must not have head_rate with training.strategy head"],
        ),
        ("TRAINING__PROFILE_STEPS", "-1", ["training.profile_steps = '-1'"]),
        *(
            ("TRAINING__MLFLOW", uri, [f"training.mlflow = '{uri}'", "must not be SageMaker's own MLflow", "file:///"])
            for uri in (
                "arn:aws:sagemaker:us-east-1:123456789012:mlflow-app/app-1",
                "arn:aws:sagemaker:us-east-1:123456789012:mlflow-tracking-server/bins",
                "https://t-abc123.us-east-1.experiments.sagemaker.aws",
                "https://us-east-1.experiments.sagemaker.aws/",
            )
        ),
        ("TRAINING__MLFLOW", "./mlruns", ["training.mlflow = './mlruns'", "must be none or the address of a server"]),
        ("TRAINING__ON_DEMAND_AFTER_RECLAIMS", "-1", ["training.on_demand_after_reclaims = '-1'", "or equal to 0"]),
        ("TUNING__PARALLEL_JOBS", "50", ["tuning.parallel_jobs = '50'", "at most jobs (5)"]),
        ("TUNING__LEARNING_RATE_MAX", "0.001", ["tuning.learning_rate_max = '0.001'", "than learning_rate_min"]),
        ("TUNING__BATCH_SIZES", "[32, 32]", ["tuning.batch_sizes = [32, 32]", "must not repeat"]),
        ("TUNING__BATCH_SIZES", "[32,", ["BINVENTORY_", '"tuning"']),
        ("TUNING__STRATEGY", "Grid", ["tuning.strategy = 'Grid'", "'Bayesian', 'Random' or 'Hyperband'"]),
        ("TUNING__STRATEGY", "Hyperband", ["tuning.early_stopping = 'Auto'", "must be Off with strategy Hyperband"]),
        ("TUNING__EARLY_STOPPING", "Sometimes", ["tuning.early_stopping = 'Sometimes'", "'Auto' or 'Off'"]),
        ("TUNING__LEARNING_RATE_SCALE", "Cubic", ["tuning.learning_rate_scale = 'Cubic'", "'Logarithmic'"]),
        ("TUNING__LEARNING_RATE_MIN", "0", ["tuning.learning_rate_min = '0'", "greater than 0"]),
        ("TUNING__BATCH_SIZES", "[0]", ["tuning.batch_sizes.0 = 0", "greater than or equal to 1"]),
        ("TUNING__BATCH_SIZES", "[]", ["tuning.batch_sizes = []", "at least 1 item"]),
        ("TUNING__JOBS", "501", ["tuning.jobs = '501'", "less than or equal to 500"]),
        ("TUNING__WARM_START", _warm_start(parents=[]), ["tuning.warm_start.parents = []", "at least 1 item"]),
        (
            "TUNING__WARM_START",
            _warm_start(parents=["a", "a"]),
            ["tuning.warm_start.parents = ['a', 'a']", "not repeat"],
        ),
        ("TUNING__WARM_START", _warm_start(parents=list("abcdef")), ["tuning.warm_start.parents", "at most 5 items"]),
        ("TUNING__WARM_START", _warm_start(parents=["-a"]), ["tuning.warm_start.parents.0 = '-a'"]),
        ("TUNING__WARM_START", _warm_start(type="Similar"), ["tuning.warm_start.type = 'Similar'", "TransferLearning"]),
        (
            "TUNING__RANGES",
            _range("loss", values=["ordinal", "focal"]),
            ["tuning.ranges.loss", "cross-entropy, ordinal"],
        ),
        ("TUNING__RANGES", _range("head", min=0, max=1), ["tuning.ranges.head", "list values out of ordered, softmax"]),
        ("TUNING__RANGES", _range("dropout", min=0, max=1), ["tuning.ranges.dropout", "numbers from 0 to 0.95"]),
        ("TUNING__RANGES", _range("clip", values=["1", "never"]), ["tuning.ranges.clip", "numbers from 0 to 1e+06"]),
        (
            "TUNING__RANGES",
            _range("weight_decay", min=0, max=1, scale="Logarithmic"),
            ["tuning.ranges.weight_decay", "min above 0"],
        ),
        (
            "TUNING__RANGES",
            _range("weight_decay", min=0, max=1, scale="ReverseLogarithmic"),
            ["tuning.ranges.weight_decay", "max below 1"],
        ),
        ("SERVING__MIN_INSTANCES", "9", ["serving.max_instances = 2", "at least min_instances (9)"]),
        (
            "SERVING__INSTANCE_TYPE",
            "ml.t2.medium",
            ["serving.max_instances = 2", "min_instances (1) with instance_type ml.t2.medium"],
        ),
        ("SERVING__INSTANCE_TYPE", "ml.m6g.large", ["serving.instance_type = 'ml.m6g.large'", "'ml.m5.large'"]),
        ("SERVING__DATA_CAPTURE_PERCENT", "101", ["serving.data_capture_percent = '101'", "less than or equal to 100"]),
        ("STORAGE__LOG_RETENTION_DAYS", "8", ["storage.log_retention_days = 8"]),
        ("MONEY__MONTHLY_BUDGET_USD", "0", ["money.monthly_budget_usd = '0'", "greater than 0"]),
        ("MONEY__IDLE_HOURS", "-1", ["money.idle_hours = '-1'", "greater than or equal to 0"]),
        ("MONEY__IDLE_HOURS", "0.0001", ["money.idle_hours = '0.0001'", "must be 0 (never) or at least 0.01"]),
        ("MONEY__ALERT_EMAILS", '["nobody"]', ["money.alert_emails.0 = 'nobody'"]),
        (
            "MONEY__SERVING_HOURS",
            _hours(end="06:00"),
            ["money.serving_hours.end = '06:00'", "later than start"],
        ),
        ("MONEY__SERVING_HOURS", _hours(days="DAILY"), ["money.serving_hours.days = 'DAILY'"]),
        ("MONEY__SERVING_HOURS", _hours(start="25:00"), ["money.serving_hours.start = '25:00'"]),
        ("MONEY__SERVING_HOURS", _hours(time_zone="Mars"), ["money.serving_hours.time_zone = 'Mars'", "Europe/Berlin"]),
        ("TAGS", '{"project": "other"}', ["tags = {'project': 'other'}", "must not set project"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, field: str, value: str, expected: list[str]
) -> None:
    monkeypatch.setenv(f"BINVENTORY_{field}", value)
    with pytest.raises(InvalidSettingsError) as caught:
        load("dev")
    for text in expected:
        assert text in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"STRATEGY": "Hyperband", "EARLY_STOPPING": "Off", "HYPERBAND_MIN_EPOCHS": "20"},
            ["tuning.hyperband_min_epochs = 20", "less than training.epochs (20)"],
        ),
        (
            {"HYPERBAND_MIN_EPOCHS": "3"},
            ["tuning.hyperband_min_epochs = '3'", "has no effect with strategy Bayesian"],
        ),
        (
            {"STRATEGY": "Random", "WARM_START": _warm_start()},
            ["tuning.warm_start", "requires strategy Bayesian: Random draws its values"],
        ),
        (
            {"LEARNING_RATE_MAX": "1", "LEARNING_RATE_SCALE": "ReverseLogarithmic"},
            ["tuning.learning_rate_scale = 'ReverseLogarithmic'", "learning_rate_max below 1"],
        ),
    ],
)
def test_settings_of_the_search_must_fit_each_other(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], expected: list[str]
) -> None:
    for field, value in changes.items():
        monkeypatch.setenv(f"BINVENTORY_TUNING__{field}", value)
    with pytest.raises(InvalidSettingsError) as caught:
        load("dev")
    for text in expected:
        assert text in str(caught.value)


def test_a_key_that_the_file_gives_twice_is_refused(tmp_path: Path) -> None:
    """A reader of YAML takes the last one: a section that is added at the end would undo the one above."""
    text = (SETTINGS_FOLDER / "dev.yaml").read_text()
    for added, key in (("monitoring:\n  retrain: true\n", "monitoring"), ("", "epochs")):
        twice = text + added if added else text.replace("  epochs: 20\n", "  epochs: 20\n  epochs: 3\n")
        (tmp_path / "dev.yaml").write_text(twice)
        with pytest.raises(InvalidSettingsError, match=rf"dev\.yaml .*'{key}' is given in line \d+ and again in line"):
            load("dev", tmp_path)


def test_mlflow_is_refused_where_no_job_could_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINVENTORY_NETWORK__MODE", "create")
    monkeypatch.setenv("BINVENTORY_TRAINING__WEIGHTS", "s3://bins-of-ours/resnet50.safetensors")
    monkeypatch.setenv("BINVENTORY_TRAINING__MLFLOW", "https://mlflow.example.com")
    with pytest.raises(InvalidSettingsError, match=r"training\.mlflow = .*\n.*must be none with network\.mode create"):
        load("dev")
    monkeypatch.setenv("BINVENTORY_NETWORK__MODE", "none")
    assert load("dev").training.mlflow == "https://mlflow.example.com"


def test_the_rate_of_a_head_is_searched_where_more_than_the_head_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINVENTORY_TUNING__RANGES", _range("head_rate", min=0.1, max=1))
    monkeypatch.setenv("BINVENTORY_TRAINING__STRATEGY", "full")
    assert "head_rate" in load("dev").tuning.ranges


def test_what_the_settings_allow_the_server_holds() -> None:
    """So many requests of a queue reach one machine at once; SageMaker takes a refusal for a failure."""
    (most,) = [each.le for each in AsyncSettings.model_fields["requests_per_instance"].metadata if isinstance(each, Le)]
    assert most == AdmissionLimits().requests


def test_features_that_are_searched_must_be_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINVENTORY_TUNING__RANGES", _range("features", values=["stages", "last"]))
    assert load("dev").tuning.ranges["features"].values == ("stages", "last")
    monkeypatch.setenv("BINVENTORY_TRAINING__FEATURES", "last")
    with pytest.raises(InvalidSettingsError, match=r"training\.features = 'last'.*\n.*must be stages"):
        load("dev")


def test_nothing_falls_back_from_spot_that_does_not_run_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINVENTORY_TRAINING__ON_DEMAND_AFTER_RECLAIMS", "2")
    monkeypatch.setenv("BINVENTORY_TRAINING__SPOT", "false")
    assert load("dev").training.on_demand_after_reclaims == 2, "Embed runs on spot"
    monkeypatch.setenv("BINVENTORY_EMBED__SPOT", "false")
    with pytest.raises(InvalidSettingsError, match=r"must be 0: neither embed\.spot nor training\.spot"):
        load("dev")


def test_an_execution_ends_before_s3_deletes_what_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINVENTORY_STORAGE__EXECUTIONS_EXPIRE_DAYS", "2")
    assert load("dev").longest_execution_days == 1
    # On demand again after the wait for spot capacity: two hours more of Embed, one more of Train and of each round.
    monkeypatch.setenv("BINVENTORY_TRAINING__ON_DEMAND_AFTER_RECLAIMS", "1")
    assert load("dev").longest_execution_days == 2
    monkeypatch.delenv("BINVENTORY_TRAINING__ON_DEMAND_AFTER_RECLAIMS")
    with pytest.raises(
        InvalidSettingsError, match=r"storage\.executions_expire_days = 2.*\n.*must be at least 3: within"
    ):
        load("prod")


def test_checkpoints_outlive_the_wait_for_spot_capacity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINVENTORY_STORAGE__CHECKPOINTS_EXPIRE_DAYS", "1")
    assert load("dev").storage.checkpoints_expire_days == 1
    monkeypatch.setenv("BINVENTORY_TRAINING__MAX_WAIT_MINUTES", "1441")
    with pytest.raises(InvalidSettingsError, match=r"storage\.checkpoints_expire_days = 1.*\n.*at least 2: a job"):
        load("dev")
    monkeypatch.setenv("BINVENTORY_TRAINING__SPOT", "false")
    assert load("dev")


def test_prod_keeps_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINVENTORY_STORAGE__RETAIN", "false")
    assert not load("dev").storage.retain
    with pytest.raises(InvalidSettingsError, match=r"storage\.retain = False"):
        load("prod")


def test_prod_is_never_turned_off_for_idleness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINVENTORY_MONEY__IDLE_HOURS", "24")
    assert load("dev").money.idle_hours == 24
    with pytest.raises(InvalidSettingsError, match=r"money\.idle_hours = 24"):
        load("prod")


def test_a_local_disk_holds_what_volume_gb_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINVENTORY_TRAINING__INSTANCE_TYPE", "ml.g4dn.xlarge")
    monkeypatch.setenv("BINVENTORY_TRAINING__VOLUME_GB", "126")
    with pytest.raises(InvalidSettingsError) as caught:
        load("dev")
    said = str(caught.value)
    assert "training.volume_gb = '126'" in said and "choose an instance_type with more disk" in said
    assert "must be at most 125: ml.g4dn.xlarge has a local disk of 125 GB and no volume" in said
    monkeypatch.setenv("BINVENTORY_TRAINING__VOLUME_GB", "125")
    assert load("dev").training.volume_gb == 125


def test_an_execution_may_choose_only_types_whose_disk_holds_the_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINVENTORY_TRAINING__INSTANCE_TYPE", "ml.g5.2xlarge")
    monkeypatch.setenv("BINVENTORY_TRAINING__VOLUME_GB", "400")
    allowed = Parameters.of(load("dev")).training_instance_type.allowed
    assert {"ml.g5.2xlarge", "ml.g6.12xlarge", "ml.g4dn.12xlarge"} <= set(allowed)
    assert not {"ml.g5.xlarge", "ml.g4dn.2xlarge"} & set(allowed)


def test_a_gpu_for_which_the_training_images_have_no_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA 13, which every image has, ends with Turing; a V100 fails with `no kernel image is available`."""
    assert all("-cu13" in tags[Processor.GPU] for tags in TAGS.values())
    monkeypatch.setenv("BINVENTORY_TRAINING__INSTANCE_TYPE", "ml.p3.2xlarge")
    with pytest.raises(InvalidSettingsError, match=r"(?s)training.instance_type = 'ml.p3.2xlarge'.*ml.g4dn.xlarge"):
        load("dev")


def test_the_stacks_and_the_local_aws_know_the_same_disks() -> None:
    for instance_type in (*CPU_JOB_INSTANCES, *GPU_JOB_INSTANCES):
        cluster = {"InstanceType": instance_type, "VolumeSizeInGB": 7}
        assert local_disk_gb(cluster) == (disk_gb(instance_type) or 7)
        assert (disk_gb(instance_type) is not None) is machine(instance_type).has_own_disk


def test_all_problems_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINVENTORY_REGION", "mars-1")
    monkeypatch.setenv("BINVENTORY_TRAINING__EPOCHS", "0")
    with pytest.raises(InvalidSettingsError) as caught:
        load("dev")
    assert "region" in str(caught.value)
    assert "training.epochs" in str(caught.value)


def _write(folder: Path, name: str, **changes: object) -> None:
    document = yaml.safe_load((SETTINGS_FOLDER / "dev.yaml").read_text()) | changes
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(document))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"colour": "blue"}, "colour = 'blue'"),
        ({"ingest": {}}, "ingest.instance_type is missing"),
        ({"environment": "prod", "storage": {}}, "storage.retain is missing"),
        ({"environment": "staging"}, "environment = 'staging'"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, changes: dict[str, object], expected: str) -> None:
    _write(tmp_path, "dev", **changes)
    with pytest.raises(InvalidSettingsError, match=expected.replace(".", r"\.")):
        load("dev", tmp_path)


def test_a_file_for_another_environment_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, "prod")
    with pytest.raises(InvalidSettingsError, match="must be 'prod'"):
        load("prod", tmp_path)


def test_an_absent_or_unreadable_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingsError, match=r"dev\.yaml is missing"):
        load("dev", tmp_path)
    (tmp_path / "dev.yaml").write_text("project: [")
    with pytest.raises(InvalidSettingsError, match=r"dev\.yaml .*cannot be read"):
        load("dev", tmp_path)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load("dev").serving.min_instances = 3


DEV = load("dev")


@hypothesis.settings(max_examples=40)
@given(minimum=st.integers(1, 50), maximum=st.integers(1, 50))
def test_instances_are_ordered_or_refused(minimum: int, maximum: int) -> None:
    try:
        serving = changed(DEV, "serving", min_instances=minimum, max_instances=maximum).serving
    except ValueError:
        assert minimum > maximum
    else:
        assert serving.min_instances <= serving.max_instances


@pytest.mark.parametrize("change", [{"max_instances": 1}, {"mode": "serverless", "data_capture_percent": 0}])
def test_a_burstable_type_serves_where_nothing_scales(change: dict[str, Any]) -> None:
    serving = changed(DEV, "serving", instance_type="ml.t2.medium", **change).serving
    assert serving.instance_type == "ml.t2.medium"


@hypothesis.settings(max_examples=40)
@given(runtime=st.integers(5, 7200), wait=st.integers(5, 7200))
def test_the_wait_for_spot_covers_the_run_or_is_refused(runtime: int, wait: int) -> None:
    try:
        job = changed(DEV, "training", max_runtime_minutes=runtime, max_wait_minutes=wait).training
    except ValueError:
        assert wait < runtime
    else:
        assert job.max_wait_minutes >= job.max_runtime_minutes


def test_app_ends_with_one_screen_and_no_traceback(repository: Path) -> None:
    variables = {"BINVENTORY_REGION": "mars-1", "BINVENTORY_TRAINING__EPOCHS": "0"}
    run = subprocess.run(
        [sys.executable, "app.py"],
        cwd=repository,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    message = run.stderr[run.stderr.index("The settings are not usable") :]
    assert "region = 'mars-1'  (from BINVENTORY_REGION)" in message
    assert "Traceback" not in run.stderr
    assert len(message.splitlines()) < 24


@pytest.mark.parametrize(
    ("variable", "context", "expected"),
    [("prod", {}, "prod"), ("prod", {"env": "dev"}, "dev"), ("", {}, "dev"), (None, {}, "dev")],
)
def test_the_app_takes_the_environment_that_the_commands_take(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str | None, context: dict[str, str], expected: str
) -> None:
    """With BINVENTORY_ENV=prod, `binventory` acted on prod and `npx cdk deploy --all` on dev."""
    built: list[str] = []
    if variable is not None:
        monkeypatch.setenv("BINVENTORY_ENV", variable)
    monkeypatch.setenv("CDK_OUTDIR", str(tmp_path))
    # Node, which reads the context from the environment, has started already.
    monkeypatch.setattr(cdk, "App", partial(cdk.App, context=context))
    monkeypatch.setattr(application, "build", lambda _, settings: built.append(settings.environment))
    assert application.main(policies=False) == 0
    assert built == [expected]


def test_an_app_without_the_cdk_command_line_names_it(repository: Path) -> None:
    """Without the flags of cdk.json it would be another app."""
    without = {name: value for name, value in os.environ.items() if not name.startswith("CDK_")}
    run = subprocess.run(
        [sys.executable, "app.py"], cwd=repository, env=without, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "Run: npx cdk synth. It reads cdk.json, then runs this file.\n"


def test_an_app_that_is_asked_what_it_does_not_know_refuses(repository: Path) -> None:
    """A mistyped argument must neither check nor skip the policies unseen."""
    command = [sys.executable, "app.py", "--no-polices"]
    run = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert "unrecognized arguments: --no-polices" in run.stderr


def test_an_unknown_environment_is_refused() -> None:
    with pytest.raises(InvalidSettingsError, match="must be one of dev, prod"):
        load("staging")


def test_the_class_itself_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that are built without a file get the same checks."""
    document = load("dev").model_dump()
    document["serving"]["max_instances"] = 0
    with pytest.raises(ValueError, match="max_instances"):
        Settings.model_validate(document)
