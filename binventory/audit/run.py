"""The audit's main loop: takes bins as they are listed, keeps a bounded number in flight, stores finished ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Final

from binventory.audit.counters import Counter, PhotoRefusedError
from binventory.audit.database import AuditDatabase, CountedBin, SetAside
from binventory.audit.sources import Bin, Folder, PhotoUnreadableError, Store, read_photo
from binventory.core.errors import Problem
from binventory.records.errors import RecordError
from stacks.vocabulary import CLASSES

# Bins a transaction: large enough to cost nothing, small enough that an interruption loses little.
_BATCH: Final = 64
_FLIGHT_PER_THREAD: Final = 4


@dataclass(frozen=True)
class Scope:
    """The counts that the model knows."""

    classes: tuple[int, ...] = CLASSES

    def require(self, table: Mapping[int, float]) -> None:
        """Raises a Problem when an answer is about other counts."""
        if tuple(table) != self.classes:
            raise Problem(
                "The model counts other quantities than this audit assumes",
                f"it answers {', '.join(map(str, table))}, assumed were {', '.join(map(str, self.classes))}",
                f"say so: --classes {','.join(map(str, table))}",
            )


def audit_bins(
    bins: Iterable[Bin],
    store: Store,
    counter: Counter,
    ledger: AuditDatabase,
    *,
    scope: Scope,
    concurrency: int,
    on_done: Callable[[int], None] = lambda count: None,
) -> None:
    """Count every bin that the ledger lacks; `on_done` is called with how many more are finished.

    What is finished is kept when an exception such as Ctrl-C ends the loop, and the next run continues from there.
    """
    finished: list[CountedBin | SetAside] = []

    def keep() -> None:
        ledger.add(finished)
        on_done(len(finished))
        finished.clear()

    try:
        left = not_yet(bins, ledger, on_done)
        # With answers and records on this computer there is nothing to wait for: threads would only cost time.
        at_hand = not counter.needs_photo and isinstance(store, Folder)
        results = (
            (audit_one(found, store, counter, scope) for found in left)
            if at_hand
            else _in_flight(left, store, counter, scope, concurrency)
        )
        for result in results:
            finished.append(result)
            if len(finished) >= _BATCH:
                keep()
    finally:
        keep()


def audit_one(found: Bin, store: Store, counter: Counter, scope: Scope) -> CountedBin | SetAside:
    """Compare one record with its photo; what cannot be compared is set aside with its reason."""
    try:
        record = found.record()
        if record.recorded not in scope.classes:
            return out_of_scope(found, record.recorded, scope)
        photo = read_photo(store, found.photo) if counter.needs_photo else b""
        table = counter.probabilities(found.image_id, photo)
    except (RecordError, PhotoUnreadableError, PhotoRefusedError) as error:
        return SetAside(found.image_id, found.photo, "not_audited", error.reason, str(error))
    scope.require(table)
    return CountedBin(record, found.photo, table)


def out_of_scope(found: Bin, recorded: int, scope: Scope) -> SetAside:
    """Sets aside a record whose quantity the model does not know."""
    reason = "recorded_below_scope" if recorded < scope.classes[0] else "recorded_above_scope"
    detail = f"the model knows {scope.classes[0]} to {scope.classes[-1]} items only"
    return SetAside(found.image_id, found.photo, "out_of_scope", reason, detail, recorded)


def not_yet(bins: Iterable[Bin], ledger: AuditDatabase, on_done: Callable[[int], None]) -> Iterator[Bin]:
    """The bins that the ledger lacks; the others are done already."""
    for found in bins:
        if ledger.holds(found.image_id):
            on_done(1)
        else:
            yield found


def _in_flight(
    bins: Iterator[Bin], store: Store, counter: Counter, scope: Scope, concurrency: int
) -> Iterator[CountedBin | SetAside]:
    """Results as they come, with never more than a few bins a thread under way.

    After a failure nothing new is begun, but what is under way is finished and yielded: its answers are paid for.
    """
    failure: BaseException | None = None
    with ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="audit") as pool:
        pending: set[Future[CountedBin | SetAside]] = set()
        try:
            while True:
                room = 0 if failure else concurrency * _FLIGHT_PER_THREAD - len(pending)
                for found in itertools.islice(bins, room):
                    pending.add(pool.submit(audit_one, found, store, counter, scope))
                if not pending:
                    break
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    if error := future.exception():
                        failure = failure or error
                    else:
                        yield future.result()
                if failure:
                    pending = {future for future in pending if not future.cancel()}
        except BaseException:
            counter.halt()  # the pool waits for its threads
            raise
        finally:
            for future in pending:
                future.cancel()
    if failure:
        raise failure
