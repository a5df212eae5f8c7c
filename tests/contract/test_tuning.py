"""Tuning jobs through boto3: trials run as training jobs, and the best one has the best objective."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from binventory.core.aws import connect
from binventory.executions import best_of, trials
from local_aws.server import LocalAws
from tests.contract.conftest import ClientFactory
from tests.contract.jobs import BUCKET, IMAGE, archive_members, log_lines, until
from tests.contract.tunings import RANGES, finished_tuning, trials_of, tuning_request


@pytest.fixture(scope="module", autouse=True)
def bucket(client: ClientFactory) -> None:
    client("s3").create_bucket(Bucket=BUCKET)


@pytest.fixture(scope="module")
def bowl(client: ClientFactory, bucket: None) -> dict[str, Any]:
    """The search `bowl`, which has ended."""
    client("sagemaker").create_hyper_parameter_tuning_job(**tuning_request(client, "bowl"))
    return finished_tuning(client, "bowl")


@pytest.fixture(scope="module")
def early(client: ClientFactory, bucket: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The search `early`, which has ended, some of its trials before their last epoch.

    With its seed each trial is better than every one before it, or worse than their median from its first epoch on.
    """
    auto = {"TrainingJobEarlyStoppingType": "Auto", "Strategy": "Random", "RandomSeed": 1}
    met = tmp_path_factory.mktemp("early") / "met"
    request = long_request(client, "early", met, 4, 30, stopped="median", **auto)
    client("sagemaker").create_hyper_parameter_tuning_job(**request)
    return finished_tuning(client, "early")


def test_trials_run_and_the_best_one_is_named(client: ClientFactory, bowl: dict[str, Any]) -> None:
    job = bowl
    assert job["HyperParameterTuningJobStatus"] == "Completed", job.get("FailureReason")
    assert job["TrainingJobStatusCounters"]["Completed"] == 3
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 3, "Pending": 0, "Failed": 0}
    trials = trials_of(client, "bowl", SortBy="FinalObjectiveMetricValue", SortOrder="Ascending")
    values = [trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for trial in trials]
    assert values == sorted(values)
    best = job["BestTrainingJob"]
    assert best["TrainingJobName"] == trials[0]["TrainingJobName"]
    for trial in trials:
        x, shape = float(trial["TunedHyperParameters"]["x"]), trial["TunedHyperParameters"]["shape"]
        expected = (x - 0.3) ** 2 + (0.0 if shape == "round" else 1.0)
        assert trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == pytest.approx(expected, abs=1e-5)
    described = client("sagemaker").describe_training_job(TrainingJobName=best["TrainingJobName"])
    assert described["TuningJobArn"] == job["HyperParameterTuningJobArn"]
    assert described["EnableManagedSpotTraining"]
    seen = json.loads(archive_members(client, described["ModelArtifacts"]["S3ModelArtifacts"])["seen.json"])
    assert seen["arguments"] == ["--shape", best["TunedHyperParameters"]["shape"], "-x", seen["arguments"][3]]
    assert float(seen["arguments"][3]) == float(best["TunedHyperParameters"]["x"])
    listed = client("sagemaker").list_hyper_parameter_tuning_jobs(NameContains="bowl", StatusEquals="Completed")
    assert [job["HyperParameterTuningJobName"] for job in listed["HyperParameterTuningJobSummaries"]] == ["bowl"]
    with pytest.raises(ClientError, match="ResourceInUse"):
        client("sagemaker").create_hyper_parameter_tuning_job(**tuning_request(client, "bowl"))
    with pytest.raises(ClientError, match="ResourceNotFound"):
        finished_tuning(client, "nobody")


