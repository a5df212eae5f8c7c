"""The server process: `python -m local_aws --state-dir DIR --port PORT`. `LocalAws` starts it."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import boto3

from local_aws import cloudformation
from local_aws.cloudformation.interrupted import made_by_stacks
from local_aws.core import decisions, descriptions, host, shapes
from local_aws.core.context import Context
from local_aws.core.decisions import DecisionLog
from local_aws.core.protocol import TARGETS
from local_aws.door import guarded
from local_aws.http_server import HttpServer, bound
from local_aws.ministack import (
    acting_roles,
    alarm_rules,
    bucket_names,
    buckets,
    copies,
    corrections,
    deliveries,
    due_schedules,
    existing,
    forked_workers,
    function_variables,
    hooks,
    iam,
    invocations,
    late_imports,
    missing_objects,
    named_targets,
    resource_types,
    rule_patterns,
    saving,
    schedules,
    settling,
    signatures,
    workers,
)
from local_aws.other_services import ec2_machines
from local_aws.registry import ADMINISTRATION, AT_START, operations
from local_aws.server import ACCOUNT, REGION
from local_aws.service import SageMakerService

_log = logging.getLogger("local_aws")
# Longer than every stack but one with an endpoint takes, far shorter than a client waits for a reply.
_STACK_SETTLES_SECONDS = 8.0


def main() -> None:
    """Serve until SIGTERM, SIGINT or, with --watch-parent, until standard input closes."""
    parser = argparse.ArgumentParser(prog="python -m local_aws", description="A local AWS with SageMaker")
    parser.add_argument("--state-dir", type=Path, required=True, help="folder of its state, which survives a restart")
    parser.add_argument("--port", type=int, required=True, help="port on loopback")
    parser.add_argument("--account", default=ACCOUNT, help="account number (default %(default)s)")
    parser.add_argument("--region", default=REGION, help="region (default %(default)s)")
    parser.add_argument(
        "--time-scale",
        type=_factor,
        default=1.0,
        help="factor for the waits of rollouts and the periods of alarms (default 1)",
    )
    parser.add_argument("--enforce-iam", action="store_true", help="refuse what policies do not allow")
    parser.add_argument("--watch-parent", action="store_true", help="stop when standard input closes")
    options = parser.parse_args()
    state_dir = options.state_dir.resolve()
    state_dir.mkdir(parents=True, exist_ok=True)
    os.environ[host.PROCESS_MARK] = str(state_dir)
    host.adopt_orphans()
    host.sweep(str(state_dir))
    # Functions' workers have their code there; a killed server leaves it, and the next start removes it.
    temporary = _temporary()
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    tempfile.tempdir = str(temporary)
    hooks.configure(
        state_dir=state_dir,
        port=options.port,
        account=options.account,
        region=options.region,
        enforce_iam=options.enforce_iam,
    )
    late_imports.import_cloudformation()
    boto3.setup_default_session(botocore_session=descriptions.session())
    context = Context(
        state_dir=state_dir,
        port=options.port,
        account=options.account,
        region=options.region,
        time_scale=options.time_scale,
        enforce_iam=options.enforce_iam,
        operations=operations(),
    )
    os.environ.update(context.environment())  # for Lambda functions and every other child process
    try:
        asyncio.run(_serve(context, options.port, watch_parent=options.watch_parent))
    except BaseException:
        _log.exception("the local AWS ended")
        _end(1)


def _factor(text: str) -> float:
    """A number above 0: a period of no length would hold no data, so no alarm would ever ring."""
    factor = float(text)
    if not 0 < factor < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return factor


async def _serve(context: Context, port: int, *, watch_parent: bool) -> None:
    at = bound("127.0.0.1", port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if watch_parent:
        threading.Thread(target=_wait_for_parent, args=(loop, stop), daemon=True).start()
    context.start_thread("start", partial(_begin_work, context, port))
    server = HttpServer(_application(context))
    gc.freeze()  # what a start has made stays
    gc.enable()

    async def until_stopped() -> None:
        await stop.wait()
        # Engines first: they still need the services of ministack.
        await asyncio.to_thread(context.stop)
        server.should_exit = True

    stopping = asyncio.create_task(until_stopped())
    await server.serve([at])
    stopping.cancel()
    _end(0 if server.started else 1)


def _temporary() -> Path:
    return Path(os.environ[host.PROCESS_MARK]) / "tmp"


def _end(status: int) -> NoReturn:
    """End the process at once; all state is stored by now.

    A return would wait for the threads of the event loop, and one of them may wait an hour for a custom resource.
    """
    host.stop_children()
    shutil.rmtree(_temporary(), ignore_errors=True)
    logging.shutdown()
    sys.stdout.flush()
    os._exit(status)


def _application(context: Context) -> Any:
    """ministack's ASGI application, corrected, with the services that it lacks, behind the door."""
    service = SageMakerService(context)
    for name, target in TARGETS.items():
        hooks.add_service(name, [f"{target}."], service.handle)
    hooks.correct_ecr()
    hooks.read_descriptions_with(shapes.service_model)
    corrections.correct_answers(account=context.account)
    alarm_rules.refuse_wrong_alarms()
    rule_patterns.refuse_complex_rules()
    schedules.fill_in_attributes()
    hooks.encrypt_with_the_managed_key(account=context.account, region=context.region)
    existing.keep_what_exists()
    buckets.keep_bucket_properties(shapes.service_model)
    bucket_names.refuse_bucket_names()
    hooks.keep_imported_exports()
    resource_types.hold_templates_to_resource_types()
    due_schedules.keep_time_zones()
    acting_roles.require_trusting_roles(account=context.account, region=context.region)
    function_variables.refuse_long_variables()
    settling.answer_once_settled(_STACK_SETTLES_SECONDS)
    workers.start_quickly()
    forked_workers.fork_workers()
    copies.copy_quickly()
    context.start_thread("saving", saving.save_as_it_changes(context.stopping, partial(made_by_stacks, context)))
    iam.correct_requests()
    signatures.sign_links()
    deliveries.invoke_functions_asynchronously()
    invocations.hold_invocations()
    invocations.require_code()
    named_targets.require_named_targets()
    if context.enforce_iam:
        deliveries.deliver_what_policies_allow(account=context.account, region=context.region)
        iam.check_assumed_roles()
        missing_objects.deny_missing_objects(account=context.account, region=context.region)
        iam.record_decisions(DecisionLog(context.state_dir / decisions.FILE).write)
    cloudformation.add_resource_types(context)
    cloudformation.follow_service_roles(context)
    cloudformation.publish_stack_events(context)
    ec2_machines.serve(context)
    return guarded(context, hooks.application(), ADMINISTRATION)


def _begin_work(context: Context, port: int) -> None:
    """Wait until the port answers, then start every function of `AT_START`."""
    while not context.stopping.is_set() and not host.accepts_connections(port):
        time.sleep(0.02)
    for work in AT_START:
        context.start_thread(f"start {work.__module__}", partial(work, context))


def _wait_for_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """The parent holds the other end of standard input, which closes when the parent ends, also when it is killed."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    loop.call_soon_threadsafe(stop.set)
