"""Today's photos through the command line: changes are read, the rest is reused, and the output names the source."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from binventory.cli import run
from binventory.core.errors import Exit
from binventory.core.known_photos import KnownPhotos
from binventory.cost.workload import expected_for
from stacks.shared.assets import lambda_files
from tests.contract.conftest import ClientFactory
from tests.contract.environment import PIPELINE, define, processing
from tests.contract.functions import lambda_step, make_function, returned
from tests.contract.jobs import ROLE, log_lines
from tests.contract.pipelines import finished_execution, get, steps_of

pytestmark = pytest.mark.usefixtures("signed_in")

DATA = "data"
BINS = "bins"


@pytest.fixture(scope="module")
def function(client: ClientFactory) -> str:
    """The function of step Fingerprint as it is deployed."""
    for bucket in (DATA, BINS):
        client("s3").create_bucket(Bucket=bucket)
    _, _, role = ROLE.rpartition("/")
    reads = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BINS}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [reads]})
    client("iam").put_role_policy(RoleName=role, PolicyName="reads", PolicyDocument=policy)
    files = {name: path.read_text() for name, path in lambda_files().items()}
    return make_function(
        client, "binventory-dev-fingerprint", "import fingerprint; return fingerprint.handler(event, context)",
        files=files, Environment={"Variables": {"LISTINGS": f"s3://{DATA}/executions/listings", "SEALS": f"s3://{DATA}/executions/seals"}},
    )  # fmt: skip


@pytest.fixture
def site(client: ClientFactory, function: str) -> str:
    """Address of three photos of a site that no other test has; the pipeline's default."""
    prefix = f"site-{uuid.uuid4().hex[:8]}"
    for number in range(3):
        put(client, f"{prefix}/bin-images/{number}.jpg", f"photo {number} of {prefix}")
        put(client, f"{prefix}/metadata/{number}.json", "{}")
    addresses = {"PhotosUri": f"s3://{BINS}/{prefix}/", "LabelsUri": "none", "Weights": "torchvision"}
    look = lambda_step(
        "Fingerprint", function, {name: get(f"Parameters.{name}") for name in addresses},
        Listing="String", Weights="String", Photos="Integer", Metadata="Integer",
    )  # fmt: skip
    ingest = processing("Ingest", 'echo "reads $1"')
    ingest["Arguments"]["AppSpecification"]["ContainerEntrypoint"].append("ingest")
    ingest["Arguments"]["AppSpecification"]["ContainerArguments"] = [returned("Fingerprint", "Listing")]
    ingest["Arguments"]["Environment"] = {"BINVENTORY_FRESH": get("Parameters.Fresh")}
    ingest["CacheConfig"] = {"Enabled": True, "ExpireAfter": "P29D"}
    parameters = {**addresses, "Fresh": "none", "Word": "one"}
    define(
        client, look, ingest, processing("Embed", "true") | {"DependsOn": ["Ingest"]},
        parameters=[{"Name": name, "Type": "String", "DefaultValue": value} for name, value in parameters.items()],
    )  # fmt: skip
    return addresses["PhotosUri"]


def put(client: ClientFactory, key: str, body: str) -> None:
    client("s3").put_object(Bucket=BINS, Key=key, Body=body.encode())


def add_photo(client: ClientFactory, site: str, name: str) -> None:
    put(client, f"{site.removeprefix(f's3://{BINS}/')}bin-images/{name}.jpg", f"photo {name}")


