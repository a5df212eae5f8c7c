"""Services of ministack that no stack here uses, imported when somebody first uses them.

ministack's CloudFormation imports every service that it has a resource type of, which is most of what a start takes:
Cognito alone makes an RSA key.

Uses these internals of version 1.5.33: `services.cloudformation` names other services by module and reads their
attributes only in functions, and `app` loads a service by its module's name. tests/contract/test_hooks.py fails for a
service that moved when ministack is upgraded.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any, Final

LATE: Final = (
    "acm",
    "alb",
    "apigateway",
    "apigateway_v1",
    "appconfig",
    "appsync",
    "athena",
    "autoscaling",
    "backup",
    "cloudfront",
    "codebuild",
    "cognito",
    "documentdb",
    "dynamodb",
    "ecs",
    "efs",
    "elasticache",
    "firehose",
    "glue",
    "iot",
    "kinesis",
    "kinesisanalyticsv2",
    "opensearch",
    "pipes",
    "rds",
    "route53",
    "s3tables",
    "secretsmanager",
    "servicediscovery",
    "ses",
    "ses_v2",
    "stepfunctions",
    "waf",
)
"""In `ministack.services`; what a service here imports itself must be here, too, to be late."""


class _Late(ModuleType):
    """Stands in for a module, and imports it at the first use of an attribute."""

    def __getattr__(self, attribute: str) -> Any:
        _step_aside(self)
        return getattr(importlib.import_module(self.__name__), attribute)


def import_cloudformation() -> None:
    """Import ministack's CloudFormation without the services of `LATE`."""
    names = [f"ministack.services.{service}" for service in LATE]
    stand_ins = [_Late(name) for name in names if name not in sys.modules]
    sys.modules.update({module.__name__: module for module in stand_ins})
    try:
        importlib.import_module("ministack.services.cloudformation")
    finally:
        for module in stand_ins:
            _step_aside(module)


def _step_aside(module: ModuleType) -> None:
    """From now on an import of this name imports the real module; ministack saves what it finds imported."""
    if sys.modules.get(module.__name__) is module:
        del sys.modules[module.__name__]
