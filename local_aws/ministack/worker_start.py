"""What a function's worker does first, so that it starts quickly; `workers.py` puts it there.

A stand-alone text, because the worker's process can import the function's packages only. Most of a cold start is
botocore: the descriptions of services that it reads, and the garbage collector, which looks through them in vain.
"""

import gc
import gzip
import json
from typing import Any

described: dict[Any, Any] = globals().get("described", {})
"""What the process has read from which this one was forked: descriptions by path, names of services by folders."""
gc.set_threshold(200_000, 10, 10)  # more than a few clients of boto3 make


def read_descriptions_quickly() -> None:
    """Let the botocore that the function finds read descriptions into dictionaries, which keep the order too.

    Its OrderedDict takes far longer.
    """
    try:
        from botocore.loaders import JSONFileLoader, Loader
    except ImportError:  # the function has none
        return

    def load_file(_: object, file_path: str) -> Any:
        if file_path in described:
            return described[file_path]
        for ending, opened in ((".json", open), (".json.gz", gzip.open)):
            try:
                with opened(file_path + ending, "rb") as file:
                    described[file_path] = json.loads(file.read())
            except FileNotFoundError:
                continue
            return described[file_path]
        return None

    def list_available_services(self: Any, type_name: str, listed: Any = Loader.list_available_services) -> Any:
        folders = (type_name, *self.search_paths)
        if folders not in described:
            described[folders] = listed(self, type_name)
        return described[folders]

    reader: Any = JSONFileLoader
    reader.load_file = load_file
    lister: Any = Loader
    lister.list_available_services = list_available_services