@pytest.fixture
def train(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """Trains; returns the execution and the output."""

    def trained(*arguments: str) -> tuple[str, str]:
        assert run(["train", "--yes", *arguments]) == Exit.OK, capsys.readouterr().err
        said = capsys.readouterr().out
        (arn,) = re.findall(r"^Started (\S+)$", said, re.MULTILINE)
        return arn, said

    return trained


Train = Callable[..., tuple[str, str]]


def source(client: ClientFactory, arn: str, step: str = "Ingest") -> str | None:
    """The execution that a step was taken from."""
    found: str | None = steps_of(client, arn)[step].get("CacheHitResult", {}).get("SourcePipelineExecutionArn")
    return found


def date_of(client: ClientFactory, arn: str) -> str:
    moment = client("sagemaker").describe_pipeline_execution(PipelineExecutionArn=arn)["CreationTime"]
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def test_an_unchanged_bucket_is_reused_and_everything_says_so(
    client: ClientFactory, site: str, train: Train, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first, said = train()
    assert "Fingerprint done after" in said and ": 3 photos, 3 metadata files" in said
    assert "reused" not in said
    again, said = train()
    assert source(client, again) == first
    words = f"reused from the execution {first.rsplit('/', 1)[-1]} of {date_of(client, first)}"
    assert f"Ingest {words}" in said
    (line,) = [line for line in said.splitlines() if re.search(r" s  Ingest (?!\.)", line)]
    assert line.count(" s ") == 1, "the clock, and no time that it took"
    assert "Photos and labels are those of the execution" in said
    assert "Expected for 3 photos" in said, "as many as there are"
    assert "Embed done after" in said
    # watch, report and spent say the same of it.
    assert run(["watch", again]) == Exit.OK
    assert f"Ingest {words}" in capsys.readouterr().out
    assert run(["watch", again, "--json"]) == Exit.OK
    watched = json.loads(capsys.readouterr().out)
    assert watched["reused"] == {"Ingest": first}
    assert [step["step"] for step in watched["spent"]["steps"]] == ["Embed"], "nothing is paid twice"
    assert run(["spent", again]) == Exit.OK
    shown = capsys.readouterr().out
    assert f"Ingest was {words}, which has paid for it." in " ".join(shown.split())
    page = tmp_path / "run.html"
    assert run(["report", again, "-o", str(page), "--markdown"]) == Exit.OK
    assert f"- Ingest {words}" in capsys.readouterr().out
    html = page.read_text()
    took = '<td class="status Succeeded">Succeeded</td><td class="number"></td>'
    assert f"<td>Ingest</td>{took}<td>{words}</td>" in html
    assert f"Ingest: {words}" in html


@pytest.mark.parametrize("starter", ["the command line", "anything else"])
def test_more_photos_at_the_same_address_are_read_by_every_start(
    client: ClientFactory, site: str, train: Train, starter: str
) -> None:
    """A schedule, the console and the retraining function start the pipeline without a parameter."""

    def started() -> tuple[str, str]:
        if starter == "the command line":
            return train()
        arn: str = client("sagemaker").start_pipeline_execution(PipelineName=PIPELINE)["PipelineExecutionArn"]
        assert finished_execution(client, arn)["PipelineExecutionStatus"] == "Succeeded"
        return arn, ""

    def read(arn: str) -> list[str]:
        job = steps_of(client, arn)["Ingest"]["Metadata"]["ProcessingJob"]["Arn"].rsplit("/", 1)[-1]
        return log_lines(client, "/aws/sagemaker/ProcessingJobs", job)

    first, _ = started()
    add_photo(client, site, "new")
    second, said = started()
    assert source(client, second) is None
    assert read(first) != read(second)
    if said:
        assert "Photos, metadata or labels have changed since the execution" in said
        assert "4 photos, then 3" in said
    assert source(client, started()[0]) == second


def test_fresh_runs_everything_again(client: ClientFactory, site: str, train: Train) -> None:
    first, _ = train()
    for _ in range(2):
        again, said = train("--fresh")
        assert source(client, again) is None
        assert "Fresh: nothing is taken from an earlier execution." in said
    assert source(client, train()[0]) == first


def test_like_takes_the_parameters_of_an_earlier_execution(client: ClientFactory, site: str, train: Train) -> None:
    def parameters(arn: str) -> dict[str, str]:
        listed = client("sagemaker").list_pipeline_parameters_for_execution(PipelineExecutionArn=arn)
        return {item["Name"]: item["Value"] for item in listed["PipelineParameters"]}

    first, _ = train("--set", "Word=two", "--set", "Weights=none", "--fresh")
    second, _ = train("--like", "newest", "--set", "Weights=torchvision")
    assert parameters(second) == {"Word": "two", "Weights": "torchvision"}, "fresh is not inherited"
    third, _ = train("--like", first.rsplit("/", 1)[-1])
    assert parameters(third) == {"Word": "two", "Weights": "none"}


def test_like_an_execution_that_does_not_exist_is_refused(site: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--yes", "--like", "nothing"]) == Exit.USAGE
    assert "There is no execution nothing" in capsys.readouterr().err


def test_an_address_that_cannot_be_read_ends_the_execution_before_a_job(
    client: ClientFactory, site: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line refuses it before that; a schedule, the console and the SDK start it all the same."""
    address = "s3://nobody-has-this/"
    assert run(["train", "--yes", "--photos", address]) == Exit.USAGE
    assert "there is no bucket nobody-has-this" in capsys.readouterr().err
    client("sagemaker").start_pipeline_execution(
        PipelineName=PIPELINE, PipelineParameters=[{"Name": "PhotosUri", "Value": address}]
    )
    assert run(["watch"]) == Exit.FAILED
    captured = capsys.readouterr()
    assert "Step Fingerprint failed" in captured.err
    assert "there is no bucket nobody-has-this" in captured.err
    assert "its log is /aws/lambda/binventory-dev-fingerprint" in captured.err
    newest = client("sagemaker").list_pipeline_executions(PipelineName=PIPELINE)["PipelineExecutionSummaries"][0]
    assert list(steps_of(client, newest["PipelineExecutionArn"])) == ["Fingerprint"]


def test_photos_that_are_gone_are_refused_before_anything_starts(
    client: ClientFactory, site: str, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    def started() -> int:
        return len(client("sagemaker").list_pipeline_executions(PipelineName=PIPELINE)["PipelineExecutionSummaries"])

    train()
    for number in range(3):
        key = f"{site.removeprefix(f's3://{BINS}/')}bin-images/{number}.jpg"
        client("s3").delete_object(Bucket=BINS, Key=key)
    before = started()
    assert run(["train", "--yes"]) == Exit.USAGE
    assert "lists no photo" in capsys.readouterr().err
    assert started() == before


@pytest.mark.usefixtures("site")
def test_other_addresses_are_not_compared(client: ClientFactory, train: Train) -> None:
    train()
    put(client, "elsewhere/bin-images/1.jpg", "photo")
    _, said = train("--photos", f"s3://{BINS}/elsewhere/")
    assert "have changed since" not in said and "are those of" not in said


def test_a_first_start_is_priced_for_the_photos_that_are_there(
    client: ClientFactory, site: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has listed them before; another address than the last one is no different."""

    def expected(*flags: str) -> str:
        assert run(["train", "--dry-run", *flags]) == Exit.OK
        said = " ".join(capsys.readouterr().out.split())
        return said.partition("Expected for ")[2].partition("; at worst")[0]

    assert expected() == "3 photos"
    put(client, "one/bin-images/1.jpg", "photo")
    assert expected("--photos", f"s3://{BINS}/one/") == "1 photo"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: put(client, f"many/bin-images/{number}.jpg", "photo"), range(1001)))
    assert expected("--photos", f"s3://{BINS}/many/") == "1,001 photos"
    monkeypatch.setattr("binventory.executions.addresses._PAGES", 1)
    assert expected("--photos", f"s3://{BINS}/many/") == (
        "535,234 photos, which is an assumption (more than 1,000 are there)"
    )


@pytest.mark.parametrize(
    ("limit", "known", "photos", "said"),
    [
        (0, KnownPhotos(), 535_234, "535,234 photos, which is an assumption (how many are there is not known)"),
        (
            0,
            KnownPhotos(least=600_000),
            600_000,
            "600,000 photos, which is an assumption (more than 600,000 are there)",
        ),
        (20, KnownPhotos(), 100, "100 photos, the most that LimitPerClass 20 takes (how many are there is not known)"),
        (20, KnownPhotos(least=50), 100, "100 photos, the most that LimitPerClass 20 takes (more than 50 are there)"),
        (20, KnownPhotos(7), 7, "7 photos"),
        (20, KnownPhotos(700), 100, "100 photos"),
        (0, KnownPhotos(700), 700, "700 photos"),
    ],
)
def test_a_price_says_where_the_number_of_photos_is_assumed(
    limit: int, known: KnownPhotos, photos: int, said: str
) -> None:
    workload, expected = expected_for({"LimitPerClass": limit}, known, 224)
    assert (workload.photos, expected) == (photos, f"Expected for {said}")


@pytest.mark.usefixtures("site")
def test_a_listing_that_takes_long_is_left_to_the_execution(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    train()
    monkeypatch.setattr("binventory.executions.changes.CHEAP_SECONDS", -1.0)
    _, said = train()
    assert "Step Fingerprint finds out whether the photos have changed; it took" in " ".join(said.split())


@pytest.mark.parametrize(
    ("limit", "cure"),
    [
        (2000, "train on more photos of each count than 2000: --set LimitPerClass=..."),
        (0, "put more photos at s3://bins/site/: the next execution reads them"),
    ],
)
def test_a_refusal_says_how_to_train_on_more_photos(
    client: ClientFactory, limit: int, cure: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse = {"Name": "Refuse", "Type": "Fail", "Arguments": {"ErrorMessage": "accuracy 0.21 is below 0.30"}}
    parameters: list[dict[str, Any]] = [
        {"Name": "LimitPerClass", "Type": "Integer", "DefaultValue": 5},
        {"Name": "PhotosUri", "Type": "String", "DefaultValue": "s3://bins/site/"},
    ]
    define(client, refuse, parameters=parameters)
    assert run(["train", "--yes", "--set", f"LimitPerClass={limit}"]) == Exit.FAILED
    assert cure in capsys.readouterr().err
