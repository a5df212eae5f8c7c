"""How fast photos become shards: ingest against a sequential boto3 download and against what the cores can decode.

    python -m benchmarks.ingest                   # about five minutes on 2 idle cores
    python -m benchmarks.ingest --quick           # shorter, without the 20,000 photos

Both sides read from the same local S3 (benchmarks/object_server.py), in another process on the same cores, which adds
100 ms to each request. Rounds are interleaved, so what slows the machine slows both sides. The goals are ratios:
times hold for one machine only. The sequential side reads a photo and nothing else; ingest reads its metadata as well,
so it makes two requests a photo, and its time includes its start, the listing and the report.

The server's CPU time is not subtracted: it is printed beside each figure, with that of other programs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import boto3
import psutil
from botocore import UNSIGNED
from botocore.config import Config

from benchmarks import REPOSITORY, RUNTIME
from benchmarks.claims import claim, exit_status
from benchmarks.object_server import BUCKET
from binventory.cost import prices
from ingestion.intake import SHORTER_SIDE, Workbench, plain_jpeg_size
from ingestion.source import BinSource
from ingestion.throttle import in_order
from ingestion.work import WorkLimits
from photo import open_photo, resize_shorter_side

# The whole data set: listed photos, and at most those with a count of 1 to 5.
WHOLE_LISTED: Final = 535_234
WHOLE_KEPT: Final = 324_735
# Four hyperthreads, counted as the two cores that they share.
MACHINE: Final = "ml.m5.xlarge"
CORES_A_MACHINE: Final = 2
# Image pull, listing and the upload of the shards.
START_HOURS: Final = 6 / 60
URL: Final = f"s3://{BUCKET}/"
CORES: Final = 2
SEQUENTIAL: Final = "sequential boto3 download"
BARE: Final = "bare download"
PILLOW: Final = "decode and resize, Pillow"
OWN: Final = "decode and resize, ingest's own"
INGEST: Final = "ingest"


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement of one contestant."""

    photos: int
    seconds: float
    cpu: float
    """CPU seconds of the contestant alone."""
    server: float = 0.0
    """CPU seconds of the object server meanwhile."""
    others: float = 0.0
    """CPU seconds of everything else on the machine meanwhile."""
    peak: int = 0
    """Peak memory in bytes, where it ran in a separate process."""

    @property
    def rate(self) -> float:
        """Photos a second."""
        return self.photos / self.seconds

    @property
    def rate_alone(self) -> float:
        """Photos a second if it and the server kept all cores busy; neighbours lengthen CPU times, so rather low."""
        return self.photos * CORES / (self.cpu + self.server)


def clocked(photos: int, work: Callable[[], object]) -> Measured:
    """Run the work in this process."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return Measured(photos, time.perf_counter() - began, time.process_time() - cpu)


def boto3_sequential(endpoint: str, photos: int) -> Measured:
    """What the capstones did: one photo after the other, kept nowhere."""
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", config=Config(signature_version=UNSIGNED)
    )
    client.get_object(Bucket=BUCKET, Key="bin-images/00001.jpg")["Body"].read()

    def work() -> None:
        for number in range(1, photos + 1):
            client.get_object(Bucket=BUCKET, Key=f"bin-images/{number:05}.jpg")["Body"].read()

    return clocked(photos, work)


def bare_download(photos: int) -> Measured:
    """Ingest's own reader, with as many requests in flight, without decoding or writing."""

    async def run() -> Measured:
        source = BinSource(URL, concurrency=WorkLimits.of(CORES).concurrency)
        found = (await source.list_photos())[:photos]
        began, cpu = time.perf_counter(), time.process_time()
        async for _ in in_order(found, source.photo, 1024):
            pass
        return Measured(len(found), time.perf_counter() - began, time.process_time() - cpu)

    return asyncio.run(run())


def decode_and_resize(originals: Sequence[bytes], tool: Callable[[], Callable[[bytes], object]]) -> Measured:
    """The limit: the same photos from memory, decoded and resized on all cores, with nothing else to do.

    Every core has its own resizer and buffers.
    """

    def share(number: int) -> None:
        use = tool()
        for data in originals[number::CORES]:
            use(data)

    def work() -> None:
        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(share, range(CORES)))

    return clocked(len(originals), work)


def with_pillow() -> Callable[[bytes], object]:
    """What a plain loop does."""
    return lambda data: resize_shorter_side(open_photo(data), SHORTER_SIDE)


