"""For how many photos `binventory train --on ec2` says what a run will cost: those whose shards it reads."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from binventory.cli import run
from binventory.core.errors import Exit
from tests.contract.conftest import ClientFactory
from tests.contract.environment import processing
from tests.contract.functions import lambda_step, make_function
from tests.contract.jobs import ROLE, until
from tests.contract.machines import DATA, NAME, SPLITS, fill_account

LIMIT = {"Name": "LimitPerClass", "Type": "Integer", "DefaultValue": 0}


@pytest.fixture(scope="module", autouse=True)
def account(client: ClientFactory, tmp_path_factory: pytest.TempPathFactory) -> None:
    fill_account(client, tmp_path_factory.mktemp("shards"))
    client("sagemaker").create_model_package_group(ModelPackageGroupName=NAME)


def ingested(client: ClientFactory, *steps: dict[str, Any], **values: str) -> None:
    """A new execution that has ingested is the newest; `steps` stand before its Ingest."""
    sagemaker = client("sagemaker")
    ingest = processing("Ingest", "true")
    outputs = [
        {
            "OutputName": split,
            "S3Output": {
                "S3Uri": f"s3://{DATA}/executions/first/ingest/{split}",
                "LocalPath": f"/opt/ml/processing/{split}",
                "S3UploadMode": "EndOfJob",
            },
        }
        for split in SPLITS
    ]
    ingest["Arguments"]["ProcessingOutputConfig"] = {"Outputs": outputs}
    ingest["DependsOn"] = [step["Name"] for step in steps]
    definition = json.dumps({"Version": "2020-12-01", "Parameters": [LIMIT], "Steps": [*steps, ingest]})
    given = {"PipelineName": NAME, "PipelineDefinition": definition, "RoleArn": ROLE}
    if any(item["PipelineName"] == NAME for item in sagemaker.list_pipelines()["PipelineSummaries"]):
        sagemaker.update_pipeline(**given)
    else:
        sagemaker.create_pipeline(**given, ClientRequestToken="t" * 32)
    parameters = [{"Name": name, "Value": value} for name, value in values.items()]
    arn = sagemaker.start_pipeline_execution(PipelineName=NAME, PipelineParameters=parameters)["PipelineExecutionArn"]
    describe = sagemaker.describe_pipeline_execution
    until(lambda: describe(PipelineExecutionArn=arn)["PipelineExecutionStatus"] == "Succeeded")


def asked(capsys: pytest.CaptureFixture[str]) -> tuple[str, float]:
    """The first sentence of the launch screen's notes, and the minutes that the run is expected to need."""
    assert run(["train", "--on", "ec2", "--dry-run", "--json"]) == Exit.OK
    launch = json.loads(capsys.readouterr().out)["launch"]
    needed = re.search(r"expected to need ([\d,]+) minutes and is ended after 4", " ".join(launch["notes"]))
    assert needed and launch["expected"] > 0
    return launch["notes"][0].partition(".")[0], float(needed[1].replace(",", ""))


@pytest.mark.usefixtures("signed_in")
def test_a_run_is_priced_for_the_photos_that_its_execution_has_listed(
    client: ClientFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    few, many = (make_function(client, f"list-{n}", f"return {{'Photos': {n}}}") for n in (1234, 5678))
    ingested(client, lambda_step("Fingerprint", few, Photos="Integer"))
    assert (first := asked(capsys))[0] == "Expected for 1,234 photos"
    ingested(client, lambda_step("Fingerprint", many, Photos="Integer"))
    assert (second := asked(capsys))[0] == "Expected for 5,678 photos"
    assert 0 < first[1] < second[1]
    ingested(client, lambda_step("Fingerprint", many, Photos="Integer"), LimitPerClass="300")
    assert asked(capsys)[0] == "Expected for 1,500 photos", "no more are taken than its limit"


@pytest.mark.usefixtures("signed_in")
def test_what_an_execution_has_not_listed_is_said_to_be_an_assumption(
    client: ClientFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    ingested(client)
    said, minutes = asked(capsys)
    assert said.endswith("photos, which is an assumption (how many are there is not known)")
    none = make_function(client, "list-none", "return {'Photos': 0}")
    ingested(client, lambda_step("Fingerprint", none, Photos="Integer"))
    assert asked(capsys) == (said, minutes)
