"""The checkpoints of a machine on EC2 in S3: the newest stay, and the next machine fetches those."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from botocore.exceptions import ClientError

from fitting.checkpoints import CheckpointFolder, Snapshot
from machine.aws import Exchange
from tests.contract.conftest import ClientFactory

BUCKET = "machine-checkpoints"


@pytest.fixture(scope="module")
def bucket(client: ClientFactory) -> str:
    client("s3").create_bucket(Bucket=BUCKET)
    return BUCKET


def _folder(path: Path, fingerprint: str = "a") -> CheckpointFolder:
    return CheckpointFolder(path, fingerprint, every_seconds=0)


def _save(folder: CheckpointFolder, *steps: int) -> None:
    for step in steps:
        assert folder.save(step, Snapshot({"weights": torch.full((3,), float(step))}, {"step": step}))


def _steps(client: ClientFactory, run: str) -> list[int]:
    found = client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"{run}/").get("Contents", [])
    return [int(item["Key"].split("step-")[1][:10]) for item in found]


def test_as_many_stay_in_s3_as_on_the_disk(client: ClientFactory, bucket: str, signed_in: None, tmp_path: Path) -> None:
    first, uri = Exchange(), f"s3://{bucket}/kept"
    folder = _folder(tmp_path / "first")
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "features.npy").write_bytes(b"computed once")
    for step in range(1, 6):
        _save(folder, step)
        first.send_checkpoints(folder.folder, uri)
    (tmp_path / "first" / "features.npy").unlink()
    first.send_checkpoints(folder.folder, uri)
    names = [item["Key"] for item in client("s3").list_objects_v2(Bucket=bucket, Prefix="kept/")["Contents"]]
    assert [name.split("-")[1] for name in names if "step-" in name] == ["0000000004", "0000000005"]
    assert "kept/features.npy" in names, "what is no checkpoint of a training stays"
    second = Exchange()
    assert second.fetch(f"{uri}/", tmp_path / "second") == 3
    continued = _folder(tmp_path / "second")
    found = continued.latest()
    assert found is not None and found.values["step"] == 5
    _save(continued, 6)
    second.send_checkpoints(continued.folder, uri)
    client("s3").delete_object(Bucket=bucket, Key="kept/features.npy")
    assert _steps(client, "kept") == [5, 6]


def test_of_many_the_newest_that_are_whole_are_fetched(
    client: ClientFactory, bucket: str, signed_in: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a run of an earlier version left them: every one, and the last one damaged."""
    for step in range(1, 6):
        _save(_folder(tmp_path / str(step)), step)
        Exchange().send(tmp_path / str(step), f"s3://{bucket}/many")
    newest = client("s3").list_objects_v2(Bucket=bucket, Prefix="many/step-0000000005")["Contents"][0]["Key"]
    client("s3").put_object(Bucket=bucket, Key=newest, Body=b"torn")
    assert Exchange().fetch(f"s3://{bucket}/many/", tmp_path / "next") == 2
    assert "is torn in S3 and skipped" in capsys.readouterr().err
    found = _folder(tmp_path / "next").latest()
    assert found is not None and found.values["step"] == 4
    assert len(list((tmp_path / "next").iterdir())) == 2
    assert _steps(client, "many") == [1, 2, 3, 4, 5], "a machine deletes only what it had itself"


def test_a_checkpoint_that_may_not_be_deleted_stays_and_training_continues(
    client: ClientFactory,
    bucket: str,
    signed_in: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exchange, folder = Exchange(), _folder(tmp_path)

    def denied(**_: str) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "DeleteObject")

    monkeypatch.setattr(exchange._s3, "delete_object", denied)
    for step in range(1, 4):
        _save(folder, step)
        exchange.send_checkpoints(folder.folder, f"s3://{bucket}/denied")
    assert _steps(client, "denied") == [1, 2, 3]
    assert capsys.readouterr().err.count("stays in S3") == 1


def test_the_keys_of_folders_that_a_console_made_are_no_files(
    client: ClientFactory, bucket: str, signed_in: None, tmp_path: Path
) -> None:
    for key, content in {"made/": b"", "made/more/": b"", "made/a.tar": b"a", "made/more/b.tar": b"b"}.items():
        client("s3").put_object(Bucket=bucket, Key=key, Body=content)
    assert Exchange().fetch(f"s3://{bucket}/made/", tmp_path / "fetched") == 2
    files = {path.name: path.read_bytes() for path in (tmp_path / "fetched").rglob("*") if path.is_file()}
    assert files == {"a.tar": b"a", "b.tar": b"b"}
