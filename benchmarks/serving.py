"""How fast and how small the endpoint is: from JPEG bytes over HTTP to the answer, against what others would deploy.

    python -m benchmarks.serving                   # about ten minutes on 2 idle cores
    python -m benchmarks.serving --rounds 1        # shorter
    python -m benchmarks.serving --only ours lite0 # without the other runtimes and servers

All contestants run at once and take turns, so what slows the machine slows every one of them; the goals are ratios.
Ours serves the int8 artefact on OpenVINO; the same network answers everywhere else: eager PyTorch and ONNX Runtime
behind our own server, and TorchServe 0.12 with its image classifier as shipped and in two tunings. TorchServe needs
Java and a separate environment, which is installed under build/ on first use; without Java its rows are left out.
`lite0` is EfficientNet-Lite0 as the pipeline serves it, trained on ../shared/abid-10k on first use.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks import REPOSITORY
from benchmarks.claims import claim, exit_status
from benchmarks.endpoint import lite0
from benchmarks.endpoint.bare import Bare
from benchmarks.endpoint.load import Contestant, NoAnswer, Sample
from benchmarks.endpoint.models import Models, make
from benchmarks.endpoint.torchserve import TUNINGS, Ports, TorchServe, Unavailable
from benchmarks.processor import Processor, this_processor
from inference import model_fn
from local_aws.core.host import free_port
from serving.cores import inference_threads

OURS: Final = "ours"
LITE0: Final = "lite0"
OURS_FP32: Final = "ours fp32"
NETWORKS: Final = {
    "onnxruntime int8, our server": "onnxruntime-int8",
    "onnxruntime fp32, our server": "onnxruntime-fp32",
    "eager PyTorch, our server": "eager",
}
"""Other runtimes behind our server: a contestant's name, and what `benchmarks.endpoint.variants` calls it."""
SHIPPED: Final = "torchserve as shipped"
CONCURRENCIES: Final = (1, 4, 16)
TEN_THOUSAND: Final = REPOSITORY.parent / "shared" / "abid-10k"
_PHOTOS: Final = 64
_BARE_PHOTOS: Final = 20
# Of one contestant's turn. A turn that ends after a quarter of a second measures its own start and end.
_SECONDS: Final = 6.0
_REQUESTS: Final = 40
_MEBIBYTE: Final = 1024**2
_QUIET: Final = {"BINVENTORY_BIND_HOST": "127.0.0.1", "BINVENTORY_METRICS": "off"}


@dataclass(frozen=True)
class Entry:
    """How to start one contestant."""

    name: str
    command: tuple[str, ...]
    port: int
    path: str = "/invocations"
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path = REPOSITORY

    def start(self) -> Contestant:
        """The running process."""
        return Contestant(self.name, self.command, self.port, self.path, {**_QUIET, **self.environment}, self.folder)


def main() -> int:
    """Run, print a table and one line a claim; the exit status is 1 when a claim was missed."""
    options = _options()
    console = Console(width=160, highlight=False)
    processor = this_processor()
    console.print(_describe(processor))
    photos = _photos(options.photos)
    models = make(options.work / "models", photos)
    bare = Bare(model_fn(models.int8), photos[:_BARE_PHOTOS])
    asked: Sequence[str] = options.only or ()
    entries = [entry for entry in _entries(options.work, models, asked) if not asked or entry.name in asked]
    samples = {(entry.name, concurrency): Sample() for entry in entries for concurrency in CONCURRENCIES}
    with ExitStack() as stack:
        running: dict[str, Contestant] = {}
        cold: dict[str, float] = {}
        for entry in entries:
            contestant = entry.start()
            stack.callback(contestant.stop)
            try:
                cold[entry.name] = contestant.first_answer(photos[0])
            except NoAnswer as error:
                contestant.stop()
                if entry.name in (OURS, OURS_FP32, LITE0):
                    # Without it there is no claim that could be missed.
                    sys.exit(f"{entry.name}: {error}")
                console.print(f"note: {entry.name} is left out: {error}")
                continue
            running[entry.name] = contestant
        for turn in range(options.rounds):
            console.print(f"round {turn + 1} of {options.rounds}, load average {os.getloadavg()[0]:.1f}")
            bare.run(running.get(OURS))
            for concurrency in CONCURRENCIES:
                for name, contestant in running.items():
                    contestant.run(
                        photos, concurrency=concurrency, requests=_REQUESTS * concurrency, seconds=_SECONDS,
                        into=samples[name, concurrency],
                    )  # fmt: skip
    cold[OURS] = min([cold[OURS], *_cold_starts(entries, photos[0])]) if OURS in cold else float("nan")
    peaks = {name: contestant.peak_bytes for name, contestant in running.items()}
    console.print(_table(samples, cold, peaks))
    _print_processor_time(console, samples, list(peaks))
    console.print(str(bare))
    _claim(samples, cold, peaks, bare)
    if exit_status() and not processor.has_int8_products:
        console.print(
            "note: this processor has no int8 products (VNNI), which ml.m5.large has; int8 gains 1.6 to 2 here"
        )
    return exit_status()


