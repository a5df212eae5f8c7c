"""The endpoint's interface as an OpenAPI document, for people, client generators and tests."""

from __future__ import annotations

from typing import Any, Final

from serving.refusals import MAX_PHOTOS
from serving.requests import CSV, IMAGES, JSON, JSON_LINES, NPY

_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}
_BASE64: Final = {"type": "string", "contentEncoding": "base64", "minLength": 1}
_REFERENCES: Final = {name: {"$ref": f"#/components/schemas/{name}"} for name in ("Answer", "Refusal", "Origin")}

_ERRORS: Final = {
    400: "No photo could be read; the reason is stable, the message says what to do.",
    406: "None of the acceptable media types can be written.",
    408: "The request's body did not arrive in time.",
    413: "The request, or its only photo, is too large.",
    415: "The content type is not read here; URLs are fetched by the client, never by the endpoint.",
    503: "As much waits as the server holds; try again after Retry-After seconds.",
}


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Binventory endpoint",
            "version": "1",
            "description": "Counts the items in a warehouse bin from its photo.",
        },
        "paths": {
            "/ping": {"get": {"operationId": "ping", "responses": _ping_responses()}},
            "/execution-parameters": {
                "get": {
                    "operationId": "execution_parameters",
                    "summary": "What Batch Transform may send",
                    "responses": {
                        "200": {
                            "description": "Limits for Batch Transform",
                            "content": {JSON: {"schema": _object(_EXECUTION_PARAMETERS)}},
                        }
                    },
                }
            },
            "/invocations": {
                "post": {
                    "operationId": "count",
                    "summary": "Count the items in one photo or in several",
                    "parameters": [{"name": "Accept", "in": "header", "schema": {"type": "string"}}],
                    "requestBody": {"required": True, "content": _request_content()},
                    "responses": {
                        "200": {"description": "The counts, in the order of the photos", "content": _answers()},
                        **{str(status): _error(description) for status, description in _ERRORS.items()},
                    },
                }
            },
        },
        "components": {
            "schemas": {
                "Answer": _object(_ANSWER),
                "Refusal": _object({"error": _object(_ERROR)}),
                "Origin": _object(_ORIGIN),
            }
        },
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _ping_responses() -> dict[str, Any]:
    return {"200": {"description": "The model has answered its self-test photo"}, "503": _error("The model stopped")}


def _error(description: str) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": _REFERENCES["Refusal"]}}}


def _request_content() -> dict[str, Any]:
    one = {"type": "object", "properties": {"photo": _BASE64}, "required": ["photo"], "additionalProperties": False}
    many = {"type": "array", "items": _BASE64, "minItems": 1, "maxItems": MAX_PHOTOS}
    several = {"type": "object", "properties": {"photos": many}, "required": ["photos"], "additionalProperties": False}
    return {
        **dict.fromkeys(IMAGES, _BYTES),
        NPY: {**_BYTES, "description": "uint8 [height, width, 3] or [photos, height, width, 3]"},
        JSON: {"schema": {"oneOf": [one, several]}},
        JSON_LINES: {"schema": {"type": "string", "description": 'one {"photo": "<base64>"} a line'}},
    }


def _answers() -> dict[str, Any]:
    one = {"allOf": [_REFERENCES["Answer"], _REFERENCES["Origin"]]}
    listed = {"type": "array", "items": {"oneOf": [_REFERENCES["Answer"], _REFERENCES["Refusal"]]}}
    several = {"allOf": [_object({"predictions": listed}), _REFERENCES["Origin"]]}
    return {
        JSON: {"schema": {"oneOf": [one, several]}},
        JSON_LINES: {"schema": {"type": "string"}},
        CSV: {"schema": {"type": "string"}},
    }


_SHARE: Final = {"type": "number", "minimum": 0, "maximum": 1}
_NUMBER: Final = {"type": "number", "minimum": 0}
_TEXT: Final = {"type": "string"}
_ANSWER: Final = {
    "count": {"type": "integer", "minimum": 0},
    "probabilities": {"type": "object", "additionalProperties": _SHARE},
    "expected_count": _NUMBER,
    "entropy": {**_NUMBER, "description": "in nats; 0 is certain"},
}
_ERROR: Final = {"reason": _TEXT, "message": _TEXT}
_ORIGIN: Final = {
    "model": _object({"package": _TEXT, "precision": _TEXT, "sha256": _TEXT}),
    "latency_ms": _object({"decode": _NUMBER, "queue": _NUMBER, "model": _NUMBER}),
}
_EXECUTION_PARAMETERS: Final = {
    "MaxConcurrentTransforms": {"type": "integer", "minimum": 1},
    "BatchStrategy": {"const": "SINGLE_RECORD"},
    "MaxPayloadInMB": {"type": "integer", "minimum": 1},
}
