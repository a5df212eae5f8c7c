"""The OpenAPI document and the server agree: every allowed request is answered as documented."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serving.openapi import document
from tests import grey_model
from tests.serving_process import Endpoint, running

# pyproject.toml keeps pytest from loading it everywhere: it takes half a second to import.
pytest_plugins = ["schemathesis.pytest.plugin"]


@schemathesis.serializer("application/x-npy", "application/jsonlines", "image/jpg")
def as_bytes(_context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


schema = schemathesis.openapi.from_dict(document())


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("container")
    grey_model.write(folder / "model")
    with running(folder, folder) as server:
        yield server


def test_the_document_is_served(endpoint: Endpoint) -> None:
    assert httpx.get(f"{endpoint.url}/openapi.json").json() == document()


@schema.parametrize()
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)
def test_whatever_is_sent_is_answered_as_documented(case: Any, endpoint: Endpoint) -> None:
    response = case.call(base_url=endpoint.url)
    assert response.status_code < 500 or response.status_code == 503
    case.validate_response(
        response, checks=[status_code_conformance, content_type_conformance, response_schema_conformance]
    )