def _describe(processor: Processor) -> str:
    has, lacks = (", ".join(names) or "none of them" for names in (processor.features, processor.lacks))
    threads = inference_threads()
    return f"processor: {processor.name}, {processor.cpus} CPUs, {threads} inference threads; has {has}; lacks {lacks}"


def _photos(folder: Path | None) -> list[bytes]:
    """Real photos where they are at hand, rendered bins otherwise."""
    folder = folder or REPOSITORY.parent / "shared" / "abid"
    paths = sorted((folder / "bin-images").glob("*.jpg"))
    if paths:
        return [path.read_bytes() for path in paths[:: max(1, len(paths) // _PHOTOS)][:_PHOTOS]]
    return [_rendered(seed) for seed in range(_PHOTOS)]


def _rendered(seed: int) -> bytes:
    import io

    from binventory.render import render_bin

    stream = io.BytesIO()
    render_bin(seed, 1 + seed % 5).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _entries(work: Path, models: Models, asked: Sequence[str]) -> Iterator[Entry]:
    """All contestants; of those that must be installed or trained first, only what was asked for, if anything was."""
    server = str(REPOSITORY / "inference_code" / "server.py")
    for name, artefact in ((OURS, models.int8), (OURS_FP32, models.fp32)):
        port = free_port()
        yield Entry(name, (sys.executable, server, "serve", "--model", str(artefact), "--port", str(port)), port)
    if TEN_THOUSAND.is_dir() and (not asked or LITE0 in asked):
        port = free_port()
        artefact, reason = lite0.make(work / "lite0", TEN_THOUSAND)
        print(f"lite0 is served in {reason}")
        yield Entry(LITE0, (sys.executable, server, "serve", "--model", str(artefact), "--port", str(port)), port)
    for name, network in NETWORKS.items():
        port = free_port()
        module = ("-m", "benchmarks.endpoint.variants", network, str(models.fp32.parent), "--port", str(port))
        yield Entry(name, (sys.executable, *module), port)
    if asked and not any(tuning.name in asked for tuning in TUNINGS):
        return
    try:
        serve = TorchServe.install(work / "torchserve", models)
    except Unavailable as error:
        print(f"note: TorchServe is left out: {error}")
        return
    for tuning in TUNINGS:
        port = free_port()
        command = serve.command(tuning, Ports(port, free_port(), free_port(), free_port(), free_port()))
        # Its process id file lies in the temporary folder: one instance a folder.
        temporary = work / "tmp" / str(tuning.first_worker_port)
        temporary.mkdir(parents=True, exist_ok=True)
        logs = temporary / "logs"
        environment = {
            "PATH": f"{serve.folder / 'bin'}:{os.environ['PATH']}",
            "LOG_LOCATION": str(logs),
            "METRICS_LOCATION": str(logs),
            "TMPDIR": str(temporary),
        }
        if tuning.threads is not None:
            environment["OMP_NUM_THREADS"] = str(tuning.threads)
        yield Entry(tuning.name, tuple(command), port, "/predictions/bins", environment, work)


def _cold_starts(entries: Sequence[Entry], photo: bytes) -> Iterator[float]:
    """Ours again, with nothing else loading."""
    entry = next(entry for entry in entries if entry.name == OURS)
    for _ in range(3):
        contestant = entry.start()
        try:
            yield contestant.first_answer(photo)
        finally:
            contestant.stop()


def _table(samples: dict[tuple[str, int], Sample], cold: dict[str, float], peaks: dict[str, int]) -> Table:
    table = Table(title="JPEG bytes over HTTP to answer; ms, answers a second, CPU ms an answer")
    table.add_column("contestant", no_wrap=True)
    for concurrency in CONCURRENCIES:
        for column in (f"p50 @{concurrency}", "p99", "rate", "CPU ms"):
            table.add_column(column, justify="right")
    for column in ("errors", "peak MB", "cold s"):
        table.add_column(column, justify="right")
    for name in peaks:
        row = [name]
        for concurrency in CONCURRENCIES:
            sample = samples[name, concurrency]
            row += [f"{sample.quantile(0.5):.0f}", f"{sample.quantile(0.99):.0f}"]
            row += [f"{sample.rate:.1f}", f"{sample.cpu_ms:.0f}"]
        errors = sum(samples[name, concurrency].errors for concurrency in CONCURRENCIES)
        table.add_row(*row, str(errors), f"{peaks[name] / _MEBIBYTE:.0f}", f"{cold[name]:.1f}")
    return table


def _print_processor_time(console: Console, samples: dict[tuple[str, int], Sample], names: Sequence[str]) -> None:
    """The comparison that a busy machine disturbs least."""
    if OURS not in names:
        return
    ours = samples[OURS, 16].cpu_ms
    ratios = [f"{name} {samples[name, 16].cpu_ms / ours:.1f}" for name in names if name != OURS]
    console.print(f"processor time an answer at 16: ours {ours:.0f} ms; times that: {', '.join(ratios) or 'none ran'}")


def _claim(samples: dict[tuple[str, int], Sample], cold: dict[str, float], peaks: dict[str, int], bare: Bare) -> None:
    """Print each claim that the contestants of this run allow."""
    if OURS not in peaks:
        return
    p50 = samples[OURS, 1].quantile(0.5)
    claim("server_overhead_over_bare_call", bare.overhead, at_most=0.08)
    claim("int8_call_share_of_int8_peak", bare.share_of_peak, at_least=0.85)
    claim("cold_start_seconds", cold[OURS], at_most=2.0)
    claim("peak_memory_mb", peaks[OURS] / _MEBIBYTE, at_most=250.0)
    claim("server_errors", float(sum(samples[OURS, c].errors for c in CONCURRENCIES)), at_most=0.0)
    if LITE0 in peaks:
        claim("lite0_p50_at_1_times_resnet50", p50 / samples[LITE0, 1].quantile(0.5), at_least=3.0)
        lighter = samples[LITE0, 16].rate / samples[OURS, 16].rate
        claim("lite0_rate_at_16_times_resnet50", lighter, at_least=3.0)
    for name in peaks:
        if name not in (OURS, LITE0) and not name.startswith("torchserve"):
            rival = samples[name, 1].quantile(0.5)
            claim(f"p50_at_1_times_{_slug(name)}", rival / p50, at_least=1.0)
    tuned = [name for name in peaks if name.startswith("torchserve")]
    if SHIPPED not in tuned:
        return
    rate = samples[OURS, 16].rate
    claim("p50_at_1_times_torchserve", samples[SHIPPED, 1].quantile(0.5) / p50, at_least=5.0)
    claim("rate_at_16_times_torchserve", rate / samples[SHIPPED, 16].rate, at_least=16.0)
    if len(tuned) == len(TUNINGS):
        best = max(samples[name, 16].rate for name in tuned)
        claim("rate_at_16_times_best_tuned_torchserve", rate / best, at_least=5.0)
    claim("memory_of_torchserve_times", peaks[SHIPPED] / peaks[OURS], at_least=5.0)


def _slug(name: str) -> str:
    return name.replace(", our server", "").replace(" ", "_").lower()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder with bin-images/ (default ../shared/abid, or rendered)")
    parser.add_argument("--rounds", type=int, default=3)
    names = (OURS, OURS_FP32, LITE0, *NETWORKS, *(tuning.name for tuning in TUNINGS))
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"contestants: {'; '.join(names)}")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "build" / "serving-benchmark")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
