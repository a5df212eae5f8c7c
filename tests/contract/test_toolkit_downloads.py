"""How the training toolkit gets a job's script: quickly where obstore can, and as on AWS where it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local_aws.server import LocalAws
from tests.contract.conftest import ClientFactory

BUCKET = "scripts"
LARGE = 8 * 2**20 + 1
CHANGED = """
import json, os, sys
from local_aws.images import toolkit
toolkit._import_boto3_late()
from sagemaker_training import environment, files, trainer
toolkit._know_the_region()
toolkit._download_quickly()
"""
DOWNLOADS = f"""{CHANGED}
found = []
for url in sys.argv[1:]:
    try:
        files.s3_download(url, "downloaded")
        with open("downloaded", "rb") as file:
            result = len(file.read())
    except Exception as error:
        result = str(error)
    found.append([result, "botocore" in sys.modules])
print(json.dumps(found))
"""


@pytest.fixture(scope="module", autouse=True)
def bucket(client: ClientFactory) -> None:
    client("s3").create_bucket(Bucket=BUCKET)


def _run(program: str, folder: Path, *arguments: str, **variables: str) -> Any:
    """What `program` prints as JSON, in a process, because the toolkit is changed for good."""
    base = {"SAGEMAKER_BASE_DIR": str(folder / "base"), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env=base | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def downloads(aws: LocalAws, folder: Path, *keys: str) -> list[list[Any]]:
    """For each object its size or the error, and whether boto3 had to be imported until then."""
    found: list[list[Any]] = _run(DOWNLOADS, folder, *(f"s3://{BUCKET}/{key}" for key in keys), **aws.environment())
    return found


def test_a_script_is_downloaded_without_boto3(client: ClientFactory, local_aws: LocalAws, tmp_path: Path) -> None:
    client("s3").put_object(Bucket=BUCKET, Key="code/the script's.tar.gz", Body=b"script")
    assert downloads(local_aws, tmp_path, "code/the script's.tar.gz") == [[6, False]]


def test_boto3_downloads_what_obstore_cannot(client: ClientFactory, local_aws: LocalAws, tmp_path: Path) -> None:
    """And refuses in its own words what S3 refuses."""
    s3 = client("s3")
    s3.put_object(Bucket=BUCKET, Key="large", Body=bytes(LARGE))
    for key, size in (("folder/", 1), ("folder", 2), ("two//slashes", 3)):
        s3.put_object(Bucket=BUCKET, Key=key, Body=bytes(size))
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
    part = s3.upload_part(Bucket=BUCKET, Key="parts", UploadId=upload, PartNumber=1, Body=b"part")
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    s3.complete_multipart_upload(Bucket=BUCKET, Key="parts", UploadId=upload, MultipartUpload={"Parts": parts})
    found = downloads(local_aws, tmp_path, "folder/", "two//slashes", "folder", "parts", "large", "missing")
    refused = "An error occurred (404) when calling the HeadObject operation: Not Found"
    assert [result for result, _ in found] == [1, 3, 2, 4, LARGE, refused]
    assert downloads(local_aws, tmp_path, "parts") == [[4, True]]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, ["eu-west-1", False]),
        ({"AWS_REGION": "eu-west-1"}, [None, True]),  # which boto3 does not read
        ({}, [None, True]),
    ],
)
def test_the_region_is_the_one_that_boto3_finds(variables: dict[str, str], expected: list[Any], tmp_path: Path) -> None:
    program = (
        f"{CHANGED}\nprint(json.dumps([environment.boto3.session.Session().region_name, 'botocore' in sys.modules]))"
    )
    assert _run(program, tmp_path, AWS_CONFIG_FILE=str(tmp_path / "none"), **variables) == expected


def test_what_a_script_writes_meanwhile_is_uploaded_where_its_job_asks_for_it(
    client: ClientFactory, local_aws: LocalAws, tmp_path: Path
) -> None:
    """The toolkit's own code does it, with boto3; it ends when it finds the file that the toolkit writes last."""
    program = f"""{CHANGED}
from sagemaker_training import intermediate_output
assert trainer.intermediate_output.start_sync("", None) is None
assert "botocore" not in sys.modules
process = trainer.intermediate_output.start_sync(sys.argv[1], "us-east-1")
with open(os.path.join(environment.output_intermediate_dir, "note.txt"), "w") as file:
    file.write("meanwhile")
files.write_success_file()
process.join()
print(json.dumps("botocore" in sys.modules))
"""
    assert _run(program, tmp_path, f"s3://{BUCKET}/kept", TRAINING_JOB_NAME="job", **local_aws.environment()) is True
    kept = client("s3").get_object(Bucket=BUCKET, Key="kept/job/output/intermediate/note.txt")
    assert kept["Body"].read() == b"meanwhile"