def test_failing_trials_are_counted_and_when_all_fail_so_does_the_job(client: ClientFactory) -> None:
    limits = {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 2}
    request = tuning_request(client, "hopeless", ResourceLimits=limits)
    request["TrainingJobDefinition"]["StaticHyperParameters"]["limit"] = "-1"
    request["TrainingJobDefinition"]["DefinitionName"] = "no-luck"
    client("sagemaker").create_hyper_parameter_tuning_job(**request)
    job = finished_tuning(client, "hopeless")
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["TrainingJobStatusCounters"]["NonRetryableError"] == 2
    assert "BestTrainingJob" not in job
    trials = trials_of(client, "hopeless")
    assert [trial["TrainingJobDefinitionName"] for trial in trials] == ["no-luck"] * 2
    assert all("too far" in trial["FailureReason"] for trial in trials)
    assert trials_of(client, "hopeless", SortBy="FinalObjectiveMetricValue") == []
    assert job["FailureReason"].startswith("No training job succeeded after 2 attempts.")


def test_a_search_whose_trials_print_no_objective_fails_and_names_the_metric(client: ClientFactory) -> None:
    """As one on a test loss does, which the project's training script does not print."""
    limits = {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1}
    objective = {"Type": "Minimize", "MetricName": "Test Loss"}
    request = tuning_request(client, "silent", ResourceLimits=limits, HyperParameterTuningJobObjective=objective)
    metrics = [{"Name": "Test Loss", "Regex": "Testing Loss: ([0-9\\.]+)"}]
    request["TrainingJobDefinition"]["AlgorithmSpecification"]["MetricDefinitions"] = metrics
    client("sagemaker").create_hyper_parameter_tuning_job(**request)
    job = finished_tuning(client, "silent")
    assert (job["HyperParameterTuningJobStatus"], job["TrainingJobStatusCounters"]["Completed"]) == ("Failed", 1)
    assert job["ObjectiveStatusCounters"]["Failed"] == 1
    assert job["FailureReason"].startswith("No objective metrics found after running 1 training jobs.")
    assert "(Test Loss)" in job["FailureReason"]


@pytest.mark.usefixtures("bowl")
def test_reaching_the_target_ends_the_search_and_seeds_repeat_it(client: ClientFactory) -> None:
    request = tuning_request(
        client,
        "target",
        ResourceLimits={"MaxNumberOfTrainingJobs": 50, "MaxParallelTrainingJobs": 1},
        TuningJobCompletionCriteria={"TargetObjectiveMetricValue": 3.0},
    )
    client("sagemaker").create_hyper_parameter_tuning_job(**request)
    job = finished_tuning(client, "target")
    # Its first values are those of any other job with the same seed and ranges.
    [same] = [trial for trial in trials_of(client, "bowl") if "-001-" in trial["TrainingJobName"]]
    assert job["BestTrainingJob"]["TunedHyperParameters"] == same["TunedHyperParameters"]
    assert (job["HyperParameterTuningJobStatus"], job["TrainingJobStatusCounters"]["Completed"]) == ("Completed", 1)


