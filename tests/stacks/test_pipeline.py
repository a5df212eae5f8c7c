"""The pipeline definition: every step is a valid request to SageMaker, with a limit of time and retries."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from botocore.session import get_session
from botocore.validate import ParamValidator
from pydantic import ValidationError

from local_aws.core.shapes import operation_model, violations
from local_aws.pipelines.definition import read_definition
from stacks.settings import load
from stacks.settings.instances import processor_of
from stacks.settings.tuning_ranges import NUMBERS, WORDS, Tunable, TuningRange
from stacks.watch_rules import WatchRule
from tests.stacks.definitions import Json, all_steps, expressions, named, requests
from tests.stacks.templates import changed, pipeline_definition, resources, synthesize, templates
from watching import rules as watching_rules
from watching.rules import Rule, parse_rules

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module", params=["dev", "prod"])
def definition(request: pytest.FixtureRequest) -> Json:
    """The definition of an environment."""
    return pipeline_definition(templates(request.param)["Training"])


def test_every_step_is_a_request_that_sagemaker_takes(definition: Json) -> None:
    model = get_session().get_service_model("sagemaker")
    seen = set()
    for name, operation, request in requests(definition):
        shape = model.operation_model(operation).input_shape
        assert shape is not None
        report = ParamValidator().validate(request, shape)
        assert not report.has_errors(), f"{name}: {report.generate_report()}"
        # botocore looks at types and required members only; enums, patterns and lengths are held as well.
        assert violations(shape, request) == [], name
        seen.add(name)
    assert seen == {"Ingest", "Embed", "Tune", "Train", "Evaluate", "Register"}


def test_a_wrong_request_would_be_found(definition: Json) -> None:
    """The check above is able to fail, deep inside an argument."""
    for _, operation, request in requests(definition):
        if operation == "CreateTrainingJob":
            request["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3DataType"] = "S3Suffix"
            assert violations(operation_model(operation).input_shape, request)


def test_every_reference_is_to_something_that_comes_before(definition: Json) -> None:
    parameters = {item["Name"] for item in definition["Parameters"]}
    done: set[str] = set()
    for step in all_steps(definition):
        for path in expressions(step["Arguments"] if step["Type"] != "Condition" else step["Arguments"]["Conditions"]):
            head, name, *_ = path.split(".")
            if head == "Parameters":
                assert name in parameters
            elif head == "Steps":
                assert name in done, f"{step['Name']} refers to {path}"
            else:
                assert path in {"Execution.PipelineExecutionId", "Execution.PipelineExecutionArn"}
        done.add(step["Name"])


def test_every_parameter_is_used_and_has_a_default_of_its_type(definition: Json) -> None:
    used = {path.split(".")[1] for path in expressions(definition["Steps"]) if path.startswith("Parameters.")}
    types: dict[str, type | tuple[type, ...]] = {"String": str, "Integer": int, "Float": (int, float)}
    for parameter in definition["Parameters"]:
        assert parameter["Name"] in used
        assert isinstance(parameter["DefaultValue"], types[parameter["Type"]])
        assert parameter["DefaultValue"] in parameter.get("EnumValues", [parameter["DefaultValue"]])


def test_referenced_outputs_are_written(definition: Json) -> None:
    outputs = {
        (step["Name"], output["OutputName"])
        for step in definition["Steps"]
        if step["Type"] == "Processing"
        for output in step["Arguments"]["ProcessingOutputConfig"]["Outputs"]
    }
    for path in expressions(definition["Steps"]):
        found = re.fullmatch(r"Steps\.(\w+)\.ProcessingOutputConfig\.Outputs\['(\w+)'\]\.S3Output\.S3Uri", path)
        assert "Outputs" not in path or (found and found.groups() in outputs), path


def _training_definitions(definition: Json) -> Iterator[tuple[str, Json]]:
    for step in definition["Steps"]:
        if step["Type"] == "Training":
            yield step["Name"], step["Arguments"]
        elif step["Type"] == "Tuning":
            yield step["Name"], step["Arguments"]["TrainingJobDefinition"]


def test_training_runs_on_spot_and_can_resume(definition: Json) -> None:
    jobs = dict(_training_definitions(definition))
    assert set(jobs) == {"Embed", "Tune", "Train"}
    for name, job in jobs.items():
        assert job["EnableManagedSpotTraining"] is True, name
        limits = job["StoppingCondition"]
        assert limits["MaxWaitTimeInSeconds"] >= limits["MaxRuntimeInSeconds"] > 0, name
        uri = job["CheckpointConfig"]["S3Uri"]["Std:Join"]
        assert uri["Values"][-1] == "" and uri["On"] == "/", f"{name}: a checkpoint prefix must end with a slash"
        assert job["CheckpointConfig"]["LocalPath"] == "/opt/ml/checkpoints"


def test_on_demand_jobs_have_no_wait_and_still_checkpoint() -> None:
    settings = changed(load("dev"), "training", spot=False)
    jobs = dict(_training_definitions(pipeline_definition(synthesize(settings)["Training"])))
    for name in ("Tune", "Train"):
        assert jobs[name]["EnableManagedSpotTraining"] is False
        assert "MaxWaitTimeInSeconds" not in jobs[name]["StoppingCondition"]
        assert "CheckpointConfig" in jobs[name]
    assert jobs["Embed"]["EnableManagedSpotTraining"] is True


def test_every_job_is_bounded_tagged_and_retried_for_sagemakers_faults_only(definition: Json) -> None:
    for step in definition["Steps"]:
        if step["Type"] not in ("Processing", "Training", "Tuning"):
            continue
        arguments = step["Arguments"]
        job = arguments.get("TrainingJobDefinition", arguments)
        assert job["StoppingCondition"]["MaxRuntimeInSeconds"] > 0
        assert {tag["Key"] for tag in arguments["Tags"]} >= {"project", "environment"}
        exceptions = {name for policy in step["RetryPolicies"] for name in policy["ExceptionType"]}
        assert exceptions <= {
            "Step.SERVICE_FAULT",
            "Step.THROTTLING",
            "SageMaker.JOB_INTERNAL_ERROR",
            "SageMaker.CAPACITY_ERROR",
            "SageMaker.RESOURCE_LIMIT",
        }


def test_the_search_is_the_one_that_was_asked_for(definition: Json) -> None:
    config = named(definition, "Tune")["Arguments"]["HyperParameterTuningJobConfig"]
    (rate,) = config["ParameterRanges"]["ContinuousParameterRanges"]
    assert rate == {"Name": "lr", "MinValue": "0.001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
    (batch,) = config["ParameterRanges"]["CategoricalParameterRanges"]
    assert batch == {"Name": "batch-size", "Values": ["32", "64", "128", "256", "512"]}
    assert config["HyperParameterTuningJobObjective"] == {"Type": "Minimize", "MetricName": "validation:loss"}
    static = named(definition, "Tune")["Arguments"]["TrainingJobDefinition"]["StaticHyperParameters"]
    assert not {"lr", "batch-size"} & set(static)
    trained = named(definition, "Train")["Arguments"]["HyperParameters"]
    for name in ("lr", "batch-size"):
        assert trained[name] == {"Get": f"Steps.Tune.BestTrainingJob.TunedHyperParameters['{name}']"}


def _searched(**tuning: object) -> tuple[Json, Json]:
    """The search and its whole request, checked against the API, with some settings changed."""
    definition = pipeline_definition(synthesize(changed(load("dev"), "tuning", **tuning))["Training"])
    request = next(request for name, _, request in requests(definition) if name == "Tune")
    assert violations(operation_model("CreateHyperParameterTuningJob").input_shape, request) == []
    return named(definition, "Tune")["Arguments"]["HyperParameterTuningJobConfig"], request


def test_hyperband_shares_out_the_epochs_and_nothing_else_stops_trials() -> None:
    config, request = _searched(strategy="Hyperband", early_stopping="Off", hyperband_min_epochs=2)
    assert (config["Strategy"], config["TrainingJobEarlyStoppingType"]) == ("Hyperband", "Off")
    shared = config["StrategyConfig"]["HyperbandStrategyConfig"]
    # The parameter, not the setting: an execution may ask for other epochs than the default.
    assert shared == {"MinResource": 2, "MaxResource": {"Get": "Parameters.Epochs"}}
    assert request["HyperParameterTuningJobConfig"]["StrategyConfig"]["HyperbandStrategyConfig"]["MaxResource"] == 20


def test_a_warm_start_names_the_earlier_searches() -> None:
    config, request = _searched(warm_start={"type": "TransferLearning", "parents": ("old-1", "old-2")})
    assert request["WarmStartConfig"] == {
        "ParentHyperParameterTuningJobs": [
            {"HyperParameterTuningJobName": "old-1"},
            {"HyperParameterTuningJobName": "old-2"},
        ],
        "WarmStartType": "TransferLearning",
    }
    assert config["Strategy"] == "Bayesian"


def test_mlflow_is_a_setting_that_tuning_and_training_get() -> None:
    server = "https://mlflow.example.com/"
    tracked = pipeline_definition(synthesize(changed(load("dev"), "training", mlflow=server))["Training"])
    assert named(tracked, "Train")["Arguments"]["HyperParameters"]["mlflow"] == server
    search = named(tracked, "Tune")["Arguments"]["TrainingJobDefinition"]
    assert search["StaticHyperParameters"]["mlflow"] == server
    plain = pipeline_definition(templates("dev")["Training"])
    assert "mlflow" not in named(plain, "Train")["Arguments"]["HyperParameters"]


def test_the_rules_that_watch_are_settings_that_the_script_reads_alike() -> None:
    asked = "overfit=stop:0.3, overtraining=off"
    settings = changed(load("dev"), "training", watch=asked, profile_steps=5)
    watched = pipeline_definition(synthesize(settings)["Training"])
    given = named(watched, "Train")["Arguments"]["HyperParameters"]
    assert (given["watch"], given["profile-steps"]) == (asked, "5")
    rules: dict[str, Rule] = {rule.name: rule for rule in parse_rules(given["watch"])}
    assert (rules["overfit"].action, rules["overfit"].threshold) == ("stop", 0.3)
    assert set(WatchRule) - set(rules) == {"overtraining"}
    assert tuple(rule.name for rule in watching_rules.RULES) == tuple(WatchRule)


def test_the_plain_search_is_that_of_the_seed_and_starts_cold(definition: Json) -> None:
    arguments = named(definition, "Tune")["Arguments"]
    assert "WarmStartConfig" not in arguments
    config = arguments["HyperParameterTuningJobConfig"]
    assert (config["Strategy"], config["TrainingJobEarlyStoppingType"]) == ("Bayesian", "Auto")
    assert "StrategyConfig" not in config


@pytest.mark.parametrize("scale", ["Linear", "ReverseLogarithmic"])
def test_the_scale_of_the_learning_rate_is_a_setting(scale: str) -> None:
    config, _ = _searched(learning_rate_scale=scale)
    assert config["ParameterRanges"]["ContinuousParameterRanges"][0]["ScalingType"] == scale


def test_any_hyperparameter_can_be_searched_and_is_then_not_fixed() -> None:
    decay = TuningRange(min=0.001, max=0.1, scale="Logarithmic")
    ranges = {"weight_decay": decay, "head": TuningRange(values=("ordered", "softmax"))}
    config, _ = _searched(ranges=ranges)
    definition = pipeline_definition(synthesize(changed(load("dev"), "tuning", ranges=ranges))["Training"])
    found = {item["Name"]: item for items in config["ParameterRanges"].values() for item in items}
    assert set(found) == {"lr", "batch-size", "weight-decay", "head"}
    assert found["weight-decay"] | {"Name": ""} == {
        "Name": "", "MinValue": "0.001", "MaxValue": "0.1", "ScalingType": "Logarithmic"
    }  # fmt: skip
    assert found["head"]["Values"] == ["ordered", "softmax"]
    assert not set(found) & set(
        named(definition, "Tune")["Arguments"]["TrainingJobDefinition"]["StaticHyperParameters"]
    )
    trained = named(definition, "Train")["Arguments"]["HyperParameters"]
    assert {name for name, value in trained.items() if "BestTrainingJob" in str(value)} == set(found)


def test_what_can_be_searched_is_what_train_takes() -> None:
    import train

    rules = {field.name: field.metadata["rule"] for field in dataclasses.fields(train.TrainSettings)}
    assert set(get_args(Tunable)) == set(WORDS) | set(NUMBERS)
    for name, words in WORDS.items():
        assert set(words) == set(rules[name].choices) - {"embedded"}
    for name, limits in NUMBERS.items():
        assert limits == (rules[name].low, rules[name].high)


@pytest.mark.parametrize(
    "wrong", [{}, {"min": 1}, {"min": 2, "max": 1}, {"values": ["a", "a"]}, {"max": 1, "values": ["a"]}]
)
def test_a_range_is_either_values_or_two_ends(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="min below max, or distinct values"):
        TuningRange(**wrong)


def test_how_a_photo_becomes_features_is_said_to_embed_and_to_train(definition: Json) -> None:
    embed, trained = (named(definition, step)["Arguments"]["HyperParameters"] for step in ("Embed", "Train"))
    for name in ("features", "fit", "input-size"):
        assert embed[name] == trained[name]
    assert (trained["fit"], trained["head"], trained["answer"]) == ("whole", "ordered", "median")


def test_the_objective_is_among_the_metrics_and_metrics_are_read_from_the_printed_line(definition: Json) -> None:
    line = "epoch=3 train:loss=0.1 train:accuracy=0.5 validation:loss=2.5e-01 validation:accuracy=0.4 validation:rmse=1"
    line += "\nwatch epoch=3 train:gradient-norm=0.02 watch:fired=1"
    found = {}
    for metric in dict(_training_definitions(definition))["Tune"]["AlgorithmSpecification"]["MetricDefinitions"]:
        match = re.search(metric["Regex"], line)
        assert match, metric
        found[metric["Name"]] = float(match.group(1))
    assert found["validation:loss"] == 0.25
    assert found["train:loss"] == 0.1
    assert (found["train:gradient-norm"], found["watch:fired"]) == (0.02, 1)
    assert len(found) == 7


def test_caching_finds_the_same_work_again_and_never_a_training(definition: Json) -> None:
    cached = {step["Name"] for step in definition["Steps"] if step.get("CacheConfig", {}).get("Enabled")}
    assert cached == {"Ingest", "Embed"}
    # What SageMaker compares (inputs, image, environment, checkpoints) must not carry the execution's id.
    ingest, embed = (named(definition, name)["Arguments"] for name in ("Ingest", "Embed"))
    compared = [ingest["AppSpecification"], ingest["ProcessingInputs"], ingest["Environment"]]
    compared += [embed[key] for key in ("AlgorithmSpecification", "CheckpointConfig", "HyperParameters")]
    compared += [embed["InputDataConfig"], embed["Environment"]]
    assert "Execution.PipelineExecutionId" not in set(expressions(compared))


COMPARED = {
    "Processing": ("AppSpecification", "Environment", "ProcessingInputs"),
    "Training": ("AlgorithmSpecification", "CheckpointConfig", "Environment", "HyperParameters", "InputDataConfig"),
}
CONTENT = {
    "Parameters.PhotosUri": "Steps.Fingerprint.OutputParameters['Listing']",
    "Parameters.LabelsUri": "Steps.Fingerprint.OutputParameters['Listing']",
    "Parameters.Weights": "Steps.Fingerprint.OutputParameters['Weights']",
}


def _compared(step: Json) -> set[str]:
    """The references of a cached step that are in its cache key."""
    return set(expressions([step["Arguments"][member] for member in COMPARED[step["Type"]]]))


def test_no_cached_step_knows_an_input_by_its_address_alone(definition: Json) -> None:
    """Every address that a user gives comes with a fingerprint of its content; the others name their content."""
    addresses = {item["Name"] for item in definition["Parameters"] if _may_be_an_address(item)}
    assert {f"Parameters.{name}" for name in addresses} == set(CONTENT)
    asked = set(expressions(named(definition, "Fingerprint")["Arguments"]))
    assert asked == set(CONTENT)
    cached = [step for step in definition["Steps"] if step.get("CacheConfig", {}).get("Enabled")]
    for step in cached:
        for address in set(CONTENT) & _compared(step):
            assert CONTENT[address] in _compared(step), f"{step['Name']} reads {address}"
    # What an execution has written lies under its own id, and code under its hash.
    for step in cached:
        sealed = "Steps.Seal.OutputParameters['Shards']"  # the content of the shards
        others = {path for path in _compared(step) if path.startswith("Steps.")} - {*CONTENT.values(), sealed}
        assert all(path.startswith("Steps.Ingest.ProcessingOutputConfig") for path in others)
        (code,) = {uri for uri in _texts(step["Arguments"]) if uri.startswith("s3://") and "executions" not in uri}
        assert re.search(r"/[0-9a-f]{64}\.gz$", code)


def _may_be_an_address(parameter: Json) -> bool:
    """Whether a user may give an address here: any text but a few words."""
    return parameter["Type"] == "String" and "EnumValues" not in parameter and parameter["Name"] != "Fresh"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value.strip('"')
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(item)


def test_the_look_at_the_addresses_is_taken_by_every_execution_anew(definition: Json) -> None:
    look = definition["Steps"][0]
    assert (look["Name"], look["Type"]) == ("Fingerprint", "Lambda")
    assert "CacheConfig" not in look
    assert "RetryPolicies" not in look, "AWS has none for Lambda steps"
    returned = {f"Steps.Fingerprint.OutputParameters['{item['OutputName']}']" for item in look["OutputParameters"]}
    used = {path for path in expressions(definition["Steps"]) if path.startswith("Steps.Fingerprint.")}
    assert used == set(CONTENT.values())
    assert used <= returned
    # SageMaker takes the definition as the local one does.
    text = re.sub(r"<[^<>]*>", "name", json.dumps(definition))
    assert set(read_definition(text).steps["Ingest"].needs) == {"Fingerprint"}


def test_fresh_reaches_the_key_of_every_cached_step_and_no_other_job(definition: Json) -> None:
    for step in definition["Steps"]:
        if step["Type"] in COMPARED:
            cached = step["CacheConfig"]["Enabled"]
            assert ("Parameters.Fresh" in _compared(step)) == cached, step["Name"]


def test_cached_results_are_not_deleted_before_the_cache_forgets_them() -> None:
    for environment in ("dev", "prod"):
        stacks = templates(environment)
        rules = [
            rule
            for bucket in resources(stacks["Storage"], "AWS::S3::Bucket").values()
            for rule in bucket["Properties"]["LifecycleConfiguration"]["Rules"]
            if rule.get("Prefix") == "executions/"
        ]
        (expiry,) = {rule["ExpirationInDays"] for rule in rules}
        for step in pipeline_definition(stacks["Training"])["Steps"]:
            after = step.get("CacheConfig", {}).get("ExpireAfter")
            if after:
                assert int(after.strip("PD")) < expiry


@pytest.mark.parametrize(
    ("environment", "changes", "days"),
    [
        ("dev", {}, 29),
        ("prod", {}, 87),
        # 2 h of Ingest, 4 of Embed, 60 rounds of 3 and one more, 1 of Evaluate: 8 days.
        ("dev", {"tuning": {"jobs": 120}}, 22),
        ("dev", {"storage": {"executions_expire_days": 1}}, 0),
    ],
)
def test_what_an_execution_reuses_stays_until_its_end(environment: str, changes: Any, days: int) -> None:
    """An execution that took results on their last day but one lost them after a day of waiting for spot capacity."""
    settings = load(environment)
    for section, values in changes.items():
        settings = changed(settings, section, **values)
    steps = {step["Name"]: step for step in pipeline_definition(synthesize(settings)["Training"])["Steps"]}
    expected = {"Enabled": True, "ExpireAfter": f"P{days}D"} if days else {"Enabled": False}
    assert {name: steps[name]["CacheConfig"] for name in ("Ingest", "Embed")} == dict.fromkeys(
        ("Ingest", "Embed"), expected
    )


def test_the_gate_registers_or_refuses_with_the_reason(definition: Json) -> None:
    gate = named(definition, "Gate")["Arguments"]
    threshold, champion = gate["Conditions"]
    assert threshold["Type"] == "GreaterThanOrEqualTo"
    assert threshold["LeftValue"]["Std:JsonGet"]["Path"] == "multiclass_classification_metrics.accuracy.value"
    assert threshold["RightValue"] == {"Get": "Parameters.AccuracyThreshold"}
    assert champion["LeftValue"]["Std:JsonGet"]["Path"] == "binventory.gate.not_worse_than_champion"
    assert champion["RightValue"] is True
    (evaluation,) = named(definition, "Evaluate")["PropertyFiles"]
    for condition in (threshold, champion):
        source = condition["LeftValue"]["Std:JsonGet"]["PropertyFile"]["Get"]
        assert source == f"Steps.Evaluate.PropertyFiles.{evaluation['PropertyFileName']}"
    assert [step["Type"] for step in gate["IfSteps"]] == ["RegisterModel"]
    (refuse,) = gate["ElseSteps"]
    assert refuse["Type"] == "Fail"
    message = refuse["Arguments"]["ErrorMessage"]["Std:Join"]["Values"]
    assert {"Get": "Parameters.AccuracyThreshold"} in message
    assert message[-1] == "/evaluation.json"


def test_a_registered_model_waits_for_a_person_and_says_where_it_comes_from(definition: Json) -> None:
    register = named(definition, "Register")["Arguments"]
    assert register["ModelApprovalStatus"] == "PendingManualApproval"
    assert set(register["CustomerMetadataProperties"]) >= {
        "archive",
        "batch_size",
        "code",
        "learning_rate",
        "pipeline_execution",
        "shards",
        "training_job",
        "tuning_job",
    }
    (container,) = register["InferenceSpecification"]["Containers"]
    assert "dkr.ecr" in container["Image"]
    assert "Tags" not in register  # a version has its group's tags; SageMaker refuses its own


def test_processing_scripts_get_their_code_and_paths(definition: Json) -> None:
    for name, script in (("Ingest", "ingest.py"), ("Evaluate", "evaluate.py")):
        arguments = named(definition, name)["Arguments"]
        shell, option, command, _ = arguments["AppSpecification"]["ContainerEntrypoint"]
        assert (shell, option) == ("/bin/bash", "-c")
        assert command.endswith(f'exec python3 {script} "$@"')
        inputs = {item["InputName"]: item["S3Input"] for item in arguments["ProcessingInputs"]}
        assert f"{inputs['code']['LocalPath']}/*.gz" in command
        assert inputs["code"]["S3Uri"].endswith(".gz")
        given = arguments["AppSpecification"]["ContainerArguments"]
        for other in set(inputs) - {"code"}:
            assert inputs[other]["LocalPath"] in given
        root = given[given.index("--output") + 1]
        for output in arguments["ProcessingOutputConfig"]["Outputs"]:
            assert output["S3Output"]["LocalPath"].startswith(f"{root}/")


def test_an_execution_may_change_the_machine_but_not_its_kind(definition: Json) -> None:
    for parameter in definition["Parameters"]:
        if parameter["Name"].endswith("InstanceType"):
            kinds = {processor_of(name) for name in parameter["EnumValues"]}
            assert kinds == {processor_of(parameter["DefaultValue"])}
    for name, job in _training_definitions(definition):
        default = next(
            item["DefaultValue"]
            for item in definition["Parameters"]
            if {"Get": f"Parameters.{item['Name']}"} == job["ResourceConfig"]["InstanceType"]
        )
        assert f"-{processor_of(default)}" in job["AlgorithmSpecification"]["TrainingImage"].replace("-cu1", "-gpu"), (
            name
        )
