"""The order of listings: what was made within one millisecond has one too, and each operation has its usual order."""

from __future__ import annotations

from typing import Any

import pytest

from local_aws.core.listing import BY_NAME, NEWEST_FIRST, OLDEST_FIRST, Order, list_page
from tests.contract.conftest import ClientFactory
from tests.contract.jobs import BUCKET, IMAGE, training_request
from tests.contract.pipelines import create, execute, finished_execution
from tests.contract.tunings import tuning_request


@pytest.fixture(scope="module", autouse=True)
def bucket(client: ClientFactory) -> None:
    client("s3").create_bucket(Bucket=BUCKET)


def condition(name: str) -> dict[str, Any]:
    always = {"Type": "Equals", "LeftValue": 1, "RightValue": 1}
    return {"Name": name, "Type": "Condition", "Arguments": {"Conditions": [always], "IfSteps": [], "ElseSteps": []}}


def test_steps_that_start_together_are_listed_as_they_are_defined(client: ClientFactory) -> None:
    names = [f"Step{number:02}" for number in range(20)]
    create(client, "together", *map(condition, names))
    arn = execute(client, "together")
    assert finished_execution(client, arn)["PipelineExecutionStatus"] == "Succeeded"
    for order, expected in (("Ascending", names), ("Descending", names[::-1])):
        pages = client("sagemaker").get_paginator("list_pipeline_execution_steps")
        listed = pages.paginate(PipelineExecutionArn=arn, SortOrder=order, PaginationConfig={"PageSize": 7})
        assert [step["StepName"] for page in listed for step in page["PipelineExecutionSteps"]] == expected


@pytest.mark.parametrize(
    ("usual", "request_", "expected"),
    [
        (OLDEST_FIRST, {}, ["b", "a", "c"]),
        (NEWEST_FIRST, {}, ["c", "a", "b"]),
        (BY_NAME, {}, ["a", "b", "c"]),
        (BY_NAME, {"SortBy": "CreationTime"}, ["b", "a", "c"]),
        (OLDEST_FIRST, {"SortOrder": "Descending"}, ["c", "a", "b"]),
        (NEWEST_FIRST, {"SortBy": "Status"}, ["c", "a", "b"]),
    ],
)
def test_of_one_millisecond_the_later_one_is_the_newer(
    usual: Order, request_: dict[str, str], expected: list[str]
) -> None:
    stored = [{"Name": name, "Status": "Completed", "CreationTime": 1.0} for name in ("b", "a", "c")]
    page = list_page(stored, request_, name="Name", status="Status", usual=usual)
    assert [document["Name"] for document in page.documents] == expected


def test_training_jobs_are_listed_oldest_first_and_tuning_jobs_by_their_names(client: ClientFactory) -> None:
    """As the API reference says of requests that name no order; transform jobs are listed newest first."""
    sagemaker = client("sagemaker")
    for end in ("b", "a"):
        sagemaker.create_training_job(**training_request(client, f"job-{end}", "pass"))
        sagemaker.create_hyper_parameter_tuning_job(**tuning_request(client, f"search-{end}"))
    jobs = sagemaker.list_training_jobs(NameContains="job-")["TrainingJobSummaries"]
    assert [job["TrainingJobName"] for job in jobs] == ["job-b", "job-a"]
    searches = sagemaker.list_hyper_parameter_tuning_jobs(NameContains="search-")["HyperParameterTuningJobSummaries"]
    assert [job["HyperParameterTuningJobName"] for job in searches] == ["search-a", "search-b"]


def test_versions_are_listed_oldest_first(client: ClientFactory) -> None:
    sagemaker = client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="versions")
    made = [
        sagemaker.create_model_package(
            ModelPackageGroupName="versions",
            InferenceSpecification={
                "Containers": [{"Image": IMAGE}],
                "SupportedContentTypes": ["image/jpeg"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
        )["ModelPackageArn"]
        for _ in range(8)
    ]
    for order, expected in (({}, made), ({"SortOrder": "Descending"}, made[::-1])):
        listed = sagemaker.list_model_packages(ModelPackageGroupName="versions", **order)["ModelPackageSummaryList"]
        assert [package["ModelPackageArn"] for package in listed] == expected