def with_a_workbench() -> Callable[[bytes], object]:
    """What ingest does to a plain JPEG, as bin photos are."""
    bench = Workbench()

    def use(data: bytes) -> object:
        size = plain_jpeg_size(data)
        pixels = size and bench.decode(data, size)
        assert pixels is not None, "bin photos are plain JPEGs"
        return bench.resize_shorter_side(pixels, SHORTER_SIDE)

    return use


def whole_ingest(photos: int, endpoint: str) -> Measured:
    """The command as people run it, in a separate process: from the bucket to finished shards and report."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(RUNTIME[0] / "ingest.py"), "--photos-uri", URL, "--output", f"{folder}/out"]
        command += ["--cores", str(CORES)]
        environment = {**os.environ, "AWS_ENDPOINT_URL": endpoint, "PYTHONPATH": os.pathsep.join(map(str, RUNTIME))}
        with (Path(folder) / "log").open("w") as log:
            began = time.perf_counter()
            process = psutil.Popen(command, env=environment, stdout=log)
            peak = peak_memory(process)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - began
        said = (Path(folder) / "log").read_text()
    if status != 0 or f"= {photos:,} kept" not in said:
        raise SystemExit(f"ingest did not keep all {photos} photos:\n{said}")
    return Measured(photos, seconds, usage.ru_utime + usage.ru_stime, peak=peak)


def peak_memory(process: psutil.Popen) -> int:
    """Watch a process and its workers until it ends; the sum of the most that each has held (an upper bound)."""
    return peaks_of_memory(process)[0]


def peaks_of_memory(process: psutil.Popen) -> tuple[int, int]:
    """As `peak_memory`; and the most that all of them held at the same time, of ten looks a second.

    There, files that are mapped, which are nearly the same in all of them, count once.
    """
    peaks: dict[int, int] = {}
    most = 0
    while process.status() != psutil.STATUS_ZOMBIE:
        own, files = 0, 0
        for member in (process, *process.children(recursive=True)):
            with suppress(OSError, IndexError):
                status = Path(f"/proc/{member.pid}/status").read_text()
                peak, anonymous, mapped, shared = (
                    int(status.partition(f"{name}:")[2].split()[0]) * 1024
                    for name in ("VmHWM", "RssAnon", "RssFile", "RssShmem")
                )
                peaks[member.pid] = peak
                own, files = own + anonymous + shared, max(files, mapped)
        most = max(most, own + files)
        time.sleep(0.1)
    return sum(peaks.values()), most


@dataclass(frozen=True, slots=True)
class Server:
    """The local S3 in a separate process."""

    endpoint: str
    process: psutil.Process

    def cpu(self) -> float:
        """CPU seconds it has used so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def object_server(folder: Path, photos: int, latency: float) -> Iterator[Server]:
    """Run the local S3."""
    command = [sys.executable, "-m", "benchmarks.object_server", str(folder), "--photos", str(photos)]
    command += ["--latency", str(latency)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        endpoint = process.stdout.readline().strip()
        if not endpoint:
            # Without an address its readers would ask AWS.
            raise SystemExit(f"the local S3 does not start with the photos of {folder}")
        os.environ["AWS_ENDPOINT_URL"] = endpoint
        yield Server(endpoint, psutil.Process(process.pid))
    finally:
        os.environ.pop("AWS_ENDPOINT_URL", None)
        process.terminate()
        process.wait()


def machine_cpu() -> float:
    """CPU seconds that all programs of this machine have used so far."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def accompanied(server: Server, contestant: Callable[[], Measured]) -> Measured:
    """Measure a contestant, and what else ran meanwhile."""
    began, all_began = server.cpu(), machine_cpu()
    measured = contestant()
    served = server.cpu() - began
    others = max(0.0, machine_cpu() - all_began - served - measured.cpu)
    return replace(measured, server=served, others=others)


def speed(folder: Path, *, rounds: int, photos: int, latency: float) -> None:
    """Ingest, bare download, sequential boto3 and the decoding limits, in turn."""
    sample = [path.read_bytes() for path in sorted((folder / "bin-images").glob("*.jpg"))]
    seen: dict[str, list[Measured]] = {}
    with object_server(folder, photos, latency) as server:
        contestants: dict[str, Callable[[], Measured]] = {
            SEQUENTIAL: lambda: boto3_sequential(server.endpoint, 50),
            BARE: lambda: bare_download(min(photos, 6000)),
            PILLOW: lambda: decode_and_resize(sample, with_pillow),
            OWN: lambda: decode_and_resize(sample, with_a_workbench),
            INGEST: lambda: whole_ingest(photos, server.endpoint),
        }
        for number in range(rounds):
            for name, contestant in contestants.items():
                measured = accompanied(server, contestant)
                seen.setdefault(name, []).append(measured)
                print(f"round {number + 1}  {name:34} {_line(measured)}", flush=True)

    def ratio(upper: str, lower: str) -> float:
        return statistics.median(a.rate / b.rate for a, b in zip(seen[upper], seen[lower], strict=True))

    claim("ingest_times_sequential_boto3", ratio(INGEST, SEQUENTIAL), at_least=60)
    claim("download_times_sequential_boto3", ratio(BARE, SEQUENTIAL), at_least=190)
    claim("ingest_share_of_decode_limit", ratio(INGEST, PILLOW), at_least=0.8)
    cpu = {name: statistics.median(m.cpu / m.photos for m in measured) for name, measured in seen.items()}
    claim("ingest_share_of_own_decode_limit", cpu[OWN] / cpu[INGEST], at_least=0.6)
    print(
        f"of the limit with ingest's own decoding and resizing: {ratio(INGEST, OWN):.2f} of the photos a second; "
        f"decoding and resizing are {cpu[OWN] / cpu[INGEST]:.2f} of all CPU that ingest uses, its start included",
        flush=True,
    )
    alone = {name: statistics.median(m.rate_alone for m in measured) for name, measured in seen.items()}
    sequential = statistics.median(m.rate for m in seen[SEQUENTIAL])
    print(
        f"computed from CPU times, as if no other program ran: ingest {alone[INGEST]:.0f} photos/s, "
        f"{alone[INGEST] / sequential:.0f} times sequential, {alone[INGEST] / alone[PILLOW]:.2f} of the limit with "
        f"Pillow, {alone[INGEST] / alone[OWN]:.2f} of the limit with its own decoding",
        flush=True,
    )
    plan(kept=cpu[INGEST], skipped=cpu[BARE])


def _line(measured: Measured) -> str:
    each = 1000 / measured.photos
    return (
        f"{measured.rate:8.1f} photos/s  {each * measured.cpu:5.2f} ms CPU a photo, "
        f"server {each * measured.server:.2f}, others {measured.others / measured.seconds / CORES:.0%} of the cores"
    )


def plan(*, kept: float, skipped: float) -> None:
    """Machines and hours for the whole dataset, from measured CPU seconds a photo that is kept, and one that is not."""
    total = WHOLE_KEPT * kept + (WHOLE_LISTED - WHOLE_KEPT) * skipped
    each = f"{1000 * kept:.2f} ms a photo kept, {1000 * skipped:.2f} ms for any other"
    print(f"the whole dataset: {total / 3600:.2f} core hours, {each}")
    known = prices.load("us-east-1")
    for machines in (1, 2, 4, 8):
        hours = total / 3600 / machines / CORES_A_MACHINE + START_HOURS
        dollars = hours * machines * known.instance_hour(MACHINE)
        print(f"  {machines} x {MACHINE}: {60 * hours:.0f} minutes, ${dollars:.2f}", flush=True)


def memory(folder: Path, *, few: int, many: int) -> None:
    """Peak memory of ingest with few and with many photos."""
    peaks = []
    for photos in (few, many):
        with object_server(folder, photos, 0.01) as server:
            measured = whole_ingest(photos, server.endpoint)
        peaks.append(measured.peak)
        print(f"{photos:,} photos: at most {measured.peak / 2**20:.0f} MiB, {measured.rate:.0f} photos/s", flush=True)
    claim(f"peak_memory_{many}_to_{few}_photos", peaks[1] / peaks[0], at_most=1.25)


def main() -> int:
    """Measure and print; the exit status is 1 when a claim was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos-folder", type=Path, default=REPOSITORY.parent / "shared" / "abid")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=int, default=12_000, help="in the bucket, for each round")
    parser.add_argument("--latency", type=float, default=0.1, help="seconds added to each request")
    parser.add_argument("--quick", action="store_true", help="one round, and memory up to 4,000 photos")
    args = parser.parse_args()
    if not (args.photos_folder / "bin-images").is_dir():
        raise SystemExit(f"{args.photos_folder} holds no bin-images; give --photos-folder with real photos")
    speed(args.photos_folder, rounds=1 if args.quick else args.rounds, photos=args.photos, latency=args.latency)
    memory(args.photos_folder, few=1000, many=4000 if args.quick else 20_000)
    return exit_status()


if __name__ == "__main__":
    sys.exit(main())
