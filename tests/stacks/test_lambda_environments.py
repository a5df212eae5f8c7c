"""Every function reads exactly the variables that its stack sets; a missing one is named."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import pytest

from functions import interface
from stacks import environments
from stacks.settings import load
from stacks.shared.assets import LAMBDA_CODE
from tests.stacks.templates import changed, resources, synthesize, templates

MODULES = sorted(path.stem for path in LAMBDA_CODE.glob("*.py") if "\ndef handler(" in path.read_text())


@cache
def deployed() -> dict[str, dict[str, Any]]:
    """The functions of every environment and setting, by their module: the variables of each."""
    everything = changed(load("dev"), "monitoring", retrain=True)
    everything = changed(everything, "training", on_demand_after_reclaims=2)
    found: dict[str, dict[str, Any]] = {}
    for stacks in (templates("dev"), templates("prod"), synthesize(everything)):
        for template in stacks.values():
            for function in resources(template, "AWS::Lambda::Function").values():
                module = function["Properties"]["Handler"].removesuffix(".handler")
                variables = function["Properties"].get("Environment", {}).get("Variables", {})
                assert found.setdefault(module, variables).keys() == variables.keys(), module
    return found


def test_the_functions_are_those_with_a_handler() -> None:
    assert set(deployed()) == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_a_function_reads_what_its_stack_sets(module: str) -> None:
    name = f"{module.title().replace('_', '')}Environment"
    kind = getattr(importlib.import_module(module), name, None)
    assert kind is getattr(environments, name, None)
    read = {field.name.upper() for field in fields(kind)} if kind else set()
    assert read == set(deployed()[module])
    if kind:
        assert kind.__dataclass_params__.frozen


def test_nothing_else_is_read_from_the_environment() -> None:
    reading = [path for path in LAMBDA_CODE.rglob("*.py") if "os.environ" in path.read_text()]
    assert reading == [LAMBDA_CODE / "functions/interface.py"]


@dataclass(frozen=True)
class Every:
    """Every type that a variable may have."""

    words: tuple[str, ...]
    number: int
    share: float
    text: str
    shares: Mapping[str, float]


GIVEN = {"WORDS": "a b", "NUMBER": "3", "SHARE": "0.5", "TEXT": "a b", "SHARES": '{"1": 0.25}'}


def test_variables_are_read_as_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    assert interface.read_environment(Every) == Every(("a", "b"), 3, 0.5, "a b", {"1": 0.25})


def test_the_stack_writes_what_the_function_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    given: Any = Every(("a", "b"), 3, 0.5, "a b", {"1": 0.25})
    for name, value in environments.variables_of(given).items():
        monkeypatch.setenv(name, value)
    assert interface.read_environment(Every) == given


@pytest.mark.parametrize("name", GIVEN)
def test_one_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for other, value in GIVEN.items():
        monkeypatch.setenv(other, value)
    monkeypatch.delenv(name)
    with pytest.raises(interface.VariableError, match=f"variable {name} of the function is missing"):
        interface.read_environment(Every)


@pytest.mark.parametrize(("name", "value"), [("NUMBER", "3.5"), ("SHARE", "half"), ("SHARES", "{")])
def test_one_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    for other, text in GIVEN.items():
        monkeypatch.setenv(other, text)
    monkeypatch.setenv(name, value)
    with pytest.raises(interface.VariableError, match=f"variable {name} of the function cannot be read"):
        interface.read_environment(Every)
