"""The look at the addresses of a start, where S3 answers with less than there is."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from binventory.core.aws import Aws
from binventory.core.errors import Problem
from binventory.executions.addresses import look_at

DEFINITION: dict[str, Any] = {
    "Parameters": [{"Name": "PhotosUri", "Type": "String", "DefaultValue": "s3://bins/"}],
    "Steps": [{"Name": "Ingest", "Type": "Processing", "Arguments": {}}],
}


def passed_over(token: str) -> dict[str, Any]:
    """What S3 answers where the first objects of a versioned bucket are deleted."""
    return {"IsTruncated": True, "KeyCount": 0, "NextContinuationToken": token}


def looked(*pages: dict[str, Any]) -> tuple[str, ...]:
    """The sentences about the photos at `s3://bins/`, where S3 lists these pages."""
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    with Stubber(aws.client("s3")) as s3:
        for number, page in enumerate(pages):
            asked = {"Bucket": "bins", "Prefix": "bin-images/", "MaxKeys": 2}
            s3.add_response("list_objects_v2", page, asked | ({"ContinuationToken": ANY} if number else {}))
        said = look_at(aws, DEFINITION, {})
        s3.assert_no_pending_responses()
    return said


def test_photos_behind_deleted_ones_are_found() -> None:
    photo = {"Contents": [{"Key": "bin-images/00500.jpg"}], "IsTruncated": True, "NextContinuationToken": "rest"}
    assert looked(passed_over("a"), passed_over("b"), photo) == ()


def test_the_key_of_the_folder_is_no_photo() -> None:
    """A console makes it, and S3 lists it first."""
    folder, photo = {"Key": "bin-images/"}, {"Key": "bin-images/00500.jpg"}
    assert looked({"Contents": [folder, photo], "IsTruncated": False}) == ()
    with pytest.raises(Problem, match="it lists no photo"):
        looked({"Contents": [folder], "IsTruncated": False})


def test_where_all_photos_are_deleted_there_is_none() -> None:
    with pytest.raises(Problem, match="it lists no photo"):
        looked(passed_over("a"), {"IsTruncated": False, "KeyCount": 0})
