"""The check of an account shows its price and starts nothing where that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from binventory.core.errors import Exit
from binventory.cost.launch import Charge, Launch
from tests.account import __main__ as account


class Check:
    """An account that is ready; a stand-in for `AccountCheck`, which asks AWS who signs in."""

    runs = 0

    def __init__(self, *arguments: object, **more: object) -> None:
        self.findings: list[object] = []
        self.journal: object = None

    def prepare(self) -> Launch:
        return Launch("The check", "once", (Charge("Stacks", "no job", "", 0.5, 1.0),))

    def run(self) -> None:
        Check.runs += 1


@pytest.mark.parametrize(
    ("arguments", "code", "started"),
    [(["--dry-run"], Exit.OK, 0), (["--dry-run", "--yes"], Exit.OK, 0), (["--yes"], Exit.OK, 1), ([], Exit.USAGE, 0)],
)
def test_a_dry_run_starts_nothing(
    arguments: list[str],
    code: Exit,
    started: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Check, "runs", 0)
    monkeypatch.setattr(account, "AccountCheck", Check)
    monkeypatch.setattr("binventory.cli.launching._somebody_is_there", lambda: False)
    assert account.main([*arguments, "--state-dir", str(tmp_path)]) == code
    assert "$1.00" in capsys.readouterr().out
    assert Check.runs == started
