"""Service quotas and cost allocation tags, as far as the doctor and budgets ask for them."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.other_services.quotas import VALUE
from local_aws.server import LocalAws, LocalAwsError
from tests.contract.conftest import ClientFactory


def test_a_quota_is_listed_by_its_name_and_raised_by_its_code(client: ClientFactory) -> None:
    quotas = client("service-quotas")

    def find(listing: str) -> dict[str, object]:
        pages = quotas.get_paginator(listing).paginate(ServiceCode="sagemaker")
        name = "ml.m5.xlarge for spot training job usage"
        (found,) = (quota for page in pages for quota in page["Quotas"] if quota["QuotaName"] == name)
        return dict(found)

    found = find("list_service_quotas")
    assert found["Value"] == VALUE
    asked = {"ServiceCode": "sagemaker", "QuotaCode": found["QuotaCode"]}
    assert quotas.list_service_quotas(**asked)["Quotas"] == [found]
    with pytest.raises(quotas.exceptions.IllegalArgumentException, match="greater than the current"):
        quotas.request_service_quota_increase(**asked, DesiredValue=VALUE)
    quotas.request_service_quota_increase(**asked, DesiredValue=VALUE + 1)
    assert find("list_service_quotas")["Value"] == VALUE + 1
    assert find("list_aws_default_service_quotas")["Value"] == VALUE
    with pytest.raises(quotas.exceptions.NoSuchResourceException):
        quotas.request_service_quota_increase(ServiceCode="sagemaker", QuotaCode="L-0", DesiredValue=30)
    with pytest.raises(quotas.exceptions.InvalidPaginationTokenException):
        quotas.list_service_quotas(ServiceCode="sagemaker", NextToken="never")
    with pytest.raises(ClientError, match="Quotas of s3 are not listed locally, only on AWS") as refused:
        quotas.list_service_quotas(ServiceCode="s3")
    assert refused.value.response["Error"]["Code"] == "NotImplemented"


def test_a_budget_counts_nothing_by_a_tag_that_is_not_active(local_aws: LocalAws, client: ClientFactory) -> None:
    budgets, costs = client("budgets"), client("ce")
    budgets.create_budget(
        AccountId=local_aws.account,
        Budget={
            "BudgetName": "by-tag",
            "BudgetType": "COST",
            "TimeUnit": "MONTHLY",
            "BudgetLimit": {"Amount": "20", "Unit": "USD"},
            "CostFilters": {"TagKeyValue": ["user:deployment$bins"]},
        },
    )

    def seen(amount: str) -> float:
        local_aws.administer("budgets/spend", {"BudgetName": "by-tag", "Amount": amount})
        budget = budgets.describe_budget(AccountId=local_aws.account, BudgetName="by-tag")["Budget"]
        return float(budget["CalculatedSpend"]["ActualSpend"]["Amount"])

    assert seen("30") == 30
    costs.update_cost_allocation_tags_status(CostAllocationTagsStatus=[{"TagKey": "deployment", "Status": "Inactive"}])
    assert seen("31") == 0
    costs.update_cost_allocation_tags_status(CostAllocationTagsStatus=[{"TagKey": "deployment", "Status": "Active"}])
    assert seen("32") == 32


@pytest.mark.parametrize(("types", "counted"), [({}, 5), ({"IncludeCredit": True}, 5), ({"IncludeCredit": False}, 30)])
def test_a_budget_counts_what_credits_pay_only_where_it_excludes_them(
    types: dict[str, bool], counted: float, local_aws: LocalAws, client: ClientFactory
) -> None:
    name = f"credits-{'-'.join(map(str, types.values()))}"
    budget: Any = {
        "BudgetName": name, "BudgetType": "COST", "TimeUnit": "MONTHLY",
        "BudgetLimit": {"Amount": "20", "Unit": "USD"}, "CostTypes": types,
    }  # fmt: skip
    client("budgets").create_budget(AccountId=local_aws.account, Budget=budget)
    spent = local_aws.administer("budgets/spend", {"BudgetName": name, "Amount": "30", "Credits": "25"})
    assert float(spent["Amount"]) == counted
    with pytest.raises(LocalAwsError, match="Credits must be a number of at least 0, got 'some'"):
        local_aws.administer("budgets/spend", {"BudgetName": name, "Amount": "30", "Credits": "some"})


def test_only_who_pays_sees_and_activates_tags(local_aws: LocalAws, client: ClientFactory) -> None:
    client("s3").create_bucket(Bucket="tagged-for-costs")
    client("s3").put_bucket_tagging(Bucket="tagged-for-costs", Tagging={"TagSet": [{"Key": "team", "Value": "bins"}]})
    costs = client("ce")
    expected = {"TagKey": "team", "Type": "UserDefined", "Status": "Active"}
    assert costs.list_cost_allocation_tags(TagKeys=["team"])["CostAllocationTags"] == [expected]
    with pytest.raises(LocalAwsError, match="Kind"):
        local_aws.administer("billing/account", {"Kind": "else"})
    local_aws.administer("billing/account", {"Kind": "member"})
    try:
        with pytest.raises(ClientError, match=r"AccessDenied.*Linked account doesn't have access"):
            costs.list_cost_allocation_tags()
        status = [{"TagKey": "team", "Status": "Inactive"}]
        with pytest.raises(ClientError, match=r"AccessDenied.*Linked account doesn't have access"):
            costs.update_cost_allocation_tags_status(CostAllocationTagsStatus=status)
    finally:
        local_aws.administer("billing/account", {"Kind": "own"})
