"""Shards: read as written, also by other tar tools; a cut file is an error and not fewer photos."""

from __future__ import annotations

import json
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import Sample, ShardError, ShardIndex, ShardWriter, list_shards, read_at, read_shards
from tests.listed import enlist, enlist_as_it_is, write_shard

SAMPLES = st.lists(
    st.builds(
        Sample,
        id=st.from_regex(r"[0-9A-Za-z][0-9A-Za-z_-]{0,20}", fullmatch=True),
        photo=st.binary(max_size=2000),
        count=st.integers(1, 5),
        items=st.lists(st.text(max_size=12), max_size=3).map(tuple),
        width=st.integers(1, 5000),
        height=st.integers(1, 5000),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda sample: sample.id,
)


def write(path: Path, samples: list[Sample]) -> list[int]:
    writer = ShardWriter(path)
    offsets = [
        writer.add(
            s.id, s.photo, {"id": s.id, "count": s.count, "items": s.items, "width": s.width, "height": s.height}
        ).offset
        for s in samples
    ]
    summary = writer.close()
    assert (summary.samples, summary.size) == (len(samples), path.stat().st_size)
    enlist(path.parent, summary)
    return offsets


@given(SAMPLES)
def test_what_is_written_is_read_back_in_order_and_at_random(
    tmp_path_factory: pytest.TempPathFactory, samples: list[Sample]
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    offsets = write(folder / "train-00000.tar", samples)
    assert list(read_shards(folder)) == samples
    index = pickle.loads(pickle.dumps(ShardIndex(folder)))
    assert [index[i] for i in reversed(range(len(index)))] == samples[::-1]
    assert index[1:] == samples[1:]
    assert (index.ids, index.counts) == ([s.id for s in samples], [s.count for s in samples])
    assert [read_at(folder / "train-00000.tar", o, len(s.photo)) for o, s in zip(offsets, samples, strict=True)] == [
        s.photo for s in samples
    ]
    again = folder / "again.tar"
    write(again, samples)
    assert again.read_bytes() == (folder / "train-00000.tar").read_bytes()


SAMPLE = Sample("00200", b"photo bytes", 3, ("B000",), 640, 480)


def test_a_shard_is_a_plain_tar_in_webdataset_order(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", [SAMPLE])
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert tar.getnames() == ["00200.jpg", "00200.json"]
        photo, record = (tar.extractfile(name) for name in tar.getnames())
        assert photo is not None and record is not None
        assert photo.read() == SAMPLE.photo and json.load(record)["count"] == 3
        assert {(member.mtime, member.uid, member.gid) for member in tar} == {(0, 0, 0)}


def test_a_member_is_named_for_what_the_photo_is(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "a.tar")
    writer.add("1", b"a png", {"id": "1", "count": 1}, suffix=".png")
    writer.add("2", b"a jpeg", {"id": "2", "count": 2})
    enlist(tmp_path, writer.close())
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert tar.getnames() == ["1.png", "1.json", "2.jpg", "2.json"]
    assert [(s.id, s.photo) for s in read_shards(tmp_path)] == [("1", b"a png"), ("2", b"a jpeg")]
    assert ShardIndex(tmp_path)[0].photo == b"a png"
    other = ShardWriter(tmp_path / "b.tar")
    other.add("3", b"a moving picture", {"id": "3", "count": 3}, suffix=".gif")
    enlist(tmp_path, other.close())
    with pytest.raises(ShardError, match=r"b\.tar: member '3\.gif'"):
        list(read_shards([tmp_path / "b.tar"]))


@given(st.from_regex(r"[0-9A-Za-z_-]{1,95}", fullmatch=True), st.integers(0, 70_000))
def test_members_have_the_headers_that_tarfile_writes(
    tmp_path_factory: pytest.TempPathFactory, name: str, size: int
) -> None:
    path = tmp_path_factory.mktemp("shard") / "a.tar"
    write(path, [Sample(name, bytes(size), 3)])
    info = tarfile.TarInfo(f"{name}.jpg")
    info.size, info.mode = size, 0o644
    assert path.read_bytes()[: tarfile.BLOCKSIZE] == info.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("name", ["a" * 97, "ä"])
def test_names_that_a_tar_header_cannot_hold_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ShardError, match="100 characters at most"):
        ShardWriter(tmp_path / "a.tar").add(name, b"", {"id": name, "count": 1})


@pytest.mark.parametrize("kept", [0, 100, 600, 1500, 2048, 2300])
def test_a_cut_shard_is_an_error(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.tar"
    write(path, [SAMPLE])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ShardError, match=r"a\.tar"):
        list(read_shards(tmp_path))


def test_foreign_tars_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("x")
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(tmp_path / "note.txt", "note.txt")
    enlist_as_it_is(tmp_path / "a.tar")
    with pytest.raises(ShardError, match=r"note\.txt"):
        list(read_shards(tmp_path))
    link = tarfile.TarInfo("00001.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(link)
    enlist_as_it_is(tmp_path / "a.tar")
    with pytest.raises(ShardError, match="not a plain file"):
        list(read_shards(tmp_path))
    (tmp_path / "a.tar").write_bytes(b"\x01" * 1024)
    enlist_as_it_is(tmp_path / "a.tar")
    with pytest.raises(ShardError, match="damaged at byte 0"):
        list(read_shards(tmp_path))


def test_a_record_without_a_count_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [("1", b"x", {"id": "1"})])
    with pytest.raises(ShardError, match="id and count"):
        ShardIndex(tmp_path)


def test_an_unfinished_shard_is_never_seen(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "a.tar")
    writer.add("1", b"x", {"id": "1", "count": 1})
    with pytest.raises(ShardError, match="holds no"):
        list_shards(tmp_path)
    writer.discard()
    assert list(tmp_path.iterdir()) == []


MANY = [
    Sample(f"{number:05}", bytes([number + 1]) * (300 + number), number % 5 + 1, ("B000",), 640, 480)
    for number in range(9)
]


def read_both_ways(folder: Path) -> list[Sample]:
    """Every sample, streamed and by index; fails where the two differ."""
    streamed = list(read_shards(folder))
    assert ShardIndex(folder)[:] == streamed
    return streamed


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_an_error_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    write(folder / "a.tar", MANY)
    for name in ("a.tar", "digests.json"):
        content = bytearray((folder / name).read_bytes())
        content[place % len(content)] ^= 1 << bit
        (folder / name).write_bytes(content)
        for reader in (lambda: list(read_shards(folder)), lambda: ShardIndex(folder)[:]):
            try:
                assert reader() == MANY
            except ShardError as error:
                assert str(folder) in str(error)
        content[place % len(content)] ^= 1 << bit
        (folder / name).write_bytes(content)
    assert read_both_ways(folder) == MANY


def test_a_block_of_zeros_is_not_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write(path, MANY)
    whole = path.read_bytes()
    for block in range(len(whole) // tarfile.BLOCKSIZE - 2):
        start = block * tarfile.BLOCKSIZE
        path.write_bytes(whole[:start] + bytes(tarfile.BLOCKSIZE) + whole[start + tarfile.BLOCKSIZE :])
        with pytest.raises(ShardError, match=r"a\.tar"):
            read_both_ways(tmp_path)


def test_a_damaged_photo_is_left_out_by_its_id_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    offset = write(path, MANY)[4]
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
    left_out: dict[str, str] = {}
    found = list(read_shards(tmp_path, left_out.__setitem__))
    assert found == [sample for sample in MANY if sample.id != "00004"]
    assert list(left_out) == ["00004"] and "a.tar" in left_out["00004"]
    index = ShardIndex(tmp_path)
    assert index[3] == MANY[3]
    with pytest.raises(ShardError, match="photo 00004 is damaged"):
        index[4]


def test_shards_that_were_swapped_or_are_missing_or_were_added_are_named(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", MANY)
    write(tmp_path / "b.tar", [replace(sample, count=sample.count % 5 + 1) for sample in MANY])
    a, b = ((tmp_path / name).read_bytes() for name in ("a.tar", "b.tar"))
    assert len(a) == len(b)
    (tmp_path / "a.tar").write_bytes(b)
    with pytest.raises(ShardError, match=r"a\.tar is damaged: its records are not those"):
        read_both_ways(tmp_path)
    (tmp_path / "a.tar").unlink()
    with pytest.raises(ShardError, match=r"a\.tar cannot be read"):
        read_both_ways(tmp_path)
    (tmp_path / "a.tar").write_bytes(a)
    (tmp_path / "c.tar").write_bytes(a)
    with pytest.raises(ShardError, match=r"c\.tar is not in the list"):
        read_both_ways(tmp_path)
    with pytest.raises(ShardError, match=r"c\.tar is not in the list"):
        list(read_shards([tmp_path / "c.tar"]))
    (tmp_path / "digests.json").unlink()
    with pytest.raises(ShardError, match=r"has no digests\.json, by which its shards are checked"):
        read_both_ways(tmp_path)


def test_a_record_of_another_photo_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [("1", b"x", {"id": "2", "count": 1})])
    with pytest.raises(ShardError, match=r"'1\.json' is of photo 2"):
        read_both_ways(tmp_path)