def test_a_trial_that_fails_does_not_reach_the_target(client: ClientFactory) -> None:
    """It has printed a value that would; another trial follows."""
    script = """
        print("validation:loss=0.0", flush=True)
        raise ValueError("no model")
    """
    request = tuning_request(
        client, "broken", script,
        ResourceLimits={"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1},
        TuningJobCompletionCriteria={"TargetObjectiveMetricValue": 3.0},
    )  # fmt: skip
    client("sagemaker").create_hyper_parameter_tuning_job(**request)
    job = finished_tuning(client, "broken")
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["TrainingJobStatusCounters"]["NonRetryableError"] == 2


def test_a_trial_that_fails_is_not_the_best(client: ClientFactory, local_aws: LocalAws) -> None:
    """It has printed the least loss: the report and the screen named its values as the best, which Train never took."""
    script = """
        import json, os
        x = json.loads(os.environ["SM_HPS"])["x"]
        print(f"validation:loss={-x}", flush=True)
        if x > 0.5:
            raise ValueError("no model")
    """
    limits = {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 1}
    client("sagemaker").create_hyper_parameter_tuning_job(
        **tuning_request(client, "partly", script, ResourceLimits=limits)
    )
    job = finished_tuning(client, "partly")
    found = trials(connect(local_aws.environment()), "partly")
    assert "Failed" in {trial.status for trial in found}, "the case must have a trial that fails"
    best = best_of(found)
    assert best is not None and best.job == job["BestTrainingJob"]["TrainingJobName"]


EPOCHS = """
    import json, os, pathlib, statistics, threading
    hp = json.loads(os.environ["SM_HPS"])
    before = sorted(float(name) for name in os.listdir(hp["met"]))
    (pathlib.Path(hp["met"]) / str(hp["x"])).touch()
    worse = {
        "nobody": False,
        "median": bool(before) and hp["x"] > statistics.median(before or [0]),
        "best of three": bool(before) and len(before) < 3 and hp["x"] > before[0],
    }[hp["stopped"]]
    for epoch in range(hp["epochs"]):
        print(f"validation:loss={hp['x'] + 0.001 / (epoch + 1):.6f}", flush=True)
        if worse and epoch + 1 == hp["epochs"] // 3:
            threading.Event().wait(50)  # for the stop that must come
"""
"""Prints a loss for each epoch. A trial that must be stopped waits for it after a third of them, however busy this
computer is. The trials run one after the other and note the x of each in a folder, so each knows what came before."""


def epochs_of(client: ClientFactory, trial: dict[str, Any]) -> int:
    lines = log_lines(client, "/aws/sagemaker/TrainingJobs", trial["TrainingJobName"])
    return sum(line.startswith("validation:loss=") for line in lines)


def printed_so_far(client: ClientFactory, trial: dict[str, Any]) -> int:
    try:
        return epochs_of(client, trial)
    except ClientError:
        return 0


def long_request(
    client: ClientFactory, name: str, met: Path, trials: int, epochs: int, *, stopped: str = "nobody", **config: Any
) -> dict[str, Any]:
    """A search over x, of which less is better at every one of the epochs; `stopped` are those that must not end."""
    met.mkdir()
    # One after the other: which of two that run at once is ahead would be chance.
    limits = {"MaxNumberOfTrainingJobs": trials, "MaxParallelTrainingJobs": 1}
    ranges = {"ContinuousParameterRanges": RANGES["ContinuousParameterRanges"]}
    request = tuning_request(client, name, EPOCHS, ResourceLimits=limits, ParameterRanges=ranges, **config)
    static = {"epochs": str(epochs), "met": str(met), "stopped": stopped}
    request["TrainingJobDefinition"]["StaticHyperParameters"] |= static
    return request


def stopped_and_completed(client: ClientFactory, name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The trials of a finished search by status, after a check of the counters."""
    job, trials = finished_tuning(client, name), trials_of(client, name)
    assert job["HyperParameterTuningJobStatus"] == "Completed", job.get("FailureReason")
    by_status = {
        status: [trial for trial in trials if trial["TrainingJobStatus"] == status]
        for status in ("Stopped", "Completed")
    }
    counted = job["TrainingJobStatusCounters"]
    assert {status: counted[status] for status in by_status} == {k: len(v) for k, v in by_status.items()}
    # A stopped trial has reported its objective, so it counts.
    assert job["ObjectiveStatusCounters"] == {"Succeeded": len(trials), "Pending": 0, "Failed": 0}
    values = [trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for trial in trials]
    assert job["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == min(values)
    return by_status["Stopped"], by_status["Completed"]


AGAIN = """
import os, pathlib, threading
marks = pathlib.Path(os.environ["MARKS"])
attempt = len(list(marks.iterdir()))
(marks / str(attempt)).touch()
for loss in (5, 4, 3, 2, 1):
    print(f"validation:loss={loss}", flush=True)
    if attempt == 1 and loss == 4:
        threading.Event().wait(50)  # for the interruption
"""
"""The second trial is interrupted after two of five epochs, and then does all of them."""


@pytest.mark.parametrize("checkpoints", [False, True])
def test_a_trial_that_begins_anew_is_judged_by_what_it_prints_from_then_on(
    client: ClientFactory, local_aws: LocalAws, tmp_path: Path, checkpoints: bool
) -> None:
    """With checkpoints it continues: its next loss of 5 is that of its third epoch, and worse than the median."""
    name = f"again-{checkpoints}".lower()
    limits = {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1}
    request = tuning_request(client, name, AGAIN, ResourceLimits=limits, TrainingJobEarlyStoppingType="Auto")
    definition = request["TrainingJobDefinition"] | {"Environment": {"MARKS": str(tmp_path)}}
    if checkpoints:
        definition["CheckpointConfig"] = {"S3Uri": f"s3://{BUCKET}/{name}/"}
    client("sagemaker").create_hyper_parameter_tuning_job(**request | {"TrainingJobDefinition": definition})
    (second,) = until(lambda: trials_of(client, name)[1:])
    trial = {"TrainingJobName": second["TrainingJobName"]}
    until(lambda: printed_so_far(client, trial) == 2)
    local_aws.administer("sagemaker/reclaim", trial)
    job = finished_tuning(client, name)
    assert job["HyperParameterTuningJobStatus"] == "Completed", job.get("FailureReason")
    ended = client("sagemaker").describe_training_job(**trial)
    assert [item["Status"] for item in ended["SecondaryStatusTransitions"]].count("Interrupted") == 1
    assert ended["TrainingJobStatus"] == ("Stopped" if checkpoints else "Completed")


@pytest.mark.usefixtures("early")
def test_early_stopping_ends_the_trials_that_are_worse_than_the_median(client: ClientFactory) -> None:
    stopped, completed = stopped_and_completed(client, "early")
    assert stopped and completed
    best = min(stopped + completed, key=lambda trial: float(trial["TunedHyperParameters"]["x"]))
    assert best in completed
    assert all(epochs_of(client, trial) == 30 for trial in completed)
    assert all(1 <= epochs_of(client, trial) <= 10 for trial in stopped)
    described = client("sagemaker").describe_training_job(TrainingJobName=stopped[0]["TrainingJobName"])
    assert "Stopping" in [transition["Status"] for transition in described["SecondaryStatusTransitions"]]


def test_hyperband_stops_trials_at_its_rungs_and_gives_the_best_everything(
    client: ClientFactory, tmp_path: Path
) -> None:
    # A bracket of three trials with a rung after 10 of 30 epochs; the fourth trial is in the one that has no rung.
    request = long_request(
        client, "bands", tmp_path / "met", 4, 30, stopped="best of three", Strategy="Hyperband",
        StrategyConfig={"HyperbandStrategyConfig": {"MinResource": 10, "MaxResource": 30}},
    )  # fmt: skip
    client("sagemaker").create_hyper_parameter_tuning_job(**request)
    stopped, completed = stopped_and_completed(client, "bands")
    assert stopped and completed
    best = min(stopped + completed, key=lambda trial: float(trial["TunedHyperParameters"]["x"]))
    assert best in completed
    assert all(epochs_of(client, trial) == 10 for trial in stopped)
    assert all(epochs_of(client, trial) == 30 for trial in completed)


def test_a_warm_start_learns_from_its_parents(client: ClientFactory, early: dict[str, Any], tmp_path: Path) -> None:
    warm = {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "early"}],
        "WarmStartType": "IdenticalDataAndAlgorithm",
    }
    request = long_request(client, "warm", tmp_path / "met", 1, 2, Strategy="Bayesian") | {"WarmStartConfig": warm}
    client("sagemaker").create_hyper_parameter_tuning_job(**request)
    job = finished_tuning(client, "warm")
    assert job["HyperParameterTuningJobStatus"] == "Completed", job.get("FailureReason")
    assert job["WarmStartConfig"] == warm
    [trial] = trials_of(client, "warm")
    # Where less is better, the Gaussian process of the parent's trials looks below their median.
    known = sorted(float(found["TunedHyperParameters"]["x"]) for found in trials_of(client, "early"))
    assert float(trial["TunedHyperParameters"]["x"]) < known[len(known) // 2]
    overall = job["OverallBestTrainingJob"]
    best = min([early["BestTrainingJob"], job["BestTrainingJob"]], key=objective)
    assert (overall["TrainingJobName"], overall["TuningJobName"]) == (best["TrainingJobName"], best["TuningJobName"])


def objective(trial: dict[str, Any]) -> float:
    return float(trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"])


@pytest.mark.usefixtures("bowl")
@pytest.mark.parametrize(
    ("parents", "kind", "change", "words"),
    [
        (["nobody"], "TransferLearning", {}, "can't find the parent tuning job nobody"),
        (["bowl", "bowl"], "TransferLearning", {}, "must be different"),
        (["bowl"], "TransferLearning", {"extra": "1"}, "number of static and tunable hyperparameters, 5, must be"),
        (["bowl"], "IdenticalDataAndAlgorithm", {}, "the training image differs .* use TransferLearning"),
    ],
)
def test_a_warm_start_that_aws_would_refuse(
    client: ClientFactory, parents: list[str], kind: str, change: dict[str, str], words: str
) -> None:
    request = tuning_request(client, "cold")
    definition = request["TrainingJobDefinition"]
    definition["StaticHyperParameters"] |= change
    definition["AlgorithmSpecification"]["TrainingImage"] = IMAGE.replace("2.13", "2.12")
    request["WarmStartConfig"] = {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": name} for name in parents],
        "WarmStartType": kind,
    }
    with pytest.raises(ClientError, match=words):
        client("sagemaker").create_hyper_parameter_tuning_job(**request)


@pytest.mark.usefixtures("bowl")
def test_a_parent_must_have_looked_for_the_same_in_ranges_of_the_same_type(client: ClientFactory) -> None:
    warm = {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "bowl"}],
        "WarmStartType": "TransferLearning",
    }
    more = {"Type": "Maximize", "MetricName": "validation:loss"}
    request = tuning_request(client, "cold", HyperParameterTuningJobObjective=more) | {"WarmStartConfig": warm}
    with pytest.raises(ClientError, match="objective of parent tuning job bowl"):
        client("sagemaker").create_hyper_parameter_tuning_job(**request)
    shapes = [{"Name": "x", "Values": ["0", "1"]}, *RANGES["CategoricalParameterRanges"]]
    request = tuning_request(client, "cold", ParameterRanges={"CategoricalParameterRanges": shapes})
    with pytest.raises(ClientError, match="type of x must be that in parent tuning job bowl"):
        client("sagemaker").create_hyper_parameter_tuning_job(**request | {"WarmStartConfig": warm})


def test_a_search_that_no_longer_improves_ends(client: ClientFactory) -> None:
    flat = """
        print("validation:loss=1.0")
    """
    request = tuning_request(
        client, "flat", flat,
        ResourceLimits={"MaxNumberOfTrainingJobs": 50, "MaxParallelTrainingJobs": 1},
        TuningJobCompletionCriteria={"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 3}},
    )  # fmt: skip
    client("sagemaker").create_hyper_parameter_tuning_job(**request)
    job = finished_tuning(client, "flat")
    assert job["TrainingJobStatusCounters"]["Completed"] == 4
    assert job["TuningJobCompletionDetails"]["NumberOfTrainingJobsObjectiveNotImproving"] == 3


def test_stopping_stops_the_trials(client: ClientFactory) -> None:
    client("sagemaker").create_hyper_parameter_tuning_job(
        **tuning_request(client, "stopped", script="import time; time.sleep(60)")
    )
    until(lambda: len(trials_of(client, "stopped", StatusEquals="InProgress")) == 2)
    client("sagemaker").stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="stopped")
    assert finished_tuning(client, "stopped")["HyperParameterTuningJobStatus"] == "Stopped"
    assert {trial["TrainingJobStatus"] for trial in trials_of(client, "stopped")} == {"Stopped"}
    with pytest.raises(ClientError, match="ValidationException"):
        client("sagemaker").stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="stopped")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"ResourceLimits": {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 2}}, "must not be greater than"),
        ({"ParameterRanges": {}}, "At least one parameter range"),
        (
            {"HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "luck"}},
            "is not among the MetricDefinitions",
        ),
        (
            {"ParameterRanges": {"IntegerParameterRanges": [{"Name": "n", "MinValue": "9", "MaxValue": "1"}]}},
            "MinValue 9 must not be greater than MaxValue 1",
        ),
        (
            {"ParameterRanges": {"ContinuousParameterRanges": [{"Name": "n", "MinValue": "a", "MaxValue": "1"}]}},
            "must be numbers",
        ),
        (
            {"ParameterRanges": {"ContinuousParameterRanges": [{"Name": "n", "MinValue": "0", "MaxValue": "nan"}]}},
            "MaxValue nan must be finite",
        ),
        (
            {"ParameterRanges": {"ContinuousParameterRanges": [{"Name": "n", "MinValue": "-inf", "MaxValue": "1"}]}},
            "MinValue -inf and MaxValue 1 must be finite",
        ),
        (
            {"ParameterRanges": {"IntegerParameterRanges": [{"Name": "n", "MinValue": "0.5", "MaxValue": "9"}]}},
            "of an integer range must be whole",
        ),
        (
            {
                "ParameterRanges": {
                    "IntegerParameterRanges": [
                        {"Name": "n", "MinValue": "0", "MaxValue": "0", "ScalingType": "ReverseLogarithmic"}
                    ]
                }
            },
            "an integer range has Auto, Linear or Logarithmic scaling",
        ),
        (
            {
                "ParameterRanges": {
                    "IntegerParameterRanges": [
                        {"Name": f"n{place}", "MinValue": "0", "MaxValue": "9"} for place in range(16)
                    ],
                    "CategoricalParameterRanges": [{"Name": f"c{place}", "Values": ["a"]} for place in range(15)],
                }
            },
            "31 parameter ranges are given; all kinds together can be at most 30",
        ),
        (
            {
                "ParameterRanges": {
                    "ContinuousParameterRanges": [
                        {"Name": "n", "MinValue": "0", "MaxValue": "1", "ScalingType": "Logarithmic"}
                    ]
                }
            },
            "logarithmic scaling needs MinValue > 0",
        ),
        (
            {
                "ParameterRanges": {
                    "CategoricalParameterRanges": [{"Name": "sagemaker_program", "Values": ["a.py", "b.py"]}]
                }
            },
            "given once",
        ),
        ({"Strategy": "Grid"}, "categorical parameter ranges only"),
        ({"Strategy": "Hyperband"}, "MaxResource is missing in HyperbandStrategyConfig"),
        ({"Strategy": "Hyperband", "TrainingJobEarlyStoppingType": "Auto"}, "must be Off with strategy Hyperband"),
        (
            {
                "Strategy": "Hyperband",
                "StrategyConfig": {"HyperbandStrategyConfig": {"MinResource": 3, "MaxResource": 3}},
            },
            "MinResource 3 and MaxResource 3",
        ),
        ({"StrategyConfig": {"HyperbandStrategyConfig": {"MaxResource": 3}}}, "with strategy Hyperband only"),
        ({"Autotune": {"Mode": "Enabled"}}, "Autotune does not run locally"),
        (
            {"TuningJobCompletionCriteria": {"ConvergenceDetected": {"CompleteOnConvergence": "Enabled"}}},
            "ConvergenceDetected does not run locally",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(client: ClientFactory, config: dict[str, Any], words: str) -> None:
    request = tuning_request(client, "refused", **config)
    if "Autotune" in config:
        request["Autotune"] = request["HyperParameterTuningJobConfig"].pop("Autotune")
    with pytest.raises(ClientError, match=words):
        client("sagemaker").create_hyper_parameter_tuning_job(**request)
