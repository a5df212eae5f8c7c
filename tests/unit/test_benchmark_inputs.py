"""What benchmarks do with folders and attempts that are not as they should be: they name it, or count it as lost."""

from __future__ import annotations

import json
import os
import platform
import random
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.counting import photos
from benchmarks.damaging.stages import run_ingest_again
from benchmarks.faulting import faults
from benchmarks.faulting.jobs import Job
from benchmarks.ingest import object_server
from benchmarks.processor import this_processor
from tests.audited import write_folder


def bin_of(folder: Path, image_id: str, record: str) -> None:
    for part in ("bin-images", "metadata"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "bin-images" / f"{image_id}.jpg").write_bytes(b"photo")
    (folder / "metadata" / f"{image_id}.json").write_text(record)


def test_photos_whose_records_cannot_be_used_are_left_out(tmp_path: Path) -> None:
    """Among rendered ones and those of the public bucket are some."""
    for image_id, count in (("00300", 5), ("00101", 3), ("00102", 9)):
        bin_of(tmp_path, image_id, json.dumps({"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": count}))
    bin_of(tmp_path, "00103", "{")
    bin_of(tmp_path, "00104", "{}")
    bin_of(tmp_path, "shelf-1", json.dumps({"EXPECTED_QUANTITY": 2}))
    found = photos.read(tmp_path)
    assert (found.ids, found.counts.tolist()) == (("00101", "00300"), [3, 5])
    (tmp_path / "labels.csv").write_text("image_id;count\n00104;2.0\n00101;many\n")
    assert photos.read(tmp_path).ids == ("00104",)
    (tmp_path / "labels.csv").write_text("image_id,count\n00104,0\n")
    with pytest.raises(SystemExit, match="holds no photos with a count of 1 to 5"):
        photos.read(tmp_path)


def test_every_bin_of_a_bucket_under_faults_is_ingested(tmp_path: Path) -> None:
    """Ingest takes no photo whose content is in another split, and a benchmark without photos injects no fault."""
    made = run_ingest_again(write_folder(tmp_path / "bins", 60), tmp_path / "ingested")
    assert json.loads(made["report/books.json"])["kept"] == 60


def test_no_reader_asks_aws_where_the_local_s3_does_not_start(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    (tmp_path / "bin-images").mkdir()
    with (
        pytest.raises(SystemExit, match="the local S3 does not start with the photos of "),
        object_server(tmp_path, 10, 0.0),
    ):
        raise AssertionError("a reader would begin here")
    assert f"{tmp_path}/bin-images holds no *.jpg" in capfd.readouterr().err
    assert "AWS_ENDPOINT_URL" not in os.environ


def test_figures_say_on_which_processor_they_were_measured(tmp_path: Path) -> None:
    described = tmp_path / "cpuinfo"
    described.write_text(
        "processor\t: 0\nmodel name\t: A: processor\nflags\t\t: fpu avx2 avx512_vnni\n\nprocessor\t: 1\n"
    )
    found = this_processor(described)
    assert str(found) == "A: processor, avx2, avx512_vnni" and found.has_int8_products
    assert (found.features + found.lacks) == ("avx2", "avx512_vnni", "avx512f", "avx512_bf16", "avx_vnni", "amx_int8")
    # Of a Mac there is no such file, and one of an Arm processor has no such name.
    described.write_text("processor\t: 0\nFeatures\t: fp asimd\n")
    for place in (described, tmp_path / "none"):
        assert this_processor(place).name in (platform.processor(), platform.machine())
        assert this_processor(place).features == ()


def attempts(monkeypatch: pytest.MonkeyPatch, outcomes: Sequence[tuple[int, str]]) -> None:
    """In the place of a job's attempts: status and standard error of each, and a whole result where it ends well."""
    left = iter(outcomes)

    class Ended:
        def __init__(self, *_: Any) -> None:
            self._status, self.said = next(left)
            self.named = self._status > 0 and self.said.startswith("error: ")
            self.made: dict[str, bytes] | None = {} if self._status == 0 else None

        def kill_after(self, seconds: float) -> None: ...

        def status(self) -> int:
            return self._status

    monkeypatch.setattr(faults, "Attempt", Ended)


class _OneKill(random.Random):
    def choice(self, _: Any) -> Any:
        return 1


@pytest.mark.parametrize(
    ("outcomes", "injected", "survived"),
    [
        ([(-signal.SIGKILL, ""), (0, "")], 1, True),
        ([(-signal.SIGKILL, ""), (1, "error: another attempt is writing"), (0, "")], 1, True),
        # It is no kill that ended it, and not in words.
        ([(1, "error: the disk is odd")], 0, False),
        ([(-signal.SIGKILL, ""), (1, "Traceback")], 1, False),
        ([(-signal.SIGKILL, ""), (-signal.SIGSEGV, "")], 1, False),
    ],
)
def test_only_kills_count_as_kills_and_what_fails_must_say_why(
    outcomes: list[tuple[int, str]], injected: int, survived: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    attempts(monkeypatch, outcomes)
    work = Job("work", lambda place, out: {})
    found = faults.kill(work, tmp_path, tmp_path, {}, 1.0, _OneKill())
    assert (found.injected, found.survived) == (injected, survived)
