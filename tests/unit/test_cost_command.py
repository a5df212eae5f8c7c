"""`binventory cost` on a minimal cloud assembly: quantities, tables, JSON, Markdown, differences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from binventory.cli import run
from binventory.core.errors import Exit
from binventory.cost import quantities
from binventory.cost.quantities import BatchMachines, BilledEndpoint
from binventory.cost.workload import Workload
from tests.small_assembly import write_assembly


def test_quantities_come_from_the_templates(tmp_path: Path) -> None:
    read = quantities.read(write_assembly(tmp_path / "out"))
    assert (read.environment, read.region) == ("dev", "us-east-1")
    assert [(item.step, item.instance_type, item.runs, item.spot, item.max_seconds) for item in read.jobs] == [
        ("Tune", "ml.m5.xlarge", 7, True, 3600),
        ("Evaluate", "ml.c5.xlarge", 1, False, 600),
    ]
    assert read.endpoint == BilledEndpoint("ml.m5.large", 1, 3, on_by_default=False)
    assert (read.keys, read.alarms, read.endpoint_alarms, read.dashboards) == (1, 1, 3, 1)
    assert (read.metrics, read.interface_endpoints, read.nat_gateways) == (2, 2, 1)
    assert read.batch == BatchMachines("ml.c5.xlarge", 3)
    assert read.executions_kept_days == 21
    assert Workload.of(read.parameters, None, read.input_size).photos == 500


def test_the_command_prints_json_and_a_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write_assembly(tmp_path / "old")
    new = write_assembly(tmp_path / "new", instance="ml.m5.4xlarge")
    assert run(["cost", str(new), "--diff", str(old), "--json"]) == Exit.OK
    said = json.loads(capsys.readouterr().out)
    assert said["after"]["totals"]["execution_worst"] > said["before"]["totals"]["execution_worst"]
    assert said["after"]["totals"]["idle_month"] == said["before"]["totals"]["idle_month"]
    assert run(["cost", str(new), "--diff", str(old), "--markdown"]) == Exit.OK
    text = capsys.readouterr().out
    assert "| before | after | difference |" in text
    assert "| A month with the endpoint off | $" in text
    totals, lines = text.split("<summary>What changes</summary>")
    assert totals.count("none") == 2, "only the execution changes"
    assert "| Tune, an execution | $" in lines
    assert "Evaluate" not in lines.split("</details>")[0], "what stays is not listed"


@pytest.mark.parametrize("form", [[], ["--markdown"]])
def test_a_difference_says_which_prices_it_lacks(
    form: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step without a price is in no total: without a word the change would seem to save its money."""
    known = write_assembly(tmp_path / "known")
    unknown = write_assembly(tmp_path / "unknown", instance="ml.r5.large")
    assert run(["cost", str(unknown), "--diff", str(known), *form]) == Exit.OK
    assert "Not in these figures: Tune: there is no price for ml.r5.large" in " ".join(capsys.readouterr().out.split())
    assert run(["cost", str(known), "--diff", str(unknown), *form]) == Exit.OK
    said = " ".join(capsys.readouterr().out.split())
    assert "Not in the figures before: Tune: there is no price for ml.r5.large" in said


def test_what_may_run_again_on_demand_is_a_line_of_the_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = write_assembly(tmp_path / "old"), write_assembly(tmp_path / "new", again=True)
    assert run(["cost", str(new), "--diff", str(old), "--markdown"]) == Exit.OK
    _, lines = capsys.readouterr().out.split("<summary>What changes</summary>")
    assert "again on demand, at worst | $0.00 | $" in lines.split("</details>")[0]


def test_the_command_prints_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # processes of parallel tests have it
    command = ["cost", str(write_assembly(tmp_path / "out")), "--traffic", "5000"]
    assert run(command) == Exit.OK
    piped = capsys.readouterr().out
    assert max(map(len, piped.splitlines())) > 80, "a row in a pipe is one line"
    monkeypatch.setenv("COLUMNS", "80")
    assert run(command) == Exit.OK
    text = capsys.readouterr().out
    wanted = (
        "us-east-1",
        "Endpoint",
        "Tune",
        "7 spot",
        "saved",
        "serverless",
        "batch transform",
        "break-even",
        "notebook way",
    )
    for expected in wanted:
        assert expected in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_what_may_run_again_on_demand_counts_in_the_worst_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    once, again = (write_assembly(tmp_path / str(again), again=again) for again in (False, True))
    worst = []
    for folder in (once, again):
        assert run(["cost", str(folder), "--json"]) == Exit.OK
        worst.append(json.loads(capsys.readouterr().out))
    evaluate = next(line["worst"] for line in worst[0]["execution"] if line["step"] == "Evaluate")
    totals = [said["totals"] for said in worst]
    assert totals[1]["execution_worst"] == pytest.approx(totals[0]["execution_worst"] + evaluate)
    assert totals[1]["execution_expected"] == totals[0]["execution_expected"]
    assert run(["cost", str(again)]) == Exit.OK
    assert "After too many reclaims Evaluate run on demand" in " ".join(capsys.readouterr().out.split())


