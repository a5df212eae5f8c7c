"""Values that have the right type, and that AWS would refuse when the stacks are deployed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from stacks.settings import SETTINGS_FOLDER, InvalidSettingsError, load


def _hours(**changes: str) -> str:
    return json.dumps({"days": "MON-FRI", "start": "07:00", "end": "19:00", "time_zone": "UTC"} | changes)


@pytest.mark.parametrize("days", ["MON-FRI", "SUN-SAT", "MON,WED,FRI-SAT", "SUN"])
def test_days_that_aws_takes(monkeypatch: pytest.MonkeyPatch, days: str) -> None:
    monkeypatch.setenv("BINVENTORY_MONEY__SERVING_HOURS", _hours(days=days))
    hours = load("dev").money.serving_hours
    assert hours is not None and hours.days == days


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ("MON-WED-FRI", "must be days of SUN, MON, TUE, WED, THU, FRI, SAT and ranges of two of them"),
        ("MON,,TUE", "'' is neither"),
        ("mon-fri", "'mon-fri' is neither"),
        ("FRI-MON", "has the range FRI-MON that does not go from an earlier to a later day"),
        ("FRI-MON", "list its days, FRI,SAT,SUN,MON"),
        ("MON-SUN", "list its days, MON,TUE,WED,THU,FRI,SAT,SUN"),
        ("WED,MON-MON", "list its days, MON"),
    ],
)
def test_days_that_cron_of_aws_has_not(monkeypatch: pytest.MonkeyPatch, days: str, expected: str) -> None:
    """For AWS a week begins on Sunday, and its documentation has no range that goes beyond Saturday."""
    monkeypatch.setenv("BINVENTORY_MONEY__SERVING_HOURS", _hours(days=days))
    with pytest.raises(InvalidSettingsError) as caught:
        load("dev")
    assert f"money.serving_hours.days = '{days}'" in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize("time_zone", ["localtime", "Factory", "posixrules", "posix/Europe/Berlin", "right/UTC"])
def test_a_time_zone_of_this_machine_only_is_refused(monkeypatch: pytest.MonkeyPatch, time_zone: str) -> None:
    monkeypatch.setattr("zoneinfo.available_timezones", lambda: {time_zone, "Europe/Berlin"})
    monkeypatch.setenv("BINVENTORY_MONEY__SERVING_HOURS", _hours(time_zone=time_zone))
    with pytest.raises(InvalidSettingsError, match="must be a time zone such as UTC or Europe/Berlin"):
        load("dev")
    monkeypatch.setenv("BINVENTORY_MONEY__SERVING_HOURS", _hours(time_zone="Europe/Berlin"))
    assert load("dev").money.serving_hours


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("MONEY__ALERT_EMAILS", '["a@b.eu,c@d.eu"]', "money.alert_emails.0 = 'a@b.eu,c@d.eu'"),
        ("MONEY__ALERT_EMAILS", '["a@b..eu"]', "money.alert_emails.0 = 'a@b..eu'"),
        ("MONEY__ALERT_EMAILS", '["a@b.eu", "c@d.eu", "a@b.eu"]', "must not repeat an address: a@b.eu"),
        ("NETWORK__ENDPOINTS", '["sts", "logs", "sts"]', "must not repeat one: sts"),
        ("EC2__SUBNET_IDS", '["subnet-0123456789", "subnet-0123456789"]', "must not repeat a subnet"),
        (
            "SECURITY__PERMISSIONS_BOUNDARY",
            "arn:aws-cn:iam::aws:policy/Bins",
            "security.permissions_boundary = 'arn:aws-cn:iam::aws:policy/Bins'",
        ),
        (
            "SECURITY__PERMISSIONS_BOUNDARY",
            "workloads",
            "must be none or the ARN of a managed policy, such as arn:aws:",
        ),
        ("SECURITY__ROLE_PATH", "workloads", "must be / or a path between slashes, such as /workloads/bins/"),
        ("SECURITY__ROLE_PATH", f"/{'a' * 511}/", "must have at most 512 characters"),
        ("ACCOUNT", "1234", "account = '1234'"),
        ("ACCOUNT", "١٢٣٤٥٦٧٨٩٠١٢", "must be the 12 digits of an account"),
        ("GITHUB__REPOSITORY", "https://github.com/acme/bins", "must be none or owner/name, such as acme/bins"),
        ("GITHUB__PROVIDER", "yes", "must be create or the ARN of GitHub's provider, arn:aws:iam::"),
        ("GITHUB__BRANCH", "größe", "github.branch = 'größe'"),
        ("NETWORK__CIDR", "192.168.0.0/16", "must be a block of 10.0.0.0/8 from /20 to /24, such as 10.20.0.0/22"),
        ("EC2__VPC_ID", "mine", "must be the id of a VPC, such as vpc-"),
        ("DATA__PHOTOS_URI", "s3://bins/hall#1/", "must be without #, which SageMaker takes in no property of a model"),
        ("TRAINING__WEIGHTS", "s3://bins/resnet50(1).pth", "must be without (, which SageMaker takes in no property"),
        ("DATA__PHOTOS_URI", f"s3://bins/{'a' * 247}", "must have at most 256 characters"),
        ("DATA__LABELS_URI", f"s3://bins/{'a' * 247}", "must have at most 256 characters"),
        ("DATA__PHOTOS_URI", "s3://bins/写真/", "must be without '写', which IAM takes in no policy"),
        ("DATA__LABELS_URI", "s3://bins/étiquettes-œ.csv", "must be without 'œ', which IAM takes in no policy"),
        ("BATCH__PHOTOS_URIS", '["s3://bins/写真/"]', "must be without '写', which IAM takes in no policy"),
        ("PROJECT", "sthree", "must not begin with sthree-: S3 gives no bucket such a name"),
        ("PROJECT", "xn--bins", "must not begin with xn--"),
        ("PROJECT", "amzn-s3-demo", "must not begin with amzn-s3-demo-"),
        ("PROJECT", "bins-dev", "must not have -dev: its resources would be named as those of another project's dev"),
        ("PROJECT", "bins-prod-eu", "must not have -prod"),
        ("TAGS", '{"Project": "other"}', "must not set Project: the stacks set it"),
        ("TAGS", '{"Owner": "a", "owner": "b"}', "must not repeat a key, also not with other capitals: owner"),
    ],
)
def test_a_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, field: str, value: str, expected: str) -> None:
    """Tags: IAM, which has those of the roles, takes `Project` and `project` for one key."""
    monkeypatch.setenv(f"BINVENTORY_{field}", value)
    with pytest.raises(InvalidSettingsError) as caught:
        load("dev")
    assert expected in str(caught.value)
    assert "pattern" not in str(caught.value).replace("a pattern in the policies", "")


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("account: 123456789012\n", "account = 123456789012"),
        (
            "money: {serving_hours: {days: MON-FRI, start: '07:00', end: 19:00, time_zone: UTC}}\n",
            "money.serving_hours.end = 1140",
        ),
    ],
    ids=["account", "clock"],
)
def test_what_yaml_takes_for_a_number_is_refused_with_its_cure(tmp_path: Path, written: str, found: str) -> None:
    dev, more = yaml.safe_load((SETTINGS_FOLDER / "dev.yaml").read_text()), yaml.safe_load(written)
    for name, value in more.items():
        dev[name] = dev[name] | value if isinstance(value, dict) else value
    (tmp_path / "dev.yaml").write_text(yaml.safe_dump(dev))
    with pytest.raises(InvalidSettingsError) as caught:
        load("dev", tmp_path)
    assert str(caught.value) == f"{found}\n    must be text: put it between quotes"


@pytest.mark.parametrize("key", ["Cost Centre", "team/bins", "Größe", ".", "..", "_index"])
def test_a_tag_that_no_metadata_of_a_machine_can_have_is_refused(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """Where a machine reads its tags from its metadata, EC2 starts none with such a key."""
    monkeypatch.setenv("BINVENTORY_TAGS", json.dumps({"CostCentre": "4711", key: "1"}))
    assert key in load("dev").tags
    monkeypatch.setenv("BINVENTORY_EC2__ENABLED", "true")
    with pytest.raises(InvalidSettingsError) as caught:
        load("dev")
    assert f"must have no key {key!r} with ec2.enabled: a machine reads its tags from its metadata" in str(caught.value)
    monkeypatch.setenv("BINVENTORY_TAGS", json.dumps({"Cost-Centre_1+2=3.@": "4711"}))
    assert load("dev").ec2.enabled


@pytest.mark.parametrize(
    ("field", "address"),
    [("DATA__PHOTOS_URI", f"s3://bins/Größe 1/{'a' * 238}"), ("DATA__LABELS_URI", "s3://bins/labels #1 (new).csv")],
)
def test_an_address_that_jobs_and_the_registry_take(monkeypatch: pytest.MonkeyPatch, field: str, address: str) -> None:
    """Labels are in no property of a model package."""
    monkeypatch.setenv(f"BINVENTORY_{field}", address)
    found = load("dev").data
    assert address in (found.photos_uri, found.labels_uri)


@pytest.mark.parametrize(
    ("field", "arn"),
    [
        ("GITHUB__PROVIDER", "arn:aws:iam::210987654321:oidc-provider/token.actions.githubusercontent.com"),
        ("SECURITY__PERMISSIONS_BOUNDARY", "arn:aws:iam::210987654321:policy/Bins"),
    ],
)
def test_an_address_of_another_account_is_refused(monkeypatch: pytest.MonkeyPatch, field: str, arn: str) -> None:
    """Where the account is not set, only AWS knows it."""
    monkeypatch.setenv(f"BINVENTORY_{field}", arn)
    load("dev")
    monkeypatch.setenv("BINVENTORY_ACCOUNT", "210987654321")
    load("dev")
    monkeypatch.setenv("BINVENTORY_ACCOUNT", "123456789012")
    with pytest.raises(InvalidSettingsError, match=r"must be of account 123456789012.*IAM takes no other"):
        load("dev")
