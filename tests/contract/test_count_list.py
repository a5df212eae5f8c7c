"""From a model in the registry to a list of bins to count: audit, events, queue, and the example that reads them."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from binventory.audit import job
from binventory.audit.plan import Plan
from binventory.cli import run
from binventory.core.aws import connect
from binventory.core.errors import Exit, Problem
from local_aws.server import LocalAws
from tests.audited import write_bin, write_evaluation, write_folder, write_predictions
from tests.conftest import NAMES
from tests.contract.batch_site import photo_that_says
from tests.contract.conftest import ClientFactory
from tests.contract.serving import ROLE, push_image, put_artefact, start_endpoint
from tests.contract.test_audit import upload

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((REPOSITORY / "docs" / "disagreement.schema.json").read_text())
PATTERN = {"source": ["binventory.audit"], "detail-type": ["Recorded Quantity Disagreement"]}
FORMULA = "=HYPERLINK(1)"


def schema_validator() -> Any:
    """Of the documented schema. Its import takes a second, for every process that collects this file."""
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

    return Draft202012Validator(SCHEMA)


@pytest.fixture(scope="module")
def packages(client: ClientFactory, local_aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Model packages behind endpoints of the same name, each with an evaluation that Evaluate's own code wrote."""
    sagemaker, s3 = client("sagemaker"), client("s3")
    image = push_image(local_aws, client)
    s3.create_bucket(Bucket="evaluations")
    folder = tmp_path_factory.mktemp("evaluations")
    found = {}
    for name, skill in (("good", 3.0), ("useless", 0.0)):
        document = write_evaluation(folder / name, skill).read_bytes()
        s3.put_object(Bucket="evaluations", Key=f"{name}/evaluation.json", Body=document)
        statistics = {"ContentType": "application/json", "S3Uri": f"s3://evaluations/{name}/evaluation.json"}
        container = {"Image": image, "ModelDataUrl": put_artefact(client, name, counts=[1, 2, 3, 4, 5])}
        sagemaker.create_model_package_group(ModelPackageGroupName=name)
        found[name] = sagemaker.create_model_package(
            ModelPackageGroupName=name,
            ModelApprovalStatus="Approved",
            ModelMetrics={"ModelQuality": {"Statistics": statistics}},
            InferenceSpecification={
                "Containers": [container],
                "SupportedContentTypes": ["image/jpeg"],
                "SupportedResponseMIMETypes": ["application/json"],
                "SupportedRealtimeInferenceInstanceTypes": ["ml.m5.large"],
            },
        )["ModelPackageArn"]
        sagemaker.create_model(ModelName=name, Containers=[{"ModelPackageName": found[name]}], ExecutionRoleArn=ROLE)
        variant = {"VariantName": "a", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        start_endpoint(client, name, name)
    return found


def queue(client: ClientFactory, name: str) -> str:
    """A queue that a rule on the default bus fills with the events of audits; returns its URL."""
    sqs, events = client("sqs"), client("events")
    url: str = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name=name, EventPattern=json.dumps(PATTERN))
    events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])
    return url


