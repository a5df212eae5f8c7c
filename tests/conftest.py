"""Fixtures for all kinds of tests."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import psutil
import pytest
from botocore.loaders import JSONFileLoader, Loader

import arithmetic
from binventory.core.names import Names
from binventory.core.processors import usable_cpus
from binventory.core.tools import search_path
from local_aws.core.descriptions import PlainReader

# Two test processes for each core: more threads of BLAS only wait for each other. Read when numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# The stacks that tests build start Node, and a computer need not have another one than set-up's.
os.environ["PATH"] = search_path()
# A loaded machine makes any example slow once; no test asserts a time.
hypothesis.settings.register_profile("binventory", deadline=None)
hypothesis.settings.load_profile("binventory")

WITHOUT_BF16 = ("FP32", "INT8", "BIN")
"""What OpenVINO finds in a processor that lacks bf16."""
NAMES = Names("dev", "binventory")
"""Of the environment as it is shipped."""
REPOSITORY = Path(__file__).resolve().parent.parent
MEMORY_OF_A_WORKER = 2 * 2**30
SLOW = (
    "unit/test_environment_setup.py",
    "stacks/test_promotion_commands.py",
    "unit/test_environment_pytorch.py",
    "stacks/policies/test_synthesis_refuses.py",
    "unit/test_ingest_processes.py",
    "contract/test_hosting_rollout.py",
    "unit/test_train_evaluate.py",
    "unit/test_train_quantisation.py",
    "unit/test_serving_http.py",
    "stacks/test_reconcile_rollouts.py",
    "contract/test_server.py",
    "unit/test_docs_commands.py",
    "stacks/test_reconcile_events.py",
    "stacks/test_terminal.py",
    "unit/test_ingest.py",
    "contract/test_todays_photos.py",
    "contract/test_killed.py",
    "contract/test_tuning.py",
    "unit/test_train_resume.py",
    "unit/test_review.py",
    "browser/test_audit_page.py",
    "contract/test_batch.py",
    "unit/test_doctor.py",
    "stacks/test_guards.py",
    "contract/test_spot_machines.py",
    "stacks/test_strict_accounts.py",
    "stacks/test_pipeline.py",
    "stacks/test_rollouts.py",
    "stacks/test_monitoring.py",
    "unit/test_synthesis_alone.py",
    "unit/test_ingest_faults.py",
    "unit/test_arithmetic.py",
    "contract/test_stack_refusals.py",
    "unit/test_features_of_stages.py",
    "unit/test_train_ranks.py",
    "unit/test_train_embed.py",
    "stacks/test_spot_fallback.py",
    "unit/test_cli.py",
    "unit/test_render.py",
    "contract/test_lambda_steps.py",
    "stacks/test_reconcile.py",
    "unit/test_cli_terminal.py",
    "unit/test_judged_is_served.py",
    "stacks/test_synthesis.py",
    "unit/test_rehearsal_parts.py",
    "contract/test_wire.py",
    "contract/test_ingest_machines.py",
    "unit/test_cost_refresh.py",
    "stacks/test_reconcile_stack.py",
    "contract/test_docker.py",
    "unit/test_audit_job.py",
    "contract/test_ingest_s3.py",
    "unit/test_workflows.py",
    "unit/test_train_openvino.py",
    "contract/test_door.py",
    "unit/test_ingest_photos.py",
    "contract/test_count_list.py",
    "stacks/test_github.py",
    "contract/test_training.py",
    "unit/test_prose.py",
    "stacks/test_ec2.py",
    "unit/test_photo_upright.py",
    "unit/test_metrics.py",
    "contract/test_opt_ml.py",
    "unit/test_serving_artefact.py",
    "contract/test_pipelines.py",
    "browser/test_evaluation_page.py",
    "contract/test_refused_at_once.py",
    "stacks/test_settings.py",
    "browser/test_run_report.py",
    "contract/test_toolkit_downloads.py",
)
"""The files that take six seconds of a processor or more, their processes included, the longest first."""
collect_ignore = ["clients"]
"""Run in environments of their own, by `make test-clients`."""


def pytest_configure(config: pytest.Config) -> None:
    """PyTorch computes in one thread, here and in what the tests start: more of them spin beside other tests' threads.

    In a rehearsal, which runs alone, jobs take the threads that they take for a user.
    """
    if config.option.markexpr != "rehearsal":
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--precision",
        choices=("auto", "fp32"),
        default="auto",
        help="fp32: every choice of precision is made as on a processor without bf16 (default: what this one has)",
    )


def pytest_xdist_auto_num_workers() -> int:
    """Two processes for each core, because a test waits for others half of its time; fewer where memory is short."""
    room = psutil.virtual_memory().available // MEMORY_OF_A_WORKER
    return max(2, min(2 * usable_cpus(), room))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first: one that starts last would be waited for alone."""
    tests = REPOSITORY / "tests"
    place = {tests / name: number for number, name in enumerate(SLOW)}
    items.sort(key=lambda item: place.get(item.path, len(SLOW)))


@cache
def _description(path: str) -> Any:
    return PlainReader().load_file(path)


@cache
def _services(kind: str, *paths: str, listed: Any = Loader.list_available_services) -> Any:
    return listed(Loader(extra_search_paths=list(paths), include_default_search_paths=False), kind)


@pytest.fixture(scope="session", autouse=True)
def descriptions_of_services() -> Iterator[None]:
    """Each command makes a session of boto3, which looks into the folders of 400 services and reads what it needs.

    Here once in a process.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: _description(path))
        patch.setattr(Loader, "list_available_services", lambda self, kind: _services(kind, *self.search_paths))
        yield


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported stays: the garbage collector need not look through aws_cdk and torch, again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(50_000, 10, 10)
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def processor(request: pytest.FixtureRequest) -> Iterator[None]:
    """The processor features that this run's choice of precision finds."""
    with pytest.MonkeyPatch.context() as patch:
        if request.config.getoption("--precision") == "fp32":
            patch.setattr(arithmetic, "capabilities_of_cpu", lambda: WITHOUT_BF16)
        yield


@pytest.fixture(params=("fp32", "bf16"))
def precision(request: pytest.FixtureRequest) -> str:
    """Each of the floats that a CPU may compute in; skips, with the reason, what cannot be tried here."""
    tried = str(request.param)
    if tried not in arithmetic.floats_of_cpu():
        forced = request.config.getoption("--precision") == "fp32"
        pytest.skip(f"{tried} was not tried: {'--precision fp32' if forced else 'this processor does not have it'}")
    return tried


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def abid() -> Path:
    """Real photos of the Amazon Bin Image Dataset, laid out like the public bucket; skips where they are absent."""
    folder = REPOSITORY.parent / "shared" / "abid"
    if not folder.is_dir():
        pytest.skip("no real bin photos at ../shared/abid")
    return folder
