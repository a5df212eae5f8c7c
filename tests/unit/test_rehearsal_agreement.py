"""The rehearsal fails if the endpoint's answers differ from the evaluation, and names the photo."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binventory.core.errors import Exit, Problem
from binventory.rehearsal.agreement import TOLERANCE, Agreement, Judged, hold, read_judged
from binventory.serving import EndpointAnswer
from evaluation.answers import write_answers
from serving import answers as served

SHARES = st.lists(st.floats(0.01, 1), min_size=5, max_size=5).map(lambda shares: [s / sum(shares) for s in shares])


def judged(image_id: str, shares: list[float], recorded: int = 3) -> Judged:
    probabilities = {count: round(share, 6) for count, share in enumerate(shares, start=1)}
    return Judged(image_id, recorded, max(probabilities, key=probabilities.__getitem__), probabilities)


def answered(of: Judged, **changes: Any) -> EndpointAnswer:
    fields = {"count": of.count, "probabilities": dict(of.probabilities), "expected_count": 0.0, "milliseconds": 1.0}
    return EndpointAnswer(**{**fields, **changes})


def split_of(rows: dict[str, Judged]) -> list[tuple[str, int]]:
    return [(row.image_id, row.recorded) for row in rows.values()]


@given(st.lists(SHARES, min_size=1, max_size=8), st.data())
def test_every_difference_is_found_and_named(tables: list[list[float]], data: st.DataObject) -> None:
    rows = {f"{number:05}": judged(f"{number:05}", shares) for number, shares in enumerate(tables)}
    answers = {name: answered(row) for name, row in rows.items()}
    assert hold(split_of(rows), rows, answers.__getitem__) == Agreement(len(rows), 0.0)
    name = data.draw(st.sampled_from(sorted(rows)))
    moved = dict(rows[name].probabilities)
    moved[data.draw(st.integers(1, 5))] += data.draw(st.sampled_from([-1, 1])) * data.draw(st.floats(2 * TOLERANCE, 1))
    wrong = data.draw(
        st.sampled_from(
            [
                answered(rows[name], count=rows[name].count % 5 + 1),
                answered(rows[name], probabilities=moved),
                answered(rows[name], probabilities={count: share for count, share in moved.items() if count != 2}),
            ]
        )
    )
    with pytest.raises(Problem) as caught:
        hold(split_of(rows), rows, {**answers, name: wrong}.__getitem__)
    assert (
        f"1 of {len(rows)} test photos differ. Photo {name}: the evaluation counts {rows[name].count} ("
        in caught.value.why
    )
    assert f"the endpoint {wrong.count} (" in caught.value.why
    assert caught.value.code == int(Exit.FAILED) == 1


def test_the_last_digit_may_differ_and_is_reported() -> None:
    row = judged("00001", [0.1, 0.2, 0.4, 0.2, 0.1])
    moved = {**row.probabilities, 1: row.probabilities[1] + 1e-6}
    agreed = hold([("00001", 3)], {"00001": row}, lambda _: answered(row, probabilities=moved))
    assert agreed.largest_difference == pytest.approx(1e-6)
    assert str(agreed) == "1 of 1 answers are those of the evaluation, probabilities within 1e-06"
    assert str(Agreement(7, 0.0)) == "7 of 7 answers are those of the evaluation, to the last digit"


@pytest.mark.parametrize("split", [[("00001", 3)], [("00001", 3), ("00002", 3), ("00003", 3)]])
def test_an_evaluation_of_other_photos_is_refused(split: list[tuple[str, int]]) -> None:
    rows = {name: judged(name, [0.2] * 5) for name in ("00001", "00002")}
    with pytest.raises(Problem, match="The evaluation is not of the test split") as caught:
        hold(split, rows, lambda name: answered(rows[name]))
    assert caught.value.why.endswith(("such as 00002", "such as 00003"))


def test_another_recorded_quantity_is_a_difference() -> None:
    rows = {"00001": judged("00001", [0.2] * 5, recorded=3)}
    with pytest.raises(Problem, match="differently from the evaluation"):
        hold([("00001", 4)], rows, lambda name: answered(rows[name]))


class Bucket:
    """One S3 object, with the part of `Aws` and boto3 that is used."""

    def __init__(self, key: str, body: bytes) -> None:
        self.key = key
        self.body = body

    def client(self, service: str) -> Bucket:
        assert service == "s3"
        return self

    def get_object(self, **asked: str) -> dict[str, Any]:
        assert asked == {"Bucket": "data", "Key": self.key}
        return {"Body": io.BytesIO(self.body), "ContentLength": len(self.body)}


def test_what_evaluate_writes_is_read_and_held_to_its_digest(tmp_path: Path) -> None:
    probabilities = dict(zip(range(1, 6), (0.05, 0.1234567, 0.6, 0.2, 0.0265433), strict=True))
    answer = served.Answer(3, probabilities, 3.0, 1.0)
    named = write_answers(tmp_path, [("00001", 4, answer), ("00002", 3, answer)])
    evaluation = {"binventory": {"answers": {"file": named.file, "photos": named.photos, "sha256": named.sha256}}}
    body = (tmp_path / "answers.jsonl").read_bytes()
    rows = read_judged(Bucket("a/evaluation/answers.jsonl", body), "s3://data/a/evaluation", evaluation)  # type: ignore[arg-type]
    assert rows["00001"] == Judged("00001", 4, 3, {1: 0.05, 2: 0.123457, 3: 0.6, 4: 0.2, 5: 0.026543})
    assert list(rows) == ["00001", "00002"]
    for damaged in (body.replace(b"0.123457", b"0.123458"), body.splitlines(keepends=True)[0]):
        with pytest.raises(Problem, match="not those that it names"):
            read_judged(Bucket("a/answers.jsonl", damaged), "s3://data/a", evaluation)  # type: ignore[arg-type]
    assert hashlib.sha256(body).hexdigest() == named.sha256
    assert json.loads(body.splitlines()[0])["recorded"] == 4