def test_a_region_that_the_table_lacks_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cost", str(write_assembly(tmp_path / "out")), "--region", "sa-east-1"]) == Exit.NOT_READY
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "--refresh --region sa-east-1" in captured.err


def test_a_region_without_rows_of_sagemaker_is_estimated_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["cost", str(write_assembly(tmp_path / "out")), "--region", "eu-central-1"]) == Exit.OK
    captured = capsys.readouterr()
    assert "estimate" in captured.out and "--refresh --region eu-central-1" in " ".join(captured.out.split())
    assert "Not in these figures" not in captured.out


def test_what_a_region_lacks_is_named_and_nothing_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_assembly(tmp_path / "out", instance="ml.p3.2xlarge")
    assert run(["cost", str(folder), "--region", "eu-central-1"]) == Exit.OK
    said = " ".join(capsys.readouterr().out.split())
    assert "Not in these figures:" in said
    assert "there is no price for ml.p3.2xlarge in eu-central-1" in said
    assert run(["cost", str(folder), "--region", "eu-central-1", "--json"]) == Exit.OK
    document = json.loads(capsys.readouterr().out)
    assert any("ml.p3.2xlarge" in name for name in document["missing"])
    assert run(["cost", str(folder), "--region", "eu-central-1", "--markdown"]) == Exit.OK
    assert "Not in these figures" in capsys.readouterr().out


def test_a_folder_that_is_no_assembly_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cost", str(tmp_path)]) == Exit.USAGE
    assert "cdk synth" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        (None, "There is no pipeline"),
        ({"PipelineName": "theirs", "PipelineDefinition": {"PipelineDefinitionS3Location": {}}}, "pipeline theirs"),
        ({"PipelineDefinition": {"PipelineDefinitionBody": "{"}}, "JSONDecodeError"),
        ({"PipelineDefinition": {"PipelineDefinitionBody": {"Fn::Join": ["", ["{", {}, "}"]]}}}, "JSONDecodeError"),
        ({"PipelineDefinition": {"PipelineDefinitionBody": "[]"}}, "TypeError"),
        ({"PipelineDefinition": {"PipelineDefinitionBody": "{}"}}, "KeyError: 'Steps'"),
        ({"PipelineDefinition": {"PipelineDefinitionBody": '{"Steps": {}}'}}, "its Steps are no list"),
    ],
)
def test_an_assembly_whose_pipeline_cannot_be_read_has_no_price(
    pipeline: dict[str, Any] | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was priced at nothing, or ended with a traceback."""
    folder = write_assembly(tmp_path / "cdk.out")
    template = folder / "All.template.json"
    document = json.loads(template.read_text())
    del document["Resources"]["Pipeline"]
    if pipeline is not None:
        document["Resources"]["Theirs"] = {"Type": "AWS::SageMaker::Pipeline", "Properties": pipeline}
    template.write_text(json.dumps(document))
    assert run(["cost", str(folder)]) == Exit.USAGE
    captured = capsys.readouterr()
    what, why, cure = captured.err.splitlines()
    assert captured.out == "" and said in what + why and "npx cdk synth" in cure


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"name": "a web application"}', "KeyError: 'artifacts'"),
        ('{"artifacts": {"Cut": {"type": "aws:cloudformation:stack"}}}', "cannot be read"),
        (
            '{"artifacts": {"Lost": {"type": "aws:cloudformation:stack", "environment": "aws://1/us-east-1", '
            '"properties": {"templateFile": "Lost.template.json"}}}}',
            "Lost.template.json",
        ),
        ('{"artifacts": {"Prod": {"type": "cdk:cloud-assembly"}}}', "holds no stack"),
    ],
)
@pytest.mark.parametrize("flag", [[], ["--diff"]])
def test_an_assembly_that_the_cdk_did_not_write_whole_is_wrong_usage(
    manifest: str, said: str, flag: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    good = [str(write_assembly(tmp_path / "good"))] if flag else []
    assert run(["cost", *good, *flag, str(tmp_path)]) == Exit.USAGE
    captured = capsys.readouterr()
    what, why, cure = captured.err.splitlines()
    assert captured.out == "" and str(tmp_path) in what and said in what + why
    assert "npx cdk synth" in cure
