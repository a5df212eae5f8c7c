"""What a function's worker does first, so that it starts in two thirds of the time; `workers.py` puts it there.

A stand-alone text, because the worker's process can import the function's packages only. Most of a cold start is
botocore: the descriptions of services that it reads, and the garbage collector, which looks through them in vain.
"""

import gc
import gzip
import json
from typing import Any

gc.set_threshold(200_000, 10, 10)  # more than a few clients of boto3 make


def read_descriptions_quickly() -> None:
    """Let the botocore that the function finds read descriptions into dictionaries, which keep the order too.

    Its OrderedDict takes far longer.
    """
    try:
        from botocore.loaders import JSONFileLoader
    except ImportError:  # the function has none
        return

    def load_file(_: object, file_path: str) -> Any:
        for ending, opened in ((".json", open), (".json.gz", gzip.open)):
            try:
                with opened(file_path + ending, "rb") as file:
                    return json.loads(file.read())
            except FileNotFoundError:
                continue
        return None

    reader: Any = JSONFileLoader
    reader.load_file = load_file