def details(client: ClientFactory, url: str) -> list[dict[str, Any]]:
    found = []
    while messages := client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            found.append(json.loads(message["Body"])["detail"])
            client("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def test_an_audit_becomes_a_list_of_bins_to_count(
    client: ClientFactory,
    local_aws: LocalAws,
    packages: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in local_aws.environment().items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "bins"
    for number in range(15):
        recorded = number % 5 + 1
        write_bin(folder, f"{number * 10:05d}", recorded, photo=photo_that_says(1 if number == 13 else recorded))
    many = {f"B{number:02d}": {"name": FORMULA, "quantity": 0 if number else 2} for number in range(25)}
    record = json.dumps({"BIN_FCSKU_DATA": many, "EXPECTED_QUANTITY": 2}).encode()
    write_bin(folder, "many", 2, photo=photo_that_says(5), record=record)
    upload(client, folder, "shelves", "hall/")
    seen, counts = queue(client, "seen"), queue(client, "counts")

    def audit(endpoint: str) -> dict[str, Any]:
        capsys.readouterr()
        output = str(tmp_path / f"out-{endpoint}")
        arguments = ["audit", "s3://shelves/hall/", "--endpoint", endpoint, "--output", output, "--top", "2"]
        assert run([*arguments, "--events", "default", "--format", "csv", "--yes", "--json"]) == Exit.OK
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    def count_list() -> str:
        command = [sys.executable, "examples/count_list.py", counts, str(tmp_path / "counts.csv")]
        done = subprocess.run(command, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    said = audit("good")
    assert said["model"]["package"] == packages["good"] and said["model"]["trust"]["beats_majority"] is True
    assert said["model"]["evaluation"] == "s3://evaluations/good/evaluation.json"
    assert count_list().startswith("2 bins to count, 0 known before, 0 left out")
    with (tmp_path / "counts.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    (wrong,) = [line for line in lines if line["bin"] == "00130"]
    assert (wrong["sku"], wrong["recorded"], wrong["bin_recorded"]) == ("B00130", "4", "4")
    assert float(wrong["bin_expected"]) < 4 and float(wrong["probability_of_record"]) < 0.5
    assert 0 <= float(wrong["probability_wrong"]) <= 1
    assert wrong["photo"] == "s3://shelves/hall/bin-images/00130.jpg" and wrong["model_package"] == packages["good"]
    assert client("s3").head_object(Bucket="shelves", Key="hall/bin-images/00130.jpg")["ContentLength"]
    many_lines = [line for line in lines if line["bin"] == "many"]
    assert {line["name"] for line in many_lines if line["sku"]} == {f"'{FORMULA}"}, "no cell is a formula"
    (rest,) = [line for line in many_lines if not line["sku"]]
    assert rest["name"] == "5 more SKUs of this bin" and len(many_lines) == 21

    assert audit("useless")["model"]["trust"]["beats_majority"] is False
    assert "0 bins to count, 0 known before, 2 left out" in count_list()
    with (tmp_path / "out-good" / "disagreements.csv").open(newline="") as stream:
        assert {row["model_package"] for row in csv.DictReader(stream)} == {packages["good"]}

    received = details(client, seen)
    assert len(received) == 4
    validator = schema_validator()
    for detail in received:
        validator.validate(detail)
        assert set(detail) == set(SCHEMA["properties"]) == set(SCHEMA["required"]), "the schema describes every field"
    assert {(len(detail["skus"]), detail["more_skus"]) for detail in received if detail["image_id"] == "many"} == {
        (20, 5)
    }
    good = next(detail for detail in received if detail["model_beats_majority"])
    body = json.dumps({"detail": good})
    for text in (body, body, json.dumps({"detail": {**good, "schema": 2}}), "no event"):
        client("sqs").send_message(QueueUrl=counts, MessageBody=text)
    command = [sys.executable, "examples/count_list.py", counts, str(tmp_path / "counts.csv")]
    done = subprocess.run(command, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "its schema is 2, known is 1" in done.stderr and "2 not understood" in done.stdout
    assert "0 bins to count, 2 known before" in done.stdout, "an event that is delivered twice is one count"


def test_a_model_that_is_promoted_while_the_audit_asks_a_person_ends_it(
    client: ClientFactory, local_aws: LocalAws, packages: dict[str, str], tmp_path: Path
) -> None:
    """Its answers would stand under the package, and the evaluation, of the model before."""

    def promoted(plan: Plan) -> None:
        client("sagemaker").update_endpoint(EndpointName="promoted", EndpointConfigName="useless")
        client("sagemaker").get_waiter("endpoint_in_service").wait(EndpointName="promoted", WaiterConfig={"Delay": 1})

    start_endpoint(client, "promoted", "good")
    folder = tmp_path / "bins"
    write_bin(folder, "00010", 2, photo=photo_that_says(2))
    request = job.Request(str(folder), tmp_path / "out", endpoint="promoted", names=NAMES, formats=("jsonl",))
    with pytest.raises(Problem, match="another model than before") as caught:
        job.run_audit(request, lambda: connect(local_aws.environment()), job.Progress(planned=promoted))
    assert f"this audit is of {packages['good']}, and {packages['useless']} answers" in caught.value.why


def test_next_weeks_audit_of_the_same_place_is_another_one(
    client: ClientFactory, local_aws: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With last week's name the list took its bins for counted, and the page showed last week's marks as today's."""
    for name, value in local_aws.environment().items():
        monkeypatch.setenv(name, value)
    folder, counts = write_folder(tmp_path / "bins", 12), queue(client, "weekly")
    answers = write_predictions(folder, tmp_path / "p.jsonl", 3)
    out, events = tmp_path / "out", ("--events", "default", "--top", "3", "--format", "html")

    def audit(*flags: str) -> tuple[str, str]:
        """Name of the audit in its page, and what the list says."""
        arguments = ["audit", str(folder), "--predictions", str(answers), "--output", str(out), *events, *flags]
        assert run(arguments) == Exit.OK
        command = [sys.executable, "examples/count_list.py", counts, str(tmp_path / "counts.csv")]
        done = subprocess.run(command, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True, check=True)
        return str(facts_of(out / "audit.html")["audit"]), done.stdout.partition(" left out")[0]

    first, said = audit()
    assert said == "3 bins to count, 0 known before, 0"
    assert audit() == (first, "0 bins to count, 0 known before, 0"), "a run that continues has nothing to send"
    second, said = audit("--restart")
    assert said == "3 bins to count, 0 known before, 0" and second != first
    with (tmp_path / "counts.csv").open(newline="") as stream:
        assert {line["count"].partition("/")[0] for line in csv.DictReader(stream)} == {first, second}


def facts_of(page: Path) -> dict[str, Any]:
    """What the script of an audit's page reads of its audit."""
    found = re.search(r'<script[^>]* id="facts"[^>]*>(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    facts: dict[str, Any] = json.loads(found[1])
    return facts


def test_the_schema_is_one_and_refuses_what_is_none() -> None:
    validator = schema_validator()
    validator.check_schema(SCHEMA)
    assert not validator.is_valid({"schema": 1})
    assert all(item.get("description") for item in SCHEMA["properties"].values())
