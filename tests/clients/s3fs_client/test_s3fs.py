"""Files in S3 as pandas, Dask and other readers see them."""

from __future__ import annotations

import pytest
import s3fs


@pytest.fixture(scope="module")
def files() -> s3fs.S3FileSystem:
    """Everything that it knows comes from the exports."""
    return s3fs.S3FileSystem()


def test_a_bucket_is_listed_and_read(files: s3fs.S3FileSystem, bucket: str) -> None:
    assert files.ls(f"{bucket}/bins") == [f"{bucket}/bins/{number}.txt" for number in range(4)]
    with files.open(f"{bucket}/bins/3.txt") as file:
        assert file.read() == b"4\n"
    assert files.info(f"{bucket}/bins/3.txt")["size"] == 2
    assert files.glob(f"{bucket}/**/1.txt") == [f"{bucket}/bins/1.txt"]


def test_a_file_of_several_parts_is_written_and_read_in_pieces(files: s3fs.S3FileSystem, bucket: str) -> None:
    """Its parts have 5 MiB and more, as S3 asks for."""
    whole = bytes(range(256)) * (12 * 1024 * 1024 // 256)
    with files.open(f"{bucket}/large.bin", "wb", block_size=5 * 1024 * 1024) as file:
        file.write(whole)
    with files.open(f"{bucket}/large.bin", block_size=1024 * 1024) as file:
        file.seek(7 * 1024 * 1024 + 3)
        assert file.read(5) == bytes([3, 4, 5, 6, 7])
    assert files.du(f"{bucket}/large.bin") == len(whole)
    files.rm(f"{bucket}/large.bin")
    assert not files.exists(f"{bucket}/large.bin")


def test_folders_are_copied_moved_and_removed(files: s3fs.S3FileSystem, bucket: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(name)
    files.put(f"{tmp_path}/", f"{bucket}/folder/", recursive=True)
    files.cp(f"{bucket}/folder/a.txt", f"{bucket}/folder/c.txt")
    files.mv(f"{bucket}/folder/b.txt", f"{bucket}/folder/d.txt")
    assert sorted(files.find(f"{bucket}/folder")) == [f"{bucket}/folder/{name}.txt" for name in "acd"]
    files.get(f"{bucket}/folder/", f"{tmp_path}/back/", recursive=True)
    assert (tmp_path / "back" / "d.txt").read_text() == "b"
    files.rm(f"{bucket}/folder", recursive=True)
    assert files.find(f"{bucket}/folder") == []


def test_what_is_missing_is_missing(files: s3fs.S3FileSystem, bucket: str) -> None:
    with pytest.raises(FileNotFoundError):
        files.open(f"{bucket}/never")
    with pytest.raises(FileNotFoundError):
        files.ls("no-such-bucket/x")
