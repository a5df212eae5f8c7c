"""How the local AWS reads botocore's descriptions of services."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore.loaders import JSONFileLoader

from local_aws.core.descriptions import PlainReader

DATA = Path(botocore.__file__).parent / "data"


@pytest.mark.parametrize(
    ("name", "ending", "opened"),
    [("sagemaker/2017-07-24/service-2", ".json.gz", gzip.open), ("partitions", ".json", open)],
)
def test_a_description_is_what_botocore_reads(name: str, ending: str, opened: Callable[..., Any]) -> None:
    """The members come in the same order, too."""
    path = str(DATA / name)
    botocores: Any = JSONFileLoader()
    expected = botocores._load_file(path + ending, opened)  # tests replace its load_file, see conftest.py
    assert json.dumps(PlainReader().load_file(path)) == json.dumps(expected)


def test_a_service_that_nobody_describes_has_no_description() -> None:
    """botocore then looks in the next folder."""
    assert PlainReader().load_file(str(DATA / "nobody" / "2000-01-01" / "service-2")) is None
