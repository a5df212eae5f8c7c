"""Another allowed value of every setting of an environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from stacks.settings import Settings

Path = tuple[str, ...]
# Which stacks there are, and where: another value is another environment, not an update of this one.
IDENTITY = {"project", "environment", "account", "region"}
# What cannot be guessed from the type, by the setting's path.
GIVEN: dict[str, Any] = {
    "tags": {"team": "returns"},
    "data.photos_uri": "s3://bins-of-ours/",
    "data.labels_uri": "s3://bins-of-ours/labels.csv",
    "training.weights": "s3://bins-of-ours/resnet50.safetensors",
    "training.watch": "overfit=stop:0.3",
    "training.mlflow": "https://mlflow.example.com",
    "tuning.batch_sizes": (16, 32),
    "tuning.ranges": {"weight_decay": {"min": 0.0001, "max": 0.01, "scale": "Logarithmic"}},
    "tuning.warm_start": {"type": "TransferLearning", "parents": ["another-search"]},
    "serving.asynchronous.success_topic": "alerts",
    "serving.asynchronous.error_topic": "none",
    "batch.photos_uris": ("s3://bins-of-ours/more/",),
    "money.anomaly_usd": 25.0,
    "money.alert_emails": ("ops@example.com",),
    "money.serving_hours": {"days": "MON-FRI", "start": "07:00", "end": "19:00", "time_zone": "UTC"},
    "monitoring.count_shares": {"1": 0.2, "2": 0.2, "3": 0.2, "4": 0.2, "5": 0.2},
    "github.repository": "acme/bins",
    "github.owner_id": 11,
    "github.repository_id": 22,
    "github.provider": "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com",
    "github.branch": "release",
    "security.permissions_boundary": "arn:aws:iam::123456789012:policy/boundary",
    "security.role_path": "/workloads/bins/",
}
# Settings that go together with another one.
TOGETHER: dict[str, dict[str, Any]] = {
    "serving.mode": {"serving.data_capture_percent": 0},
    "tuning.hyperband_min_epochs": {"tuning.strategy": "Hyperband", "tuning.early_stopping": "Off"},
    "github.owner_id": {"github.repository": "acme/bins", "github.repository_id": 22},
    "github.repository_id": {"github.repository": "acme/bins", "github.owner_id": 11},
    "github.provider": {"github.repository": "acme/bins"},
}
# Settings with no other value that a deployed environment could take, and why. `prod.` begins those of prod only.
NOT_ALONE = {
    "ec2.image_parameter": "It is looked up while the stack is deployed; tests/contract/test_ec2_stack.py does it.",
    "ec2.vpc_id": "It names a network that exists; tests/contract/test_ec2_stack.py has one.",
    "ec2.subnet_ids": "They belong to ec2.vpc_id.",
    "network.mode": "It needs wheels, and weights that a job in a network reaches; another test changes it.",
    "network.cidr": "It belongs to network.mode.",
    "network.endpoints": "They belong to network.mode.",
    "network.subnet_ids": "They belong to network.mode.",
    "network.security_group_ids": "They belong to network.mode.",
    "prod.storage.retain": "prod retains, and the settings refuse otherwise.",
    "prod.money.idle_hours": "prod has no idle guard, and the settings refuse one.",
}


def fields(model: BaseModel, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """Path, type and value of every setting."""
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        here = (*path, name)
        if isinstance(value, BaseModel) and ".".join(here) not in GIVEN:
            yield from fields(value, here)
        elif not (len(here) == 1 and name in IDENTITY):
            yield here, field.annotation, value


def with_value(settings: Settings, path: Path, value: Any) -> Settings:
    """The settings with one of them changed, checked again."""
    document = settings.model_dump()
    for where, what in {".".join(path): value, **TOGETHER.get(".".join(path), {})}.items():
        *sections, name = where.split(".")
        section = document
        for part in sections:
            section = section[part]
        section[name] = what
    return type(settings).model_validate(document)


def candidates(path: Path, annotation: Any, value: Any) -> Iterator[Any]:
    """Other values, the likeliest first."""
    name = ".".join(path)
    if name in GIVEN:
        yield GIVEN[name]
        return
    literals = [item for item in _literals(annotation) if item != value]
    yield from literals
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1, value + 10, value * 2, value // 2)
    elif isinstance(value, float):
        yield from (value * 0.9, value * 1.1, value + 0.1, value + 1)


def _literals(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for part in get_args(annotation):
            yield from _literals(part)


def changes(settings: Settings) -> Iterator[tuple[str, Settings | None]]:
    """Name of each setting, and the settings with another value of it; None where the other settings allow no other."""
    for path, annotation, value in fields(settings):
        found = None
        for candidate in candidates(path, annotation, value):
            try:
                found = with_value(settings, path, candidate)
            except ValidationError:
                continue
            if found != settings:
                break
            found = None
        yield ".".join(path), found
