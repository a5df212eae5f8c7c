"""The order of listings: what was made within one millisecond has one too, and each operation has its usual order."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

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


@given(
    stored=st.lists(st.integers(0, 3), max_size=12),
    changes=st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=12),
    size=st.integers(1, 4),
    order=st.sampled_from(["Ascending", "Descending"]),
    sort_by=st.sampled_from(["CreationTime", "Name", "Status"]),
)
def test_what_is_made_or_deleted_between_two_pages_shifts_no_page(
    stored: list[int], changes: list[tuple[bool, int]], size: int, order: str, sort_by: str
) -> None:
    """What was there all the time is listed once."""
    documents = [
        {"Name": f"{number * 7 % 13:02}-{number}", "Status": "AB"[number % 2], "CreationTime": float(moment)}
        for number, moment in enumerate(sorted(stored))
    ]
    staying = {document["Name"] for document in documents}
    listed: list[str] = []
    request: dict[str, Any] = {"MaxResults": size, "SortOrder": order, "SortBy": sort_by}
    for count in range(50):
        page = list_page(documents, request, name="Name", status="Status")
        listed += [document["Name"] for document in page.documents]
        if page.next_token is None:
            break
        request["NextToken"] = page.next_token
        for makes, place in changes[count : count + 1]:
            if makes:
                documents.append({"Name": f"{place:02}-new-{count}", "Status": "A", "CreationTime": 3.0})
            elif documents:
                staying.discard(documents.pop(place % len(documents))["Name"])
    assert page.next_token is None
    assert len(listed) == len(set(listed))
    assert staying <= set(listed)


@pytest.mark.parametrize("sort_by", ["Name", "CreationTime"])
@pytest.mark.parametrize("sort_order", ["Ascending", "Descending"])
def test_a_client_that_deletes_what_it_lists_sees_everything_once(
    client: ClientFactory, sort_by: str, sort_order: str
) -> None:
    sagemaker = client("sagemaker")
    names = {f"group-{number}" for number in range(7)}
    for name in sorted(names):
        sagemaker.create_model_package_group(ModelPackageGroupName=name)
    pages = sagemaker.get_paginator("list_model_package_groups").paginate(
        NameContains="group-", SortBy=sort_by, SortOrder=sort_order, PaginationConfig={"PageSize": 2}
    )
    seen = []
    for page in pages:
        for group in page["ModelPackageGroupSummaryList"]:
            seen.append(group["ModelPackageGroupName"])
            sagemaker.delete_model_package_group(ModelPackageGroupName=group["ModelPackageGroupName"])
    assert sorted(seen) == sorted(names)


def test_the_token_of_another_listing_is_refused(client: ClientFactory) -> None:
    sagemaker = client("sagemaker")
    for name in ("first", "second"):
        sagemaker.create_model_package_group(ModelPackageGroupName=name)
    token = sagemaker.list_model_package_groups(SortBy="Name", MaxResults=1)["NextToken"]
    (rest,) = sagemaker.list_model_package_groups(SortBy="Name", NextToken=token)["ModelPackageGroupSummaryList"]
    assert rest["ModelPackageGroupName"] == "second"
    with pytest.raises(ClientError, match="NextToken is not a token that this operation returned"):
        sagemaker.list_model_package_groups(SortBy="CreationTime", NextToken=token)
    for name in ("first", "second"):
        sagemaker.delete_model_package_group(ModelPackageGroupName=name)


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
