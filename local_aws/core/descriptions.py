"""botocore's descriptions of services: everything in this process shares one session, which reads each of them once."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
from botocore.loaders import JSONFileLoader
from botocore.session import Session


class PlainReader(JSONFileLoader):
    """Reads a description into dictionaries, which keep the order too: botocore's OrderedDict takes far longer."""

    def load_file(self, file_path: str) -> Any:
        """The description in `file_path`, a path without its ending; None where there is no such file."""
        for ending, text in ((".json", bytes), (".json.gz", gzip.decompress)):
            with suppress(FileNotFoundError):
                return json.loads(text(Path(file_path + ending).read_bytes()))
        return None


@cache
def session() -> Session:
    """The one session of this process."""
    found = botocore.session.get_session()
    found.get_component("data_loader").file_loader = PlainReader()
    return found
