"""The S3 output of the processing job, written while the job runs.

A retried job finds there what an earlier attempt has finished, and the machines of one job find each other's rows.
SageMaker uploads output only after a job has succeeded, and a lost machine loses its disk. So every finished unit is
uploaded at once, its mark last, to the address where SageMaker would upload it. The next attempt first fetches the
units that have a mark there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import obstore
from obstore.exceptions import BaseError

from binventory.core.contents import bucket_and_key
from ingestion.plan import Unit
from ingestion.rows import Kept
from ingestion.run import IngestError
from ingestion.store import open_store
from ingestion.unit_files import REPORT, Finished, finished_unit, mark_path, unit_paths
from stacks.vocabulary import SPLITS

_CHUNK: Final = 16 * 1024 * 1024
_RETRIES: Final = 8
_AT_ONCE: Final = 16

log = logging.getLogger(__name__)


class DestinationError(IngestError):
    """The machines of a job cannot reach each other's files; the message names the missing permission."""


@dataclass(frozen=True, slots=True)
class Destination:
    """The S3 prefixes of a job's outputs, by folder of the output."""

    prefixes: Mapping[str, str]
    shared: bool = False
    """Whether several machines exchange files there, so that the result depends on it."""

    @classmethod
    def read(cls, job_config: Path, *, shared: bool) -> Destination | None:
        """Read a job's processingjobconfig.json; None without that file, or where an output does not go to S3.

        Raises DestinationError where the machines of a job have no place to meet: none would write the whole report.
        """
        if not job_config.exists():
            return None
        try:
            outputs = json.loads(job_config.read_bytes())["ProcessingOutputConfig"]["Outputs"]
            prefixes = {output["OutputName"]: output["S3Output"]["S3Uri"].rstrip("/") for output in outputs}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            prefixes = {}
        if all(prefixes.get(folder, "").startswith("s3://") for folder in (*SPLITS, REPORT)):
            return cls(prefixes, shared)
        if shared:
            raise DestinationError(
                f"the machines of this job exchange files in its outputs: give it those named {', '.join(SPLITS)} and "
                f"{REPORT}, each with an s3:// address, or one machine"
            )
        return None

    async def restore(self, output: Path, units: Sequence[Unit]) -> None:
        """Fetch the units that an earlier attempt finished with the same data, settings and code."""
        missing = [unit for unit in units if finished_unit(output, unit) is None]
        found = await asyncio.gather(*(self._restore(output, unit) for unit in missing))
        if any(found):
            log.info("%s of %s shards were finished by an earlier attempt", sum(found), len(units))

    async def publish(self, output: Path, mark: Finished) -> None:
        """Upload a finished unit's files to their final addresses, the mark last.

        A single machine only saves time for a retry by this, so there a failure is a warning. Where machines share the
        output, it raises DestinationError.
        """
        try:
            for path in (*unit_paths(output, mark), mark_path(output, mark.unit)):
                await self.put(output, path)
        except DestinationError as error:
            if self.shared:
                raise
            log.warning("%s is finished but could not be saved for a retry: %s", mark.unit, error)

    async def publish_report(self, output: Path) -> None:
        """Upload the report of a run that fails: SageMaker uploads no output of a failed job.

        The run's own error matters more, so a failure here is a warning.
        """
        try:
            for path in sorted((output / REPORT).iterdir()):
                if path.is_file():
                    await self.put(output, path)
            log.info("the report is in %s", self.prefixes[REPORT])
        except DestinationError as error:
            log.warning("%s", error)

    async def put(self, output: Path, path: Path) -> None:
        """Upload one file of the output folder to its final address. Raises DestinationError."""
        store, key = self._place(output, path)
        try:
            await obstore.put_async(store, key, path, chunk_size=_CHUNK, max_concurrency=4)
        except (BaseError, OSError) as error:
            raise DestinationError(_cure(f"{path.name} could not be written", error)) from error

    async def fetch(self, output: Path, paths: Sequence[Path]) -> bool:
        """Download files into an output folder; False when one of them does not exist. Raises DestinationError."""
        limit = asyncio.Semaphore(_AT_ONCE)

        async def fetch(path: Path) -> bool:
            async with limit:
                try:
                    await self._fetch(output, path)
                except FileNotFoundError:
                    return False
                return True

        try:
            return all(await asyncio.gather(*(fetch(path) for path in paths)))
        except (BaseError, OSError) as error:
            raise DestinationError(_cure("what other machines wrote could not be read", error)) from error

    async def photos(self, rows: Sequence[Kept]) -> dict[str, bytes]:
        """The photos of these rows, by id, from the shards of all machines. Raises DestinationError.

        The report holds them to the digests of their rows (`report._check_photos`).
        """

        async def read(row: Kept) -> bytes:
            store, key = self._place(Path(), Path(row.shard))
            return bytes(await obstore.get_range_async(store, key, start=row.offset, length=row.size))

        try:
            found = await asyncio.gather(*(read(row) for row in rows))
        except (BaseError, OSError) as error:
            raise DestinationError(_cure("shards of other machines could not be read", error)) from error
        return {row.id: photo for row, photo in zip(rows, found, strict=True)}

    async def _restore(self, output: Path, unit: Unit) -> bool:
        path = mark_path(output, unit.name)
        try:
            await self._fetch(output, path)
            mark = Finished.read(path)
            if mark is None or mark.fingerprint != unit.fingerprint:
                return False
            for file in unit_paths(output, mark):
                await self._fetch(output, file)
        except (BaseError, OSError):
            # Missing or incomplete: the unit is done again.
            path.unlink(missing_ok=True)
            return False
        return finished_unit(output, unit) is not None

    async def _fetch(self, output: Path, path: Path) -> None:
        store, key = self._place(output, path)
        # Marks are sealed, and have the digests of the files that they name; books are sealed, too.
        answer = await obstore.get_async(store, key)
        part = path.with_name(path.name + ".part")
        with part.open("wb") as stream:
            async for chunk in answer.stream(_CHUNK):
                stream.write(chunk)
        os.replace(part, path)

    def _place(self, output: Path, path: Path) -> tuple[Any, str]:
        folder, *rest = path.relative_to(output).parts
        bucket, prefix = bucket_and_key(self.prefixes[folder])
        return open_store(bucket, "", retries=_RETRIES), "/".join([*([prefix] if prefix else []), *rest])


def _cure(what: str, error: BaseException) -> str:
    reason = str(error).partition("\n")[0][:300]
    return (
        f"{what}: {reason}. Machines of one job exchange files in its output: grant s3:GetObject and s3:PutObject there"
    )
