"""The flags of a run on EC2: the settings, the best trial's values, and what a person sets for this run."""

from __future__ import annotations

from typing import Any

import pytest

from binventory import executions
from binventory.ec2 import plan
from tests.conftest import NAMES

WHERE = plan.Place("data", "models", "binventory-dev-ec2", (), "sg-1", "t3.2xlarge", 180, 100)
TRAIN = {
    "Name": "Train",
    "Type": "Training",
    "Arguments": {
        "HyperParameters": {
            "loss": "ordinal",
            "head": "softmax",
            "mlflow": "https://tracking",
            "weights": "channel",
            "sagemaker_program": '"train.py"',
            "dropout": {"Get": "Steps.Tune.BestTrainingJob.TunedHyperParameters['dropout']"},
        }
    },
}
DEFINITION: dict[str, Any] = {"Parameters": [{"Name": "Weights", "DefaultValue": "s3://b/w"}], "Steps": [TRAIN]}


@pytest.mark.parametrize(("given", "rate"), [({}, "0.1"), ({"LearningRate": 0.5}, "0.5")])
def test_what_is_set_comes_before_what_was_tuned_and_all_of_it_reaches_the_machine(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, float], rate: str
) -> None:
    execution = executions.Execution("arn:execution/1", "Succeeded", "", ())
    for name, answer in {
        "_ingested": execution,
        "_shards": {},
        "_tuned": {"lr": "0.1", "batch-size": "64", "dropout": "0.2"},
        "model_package_group": "group",
    }.items():
        monkeypatch.setattr(plan, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(executions, "definition", lambda *_: DEFINITION)
    monkeypatch.setattr(executions, "parameters_of", lambda *_: {})
    aws: Any = None
    made = plan.make(aws, NAMES, WHERE, "ec2-1", given)
    assert made["flags"]["train"] == {
        "weights": "s3://b/w", "lr": rate, "batch-size": "64", "dropout": "0.2", "loss": "ordinal", "head": "softmax",
    }  # fmt: skip
    assert "dropout" not in made["flags"]["embed"]
