"""The stacks as they are deployed, with each role's own rights: what lies at the addresses now is what is trained on.

Every execution is stopped when its features are there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save

from binventory.core.aws import connect
from binventory.rehearsal import ending, source
from local_aws.server import LocalAws
from modelling.backbones import build_backbone
from tests.contract.jobs import until
from tests.rehearsal.deployed import NAME, Deployed
from tests.rehearsal.kept import binventory

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(1800)]
BUCKET = source.PUBLIC_BUCKET
PHOTOS = 90
# The defaults name everything, so that an execution needs no parameter: that is how a schedule and the alarm start one.
SETTINGS = {
    "BINVENTORY_DATA__LABELS_URI": f"s3://{BUCKET}/labels.csv",
    "BINVENTORY_DATA__LIMIT_PER_CLASS": "0",
    "BINVENTORY_DATA__BLOCK_SIZE": "5",
    "BINVENTORY_TRAINING__BACKBONE": "small",
    "BINVENTORY_TRAINING__WEIGHTS": f"s3://{BUCKET}/weights/small.safetensors",
    "BINVENTORY_TRAINING__VIEWS": "0",
    "BINVENTORY_MONITORING__RETRAIN": "true",
    "BINVENTORY_MONITORING__RETRAIN_DAYS": "0",
}


@dataclass
class Site:
    """The deployed stacks and the bucket that they read."""

    deployed: Deployed
    photos: Path
    alarms: int = 0

    def put(self, key: str, body: bytes) -> None:
        self.deployed.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)

    def upload(self, ids: list[str]) -> None:
        """Puts photos with their records into the bucket, and a labels file with their ids."""
        for name in ids:
            for key in (f"bin-images/{name}.jpg", f"metadata/{name}.json"):
                if (path := self.photos / key).is_file():
                    self.put(key, path.read_bytes())
        self.label(ids)

    def label(self, ids: list[str]) -> None:
        self.put("labels.csv", "\n".join(["image_id", *ids, ""]).encode())

    def weigh(self, seed: int) -> None:
        self.put("weights/small.safetensors", save(build_backbone("small", seed).network.state_dict()))

    def ids(self) -> list[str]:
        return sorted(path.stem for path in (self.photos / "bin-images").glob("*.jpg"))

    def command(self, *arguments: str) -> str:
        """Starts the pipeline by the command line, as the scheduled workflow does."""
        environment = {**self.deployed.aws.environment(), "BINVENTORY_ENV": "dev"}
        said = binventory(Path.cwd(), "train", "--yes", "--detach", "--json", *arguments, environment=environment)
        return str(json.loads(said)["execution"])

    def alarm(self, *_: str) -> str:
        """Has the retraining function start the pipeline, as the drift alarm does."""
        self.alarms += 1
        alarm = {"NewStateValue": "ALARM", "AlarmName": f"{NAME}-drift", "StateChangeTime": str(self.alarms)}
        event = {"Records": [{"Sns": {"Message": json.dumps(alarm)}}]}
        reply = self.deployed.client("lambda").invoke(
            FunctionName=f"{NAME}-retraining", Payload=json.dumps(event).encode()
        )
        said = json.loads(reply["Payload"].read())
        assert said["outcome"] == "started", said
        return str(said["reason"])

    def embedded(self, arn: str) -> dict[str, dict[str, Any]]:
        """Waits for the features of an execution, stops it, and gives its steps."""
        sagemaker = self.deployed.client("sagemaker")

        def steps() -> dict[str, dict[str, Any]]:
            listed = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"]
            return {step["StepName"]: step for step in listed}

        def status() -> str:
            found = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"]
            return "" if found in {"Executing", "Stopping"} else str(found)

        until(lambda: steps().get("Embed", {}).get("StepStatus") == "Succeeded" or status(), seconds=300)
        assert not status(), steps()
        sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn)
        until(status, seconds=120)
        return steps()

    def trained_on(self, steps: dict[str, dict[str, Any]]) -> set[str]:
        """The ids in the manifest of an execution's shards."""
        sagemaker, s3 = self.deployed.client("sagemaker"), self.deployed.client("s3")
        job = steps["Ingest"]["Metadata"]["ProcessingJob"]["Arn"].rsplit("/", 1)[-1]
        outputs = sagemaker.describe_processing_job(ProcessingJobName=job)["ProcessingOutputConfig"]["Outputs"]
        (report,) = (item["S3Output"]["S3Uri"] for item in outputs if item["OutputName"] == "report")
        bucket, _, prefix = report.removeprefix("s3://").partition("/")
        found = set()
        for item in s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/manifest")["Contents"]:
            rows = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read().decode().splitlines()
            found |= {json.loads(row)["id"] for row in rows}
        return found


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Everything deployed, and two thirds of the photos in the bucket."""
    with LocalAws(tmp_path_factory.mktemp("local-aws"), enforce_iam=True) as aws:
        deployed = Deployed(aws, repository, SETTINGS)
        deployed.client("s3").create_bucket(Bucket=BUCKET)
        made = Site(deployed, source.render(tmp_path_factory.mktemp("photos"), PHOTOS))
        made.upload(made.ids()[: PHOTOS * 2 // 3])
        made.weigh(seed=1)
        deployed.cdk("bootstrap")
        deployed.cdk("deploy", "--all", "--require-approval", "never")
        yield made
        ending.empty(connect(aws.environment()), BUCKET)
        deployed.cdk("destroy", "--all", "--force")


def reused(steps: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The executions that steps were taken from."""
    return {
        name: step["CacheHitResult"]["SourcePipelineExecutionArn"]
        for name, step in steps.items()
        if "CacheHitResult" in step
    }


def test_what_lies_at_the_addresses_now_is_what_is_trained_on(site: Site) -> None:
    first = site.command()
    steps = site.embedded(first)
    assert reused(steps) == {}
    ids = site.trained_on(steps)
    assert 40 < len(ids) <= PHOTOS * 2 // 3

    starters: tuple[Callable[..., str], ...] = (site.command, site.alarm)
    for start in starters:
        steps = site.embedded(start())
        assert reused(steps) == {"Ingest": first, "Embed": first}, start

    # A third more photos at the same address; the alarm starts the pipeline.
    site.upload(site.ids())
    second = site.alarm()
    steps = site.embedded(second)
    assert reused(steps) == {}
    assert site.trained_on(steps) > ids

    # A labels file that leaves them out again, overwritten at its address.
    site.label(site.ids()[: PHOTOS * 2 // 3])
    third = site.command()
    steps = site.embedded(third)
    assert reused(steps) == {}
    assert site.trained_on(steps) == ids

    # Other weights need other features and no other shards.
    site.weigh(seed=2)
    fourth = site.command()
    assert reused(site.embedded(fourth)) == {"Ingest": third}

    assert reused(site.embedded(site.command("--fresh"))) == {}
    assert reused(site.embedded(site.alarm())) == {"Ingest": third, "Embed": fourth}
