"""The model whose answers an audit ranks by: its package, its evaluation, and how far it can be trusted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from binventory.audit.trust import MAX_EVALUATION_BYTES, EvaluationError, Trust, trust_of
from binventory.core.aws import Aws, error_message
from binventory.core.contents import bucket_and_key
from binventory.core.errors import Exit, Problem
from binventory.core.objects import read_whole
from binventory.serving.evaluations import evaluation_address, package_behind


@dataclass(frozen=True)
class AuditModel:
    """The model of an audit."""

    package: str = ""
    """ARN of the model package; "" where the answers name none."""
    evaluation: str = ""
    """Address of its evaluation.json; "" where there is none."""
    trust: Trust | None = None
    unknown: str = ""
    """Why `trust` is None."""

    @property
    def calls_wrong(self) -> bool:
        """Whether records may be called wrong: not by a model that is known to be no better than the majority."""
        return self.trust is None or self.trust.beats_majority

    @property
    def verdict(self) -> str:
        """The first sentence of an audit."""
        if self.trust is None:
            return f"It is not known how far the model can be trusted: {self.unknown}."
        return self.trust.verdict

    def to_json(self) -> dict[str, Any]:
        """As JSON, with the verdict first."""
        return {
            "verdict": self.verdict,
            "trust": None if self.trust is None else self.trust.to_json(),
            "unknown": self.unknown,
            "package": self.package,
            "evaluation": self.evaluation,
        }

    @classmethod
    def of_json(cls, document: str) -> AuditModel:
        """From what `to_json` gave."""
        found = json.loads(document)
        trust = found["trust"]
        if trust is not None:
            trust.pop("beats_majority")
        return cls(found["package"], found["evaluation"], Trust(**trust) if trust else None, found["unknown"])


def model_of_endpoint(aws: Aws, endpoint: str) -> AuditModel:
    """The model that an endpoint serves now."""
    try:
        package = package_behind(aws, endpoint)
    except (ClientError, BotoCoreError, KeyError, IndexError) as error:
        return AuditModel(unknown=f"SageMaker does not say what the endpoint {endpoint} serves ({_said(error)})")
    if not package:
        return AuditModel(unknown=f"the endpoint {endpoint} serves no model package, so no evaluation is registered")
    return model_of_package(aws, package)


def model_of_package(aws: Aws, package: str) -> AuditModel:
    """The model of a package in the registry, with the evaluation that is registered with it."""
    try:
        address = evaluation_address(aws, package)
    except (ClientError, BotoCoreError) as error:
        return AuditModel(package, unknown=f"the model package cannot be described ({_said(error)})")
    if not address:
        return AuditModel(package, unknown="no evaluation is registered with its model package")
    try:
        return AuditModel(package, address, trust_of(_read(aws, address)))
    except (ClientError, BotoCoreError, EvaluationError, ValueError) as error:
        return AuditModel(package, address, unknown=f"its evaluation {address} cannot be used ({_said(error)})")


def model_of_evaluation(aws: Aws | None, address: str) -> AuditModel:
    """The model whose evaluation.json a person names. Raises Problem where that is none."""
    try:
        if address.startswith("s3://") and aws is not None:
            document = _read(aws, address)
        else:
            with Path(address).open("rb") as stream:
                document = stream.read(MAX_EVALUATION_BYTES + 1)
        return AuditModel(evaluation=address, trust=trust_of(document))
    except (ClientError, BotoCoreError, EvaluationError, OSError, ValueError) as error:
        raise Problem(
            f"The evaluation {address} cannot be used",
            _said(error),
            "name the evaluation.json of the model that gave the answers, or leave out --evaluation",
            code=Exit.USAGE,
        ) from error


def _read(aws: Aws, address: str) -> bytes:
    bucket, key = bucket_and_key(address)
    if not address.startswith("s3://") or not key:
        raise EvaluationError("its address is none of an S3 object")
    get = partial(aws.client("s3").get_object, Bucket=bucket, Key=key)
    return read_whole(get, address, most=MAX_EVALUATION_BYTES + 1)


def _said(error: Exception) -> str:
    return error_message(error) if isinstance(error, ClientError) else str(error)
