"""Scans the templates of every variant of the settings with cfn-lint and checkov; `make check` runs it.

cfn-lint knows the schemas of CloudFormation in each region; checkov knows good practice. Each finding of checkov that
is accepted is here with its reason, as those of cdk-nag are in stacks/policies/acknowledged.py. A template with planted
mistakes is scanned too: a scanner that does not find them fails the check.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stacks.settings import Settings, load
from stacks.settings.instances import REGIONS
from tests.rights import with_every_role
from tests.stacks.templates import changed, synthesize

Json = dict[str, Any]
PLANTED = "planted"
# The CDK writes dependencies that CloudFormation finds by itself, and outputs may repeat an import.
_NOT_LINTED = ("W3005", "W6001")
# (checkov's id, resource, why it is accepted)
ACCEPTED = (
    ("CKV_AWS_18", "LogBucket", "The access logs of the bucket of access logs would be about themselves."),
    ("CKV_AWS_21", "DataBucket|LogBucket", "Shards can be computed again, logs expire; models are versioned."),
    ("CKV_AWS_26", "Alerts", "Alerts hold no photo and no secret; security.customer_keys encrypts them."),
    ("CKV_AWS_33", "Keys", "Every principal is held to this account and to a service, as in AWS-managed keys."),
    (
        "CKV_AWS_88",
        "LaunchTemplate",
        "Without a NAT gateway the machine fetches its packages; nothing may connect to it.",
    ),
    ("CKV_AWS_115", "", "Events are rare; accounts with a limit of ten concurrent executions refuse a reserve."),
    ("CKV_AWS_116", "", "EventBridge and CloudFormation retry, and report a failure themselves."),
    ("CKV_AWS_117", "", "The functions call AWS's APIs only, which in a VPC need endpoints that bill."),
    ("CKV_AWS_158", "Logs", "CloudWatch encrypts logs with its own key; security.customer_keys uses one of yours."),
    ("CKV_AWS_173", "", "The variables hold names and numbers, no secrets; Lambda encrypts them with its own key."),
    ("CKV_AWS_370", "model$", "SageMaker does not isolate serverless endpoints; their container makes no calls."),
)
MISTAKES: Json = {
    "Resources": {
        "Open": {"Type": "AWS::S3::Bucket", "Properties": {"AccessControl": "PublicRead"}},
        "Budget": {
            "Type": "AWS::Budgets::Budget",
            "Properties": {"Budget": {"BudgetType": "COSTS", "TimeUnit": "MONTHLY"}},
        },
    }
}


@dataclass(frozen=True)
class Found:
    """One finding of a scanner."""

    template: str
    rule: str
    resource: str
    said: str

    def __str__(self) -> str:
        return f"{self.template}: {self.rule} {self.resource}: {self.said}"


def variants() -> Iterator[tuple[str, Settings]]:
    """Settings that bring every resource type and every property of the stacks at least once."""
    dev = load("dev")
    yield "dev", dev
    yield "prod", load("prod")
    full = changed(changed(with_every_role(), "security", customer_keys=True), "ec2", enabled=True)
    full = changed(changed(full, "training", on_demand_after_reclaims=2), "monitoring", retrain=True)
    yield "full", changed(full, "money", anomaly_usd=10, guard_percent=90, alert_emails=["ops@example.com"])
    yield "serverless", changed(dev, "serving", mode="serverless", data_capture_percent=0)
    yield "async", changed(dev, "serving", mode="async", data_capture_percent=0, min_instances=0)


def write_templates(folder: Path) -> None:
    """Each different template once, and the planted one."""
    seen = set()
    for variant, settings in variants():
        for stack, template in synthesize(settings).items():
            text = json.dumps(template)
            digest = hashlib.sha256(text.encode()).digest()
            if digest not in seen:
                (folder / f"{variant}-{stack}.json").write_text(text)
            seen.add(digest)
    (folder / f"{PLANTED}.json").write_text(json.dumps(MISTAKES))


def lint(programs: Path, folder: Path) -> subprocess.Popen[str]:
    """cfn-lint, in every region that settings allow."""
    regions = ("--regions", *REGIONS)
    ignored = ("--ignore-checks", *_NOT_LINTED)
    files = sorted(str(path) for path in folder.iterdir())
    return _start([str(programs / "cfn-lint"), "--format", "json", *regions, *ignored, "--", *files])


def check(programs: Path, folder: Path) -> subprocess.Popen[str]:
    """checkov, without what it would ask the network for."""
    flags = ("--framework", "cloudformation", "--skip-download", "--quiet", "--compact", "--output", "json")
    return _start([str(programs / "checkov"), "--directory", str(folder), *flags])


def _start(command: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def linted(text: str) -> list[Found]:
    """The findings in cfn-lint's JSON."""
    return [
        Found(
            Path(item["Filename"]).stem,
            item["Rule"]["Id"],
            ".".join(map(str, item["Location"].get("Path") or ())),
            item["Message"],
        )
        for item in json.loads(text)
    ]


def checked(text: str) -> list[Found]:
    """The findings in checkov's JSON."""
    failed = json.loads(text)["results"]["failed_checks"]
    return [
        Found(Path(item["file_path"]).stem, item["check_id"], item["resource"].rpartition(".")[2], item["check_name"])
        for item in failed
    ]


def left(found: Sequence[Found]) -> list[Found]:
    """The findings that are neither planted nor accepted."""
    return [item for item in found if item.template != PLANTED and not _reason(item)]


def _reason(found: Found) -> str:
    reasons = (why for rule, resource, why in ACCEPTED if rule == found.rule and re.search(resource, found.resource))
    return next(reasons, "")


def main(programs: Path) -> int:
    """Scans; returns the exit status."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_templates(folder)
        running = {linted: lint(programs, folder), checked: check(programs, folder)}
        status = 0
        for read, process in running.items():
            text, errors = process.communicate()
            try:
                found = read(text)
            except (ValueError, KeyError, TypeError):
                print(f"{read.__name__}: the scanner did not end well:\n{text}{errors}", file=sys.stderr)
                return 1
            if not any(item.template == PLANTED for item in found):
                print(f"{read.__name__}: the planted mistakes were not found", file=sys.stderr)
                status = 1
            for item in left(found):
                print(item, file=sys.stderr)
                status = 1
        count = len(list(folder.iterdir())) - 1
    print(f"{count} templates scanned in {len(REGIONS)} regions")
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
