"""SageMaker operations, one module a resource family; importing this package registers them all."""

import importlib
import pkgutil


def register_all() -> None:
    """Import every module here, so that each `@operation` in it is known to the wire."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
