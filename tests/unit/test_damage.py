"""All damage to a file between two steps is noticed: a small, seeded part of benchmarks/damage.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.damage import CRASHED, OTHERS, REFUSED, UNSEEN, all_stages, run
from benchmarks.damaging import damages
from benchmarks.damaging.stages import LEFT_OUT, Refused, Stage, same_but_for_what_is_named
from tests.engines import share_engines_of_embed, share_exports_of_evaluate, share_networks_of_evaluate


def test_every_damage_is_refused_named_or_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is damaged is noticed before an engine is made, or makes another one.
    share_engines_of_embed(monkeypatch)
    share_exports_of_evaluate(monkeypatch)
    share_networks_of_evaluate(monkeypatch)
    stages = all_stages(tmp_path)
    wanted = [damages.flip] * len(stages) + [damages.cut] * len(stages) + list(OTHERS) * 3
    trials = list(run(stages, tmp_path, wanted, seed=1))
    assert len(trials) == len(wanted) and {trial.stage for trial in trials} == {stage.name for stage in stages}
    assert [trial for trial in trials if trial.outcome in (UNSEEN, CRASHED)] == []
    assert any(trial.outcome == REFUSED for trial in trials)


def test_damage_that_a_step_does_not_look_for_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_bytes(b"content")

    def careless(place: Path, _out: Path) -> dict[str, bytes]:
        return {"a": (place / "a").read_bytes()}

    def picky(place: Path, _out: Path) -> dict[str, bytes]:
        if (place / "a").read_bytes() != b"content":
            raise Refused("a is damaged")
        return {}

    stages = [Stage(run.__name__, tmp_path / "source", ("*",), run) for run in (careless, picky)]
    trials = list(run(stages, tmp_path, [damages.flip, damages.flip, damages.cut, damages.cut, damages.remove], 0))
    assert [trial.outcome for trial in trials] == [UNSEEN, REFUSED, UNSEEN, REFUSED, CRASHED]


def test_only_what_is_named_may_be_missing() -> None:
    row = bytes([3]) + bytes(8)
    whole = {"train-00000/1/0": row, "train-00000/2/0": row, "train-00001/3/0": row, LEFT_OUT: b""}
    assert same_but_for_what_is_named({**whole}, whole)
    one = {key: value for key, value in whole.items() if key != "train-00000/2/0"}
    assert not same_but_for_what_is_named(one, whole)
    assert same_but_for_what_is_named({**one, LEFT_OUT: b"2"}, whole)
    assert same_but_for_what_is_named({**one, LEFT_OUT: b"train-00000"}, whole)
    assert not same_but_for_what_is_named({**whole, "train-00001/3/0": bytes([4]) + bytes(8)}, whole)
