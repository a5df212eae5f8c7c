"""`binventory cost --refresh` against replies of the Price List API, shaped like the recorded ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest

from binventory.cli import run
from binventory.core.errors import Exit, Problem
from binventory.cost import prices, refresh
from tests.small_assembly import write_assembly

TODAY = date(2027, 1, 2)


def product(usage: str, *amounts: str, unit: str = "Hrs") -> str:
    """A product as GetProducts returns it."""
    dimensions = {str(n): {"unit": unit, "pricePerUnit": {"USD": text}} for n, text in enumerate(amounts)}
    document = {
        "product": {"attributes": {"usagetype": usage, "regionCode": "eu-west-1"}},
        "terms": {"OnDemand": {"term": {"priceDimensions": dimensions}}},
    }
    return json.dumps(document)


SAGEMAKER = [
    [product("EU-Train:ml.m5.large", "0.128"), product("EU-Host:ml.m5.large", "0.130")],
    [
        product("EU-Processing:ml.c5.xlarge", "0.230"),
        product("EU-Notebk:ml.t3.medium", "0.05"),
        product("EU-Train:ml.m5.xlarge", "9.99", unit="GB-Mo"),
        product("EU-Host:ml.t2.medium", "0.0000"),
        product("EU-TrainingPlanUpfrontFee:ml.p3.2xlarge", "1.5", unit="Quantity"),
        product("EU-Train:VolumeUsage.gp2", "0.154", unit="GB-Mo"),
    ],
]
REPLIES = {
    "AmazonSageMaker": SAGEMAKER,
    # Storage falls with the quantity: the first tier counts. Other classes of storage are not it.
    "AmazonS3": [
        [
            product("EU-TimedStorage-ByteHrs", "0.021", "0.023", "0.022", unit="GB-Mo"),
            product("EU-TimedStorage-GlacierByteHrs", "0.9", unit="GB-Mo"),
        ]
    ],
    "AmazonEC2": [[product("EU-BoxUsage:t3.2xlarge", "0.3648"), product("EU-UnusedBox:t3.2xlarge", "0.9")]],
}


Asked = list[dict[str, str]]
Client = Callable[[dict[str, list[list[str]]]], tuple[Any, Asked]]


@pytest.fixture
def pricing() -> Client:
    """A boto3 client whose calls are answered from recorded pages, and the filters of every call."""

    def make(replies: dict[str, list[list[str]]]) -> tuple[Any, Asked]:
        client = boto3.client("pricing", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
        asked: Asked = []

        def answer(params: dict[str, Any], **_: object) -> tuple[Any, dict[str, Any]]:
            request = json.loads(params["body"])
            assert all(item["Type"] == "TERM_MATCH" for item in request["Filters"])
            asked.append({"service": request["ServiceCode"], **{i["Field"]: i["Value"] for i in request["Filters"]}})
            pages = replies.get(request["ServiceCode"], [[]])
            page = int(request.get("NextToken", 0))
            more = {"NextToken": str(page + 1)} if page + 1 < len(pages) else {}
            return type("Reply", (), {"status_code": 200}), {"PriceList": pages[page], **more}

        client.meta.events.register("before-call.pricing.GetProducts", answer)
        return client, asked

    return make


@pytest.fixture
def copied_table(tmp_path: Path) -> Path:
    path = tmp_path / "prices.json"
    path.write_text(prices.TABLE.read_text())
    return path


def test_a_refresh_reads_all_pages_and_dates_the_region(copied_table: Path, pricing: Client) -> None:
    client, asked = pricing(REPLIES)
    found = refresh.refresh(client, "eu-west-1", TODAY, copied_table)
    assert found.instances == 2
    assert {"s3_gb_month", "volume_gb_month"} == set(found.units)
    assert {call["regionCode"] for call in asked} == {"eu-west-1"}
    machine = next(call for call in asked if call.get("instanceType") == "t3.2xlarge")
    assert machine["operatingSystem"] == "Linux"
    known = prices.load("eu-west-1", copied_table)
    assert known.instance_hour("ml.m5.large") == 0.130, "the highest of training and hosting"
    assert known.instance_hour("ml.c5.xlarge") == 0.230
    assert known.ec2_hour("t3.2xlarge") == 0.3648
    assert known.unit("s3_gb_month") == 0.023
    assert known.unit("volume_gb_month") == 0.154
    assert known.unit("kms_key_month") == 1.0, "the same everywhere"
    assert known.read == TODAY
    assert prices.load("us-east-1", copied_table) == prices.Prices(
        "us-east-1",
        prices.load("us-east-1").read,
        prices.load("us-east-1").source,
        prices.load("us-east-1", copied_table)._values,
    ), "other regions keep their date"


def test_logs_are_read_by_what_is_written_and_what_is_stored(copied_table: Path, pricing: Client) -> None:
    logs = [
        product("EU-DataProcessing-Bytes", "0.57", unit="GB"),
        product("EU-DataProcessingIA-Bytes", "0.285", unit="GB"),
        product("EU-VendedLog-Bytes", "0.9", unit="GB"),
        product("EU-TimedStorage-ByteHrs", "0.031", unit="GB-Mo"),
    ]
    refresh.refresh(pricing({**REPLIES, "AmazonCloudWatch": [logs]})[0], "eu-west-1", TODAY, copied_table)
    known = prices.load("eu-west-1", copied_table)
    assert (known.unit("log_gb_written"), known.unit("log_gb_stored_month")) == (0.57, 0.031)


def test_what_a_refresh_does_not_find_keeps_its_old_date_and_says_so(copied_table: Path, pricing: Client) -> None:
    client, _ = pricing(REPLIES)
    found = refresh.refresh(client, "eu-west-1", TODAY, copied_table)
    known = prices.load("eu-west-1", copied_table)
    assert "ml.g5.xlarge" in found.kept
    assert known.instance_hour("ml.g5.xlarge") == 1.57
    assert "ml.g5.xlarge" in known.warning(TODAY)
    assert "serverless_gb_second" in found.estimated
    assert known.estimated("serverless_gb_second"), "it is estimated from the region's EC2 prices"
    for name in found.unknown:
        with pytest.raises(Problem, match=f"no price for {name}"):
            known.unit(name)


def test_a_new_region_starts_empty_and_borrows_nothing(copied_table: Path, pricing: Client) -> None:
    client, _ = pricing(REPLIES)
    found = refresh.refresh(client, "sa-east-1", TODAY, copied_table)
    assert found.kept == ()
    assert "registry_gb_month" in found.unknown
    known = prices.load("sa-east-1", copied_table)
    assert known.warning(TODAY) == ""
    with pytest.raises(Problem, match="no price for registry_gb_month in sa-east-1"):
        known.unit("registry_gb_month")
    with pytest.raises(Problem):
        known.instance_hour("ml.m5.xlarge")


def test_a_second_refresh_forgets_what_it_finds_again(copied_table: Path, pricing: Client) -> None:
    refresh.refresh(pricing(REPLIES)[0], "eu-west-1", TODAY, copied_table)
    more = {**REPLIES, "AmazonSageMaker": [*SAGEMAKER, [product("EU-Train:ml.g5.xlarge", "1.58")]]}
    found = refresh.refresh(pricing(more)[0], "eu-west-1", TODAY, copied_table)
    assert "ml.g5.xlarge" not in found.kept
    assert prices.load("eu-west-1", copied_table).instance_hour("ml.g5.xlarge") == 1.58


def test_an_estimate_that_is_read_is_an_estimate_no_more(copied_table: Path, pricing: Client) -> None:
    assert prices.load("us-east-1", copied_table).estimated("ml.m7i.xlarge")
    client, _ = pricing({"AmazonSageMaker": [[product("USE1-Train:ml.m7i.xlarge", "0.2419")]]})
    refresh.refresh(client, "us-east-1", TODAY, copied_table)
    known = prices.load("us-east-1", copied_table)
    assert known.estimated("ml.m7i.xlarge") == ""
    assert known.estimated("ml.c7i.xlarge"), "this one was not found"


def test_a_refresh_that_finds_nothing_leaves_the_table(copied_table: Path, pricing: Client) -> None:
    before = copied_table.read_text()
    with pytest.raises(Problem, match="no SageMaker prices for eu-west-1"):
        refresh.refresh(pricing({})[0], "eu-west-1", TODAY, copied_table)
    assert copied_table.read_text() == before


@pytest.mark.parametrize("arguments", [["--region", "eu-west-1"], []], ids=["asked for", "the assembly's"])
def test_the_command_says_what_it_found_and_what_not(
    arguments: list[str],
    copied_table: Path,
    pricing: Client,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client, _ = pricing(REPLIES)
    monkeypatch.setattr("boto3.client", lambda *_, **__: client)
    monkeypatch.setattr("binventory.cli.cost.refresh_prices", partial(refresh.refresh, table=copied_table))
    region = "us-east-1" if arguments else "eu-west-1"
    folder = write_assembly(copied_table.parent / "out", region=region)
    before = date.today()
    assert run(["cost", str(folder), "--refresh", *arguments]) == Exit.OK
    said = " ".join(capsys.readouterr().err.split())
    assert "Read 2 instance prices of eu-west-1, and s3_gb_month, volume_gb_month." in said
    assert "kept with their old date: c5.4xlarge, g5.12xlarge, m5.2xlarge, ml.g4dn.12xlarge" in said
    assert "estimated from EC2 prices: ebs_gb_month" in said
    assert before <= prices.load("eu-west-1", copied_table).read <= date.today()


def test_without_credentials_a_refresh_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert run(["cost", "--refresh"]) == Exit.NOT_READY
    assert "credentials" in capsys.readouterr().err
