"""Each serving mode with the deployed stacks, promotion and image, and only the permissions of the roles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_aws.server import LocalAws
from tests import grey_model
from tests.contract.jobs import until
from tests.rehearsal.deployed import NAME, Deployed
from tests.rehearsal.kept import binventory

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]
MODES = {
    "serverless": {"MODE": "serverless", "DATA_CAPTURE_PERCENT": "0"},
    "async": {"MODE": "async", "DATA_CAPTURE_PERCENT": "0", "MIN_INSTANCES": "0"},
}
PHOTOS = {"dark.jpg": (0, 1), "grey.jpg": (128, 3), "bright.png": (255, 5)}
"""Name, grey level, and the count by which the model answers."""


@pytest.fixture(scope="module", params=MODES)
def deployed(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    """The stacks in one mode, in a local AWS that enforces IAM and whose five minutes take fifteen seconds."""
    settings = {f"BINVENTORY_SERVING__{name}": value for name, value in MODES[request.param].items()}
    settings["BINVENTORY_DATA__PHOTOS_URI"] = "s3://warehouse/bins/"
    with LocalAws(tmp_path_factory.mktemp(request.param), time_scale=0.05, enforce_iam=True) as aws:
        found = Deployed(aws, repository, settings)
        found.client("s3").create_bucket(Bucket="warehouse")
        found.cdk("bootstrap", f"aws://{aws.account}/{aws.region}")
        found.cdk("deploy", "--all", "--require-approval", "never")
        yield found
        found.cdk("destroy", "--all", "--force")
        assert found.endpoint() == "absent"


def approve(deployed: Deployed, folder: Path, name: str, *, broken: bool = False) -> str:
    """Registers a package of the real image with the grey model, as the pipeline would, and approves it."""
    client = deployed.client
    outputs = client("cloudformation").describe_stacks(StackName=f"{NAME}-storage")["Stacks"][0]["Outputs"]
    bucket = next(item["OutputValue"] for item in outputs if item["OutputKey"] == "ModelBucketName")
    archive = grey_model.pack(grey_model.write(folder / name), folder / f"{name}.tar.gz")
    key = f"executions/{name}/serving/model.tar.gz"
    client("s3").put_object(Bucket=bucket, Key=key, Body=b"no archive" if broken else archive.read_bytes())
    definition = json.loads(client("sagemaker").describe_pipeline(PipelineName=NAME)["PipelineDefinition"])
    (gate,) = (step for step in definition["Steps"] if step["Name"] == "Gate")
    specification = gate["Arguments"]["IfSteps"][0]["Arguments"]["InferenceSpecification"]
    specification["Containers"][0]["ModelDataUrl"] = f"s3://{bucket}/{key}"
    package: str = client("sagemaker").create_model_package(
        ModelPackageGroupName=NAME,
        ModelApprovalStatus="PendingManualApproval",
        InferenceSpecification=specification,
    )["ModelPackageArn"]
    client("sagemaker").update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")
    return package


def refuse_a_broken_model_without_machines(deployed: Deployed, folder: Path, good: str) -> None:
    """A model that cannot be loaded is rolled back also where autoscaling has removed every machine."""
    sagemaker = deployed.client("sagemaker")

    def instances() -> int:
        (variant,) = sagemaker.describe_endpoint(EndpointName=NAME)["ProductionVariants"]
        return int(variant["CurrentInstanceCount"])

    until(lambda: instances() == 0, seconds=120)
    package = approve(deployed, folder, "broken", broken=True)
    until(
        lambda: sagemaker.describe_model_package(ModelPackageName=package)["ModelApprovalStatus"] == "Rejected",
        seconds=180,
    )
    until(lambda: deployed.stack()[1]["ModelPackageArn"] == good, seconds=60)
    deployed.wait("InService", 180)


def test_a_model_is_promoted_asked_and_replaced(deployed: Deployed, repository: Path, tmp_path: Path) -> None:
    files = []
    for name, (level, _) in PHOTOS.items():
        files.append(tmp_path / name)
        files[-1].write_bytes(grey_model.photo(level, "PNG" if name.endswith("png") else "JPEG"))
        deployed.client("s3").put_object(Bucket="warehouse", Key=f"bins/{name}", Body=files[-1].read_bytes())
    environment = deployed.aws.environment()

    def counted() -> dict[str, int]:
        said = json.loads(binventory(repository, "count", *map(str, files), "--json", environment=environment))
        return {Path(name).name: answer["count"] for name, answer in said.items()}

    expected = {name: count for name, (_, count) in PHOTOS.items()}
    for name in ("first", "second"):
        package = approve(deployed, tmp_path, name)
        until(lambda: deployed.stack()[1]["ModelPackageArn"] == package, seconds=60)  # noqa: B023 - called at once
        deployed.wait("InService", 180)
        assert deployed.stack()[1]["ModelPackageArn"] == package
        assert counted() == expected
    if deployed.settings["BINVENTORY_SERVING__MODE"] == "async":
        refuse_a_broken_model_without_machines(deployed, tmp_path, package)
        assert counted() == expected
    outputs = deployed.client("cloudformation").describe_stacks(StackName=f"{NAME}-serving")["Stacks"][0]["Outputs"]
    mode = {item["OutputKey"]: item["OutputValue"] for item in outputs}["ServingMode"]
    assert mode == deployed.settings["BINVENTORY_SERVING__MODE"]

    batch = binventory(repository, "count", "s3://warehouse/bins/", "--yes", "--json", environment=environment)
    shown = batch[batch.index("[\n") :]
    assert {Path(row["photo"]).name: row["count"] for row in json.loads(shown)} == expected
    binventory(repository, "endpoint", "off", environment=environment)
    assert deployed.endpoint() == "absent"
