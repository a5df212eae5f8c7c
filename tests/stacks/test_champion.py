"""The champion is the model that serves, after promotions, a failed one, a switch and a change by hand."""

from __future__ import annotations

import pytest

from evaluation.champion import NoPackageError, newest_approved, serving_package
from tests.contract.serving import create_config, wait_while
from tests.stacks.reconciled import Environment, Made


@pytest.fixture
def environment(made: Made) -> Environment:
    """An environment with a serving stack, off."""
    return made(baking=1)


def test_it_is_what_serves_not_what_was_approved_last(environment: Environment) -> None:
    name = environment.name
    assert (serving_package(name), newest_approved(name)) == (None, None)
    first = environment.approved()
    assert (serving_package(name), newest_approved(name)) == (None, first)
    environment.settle()
    assert serving_package(name) == first

    bad = environment.approved(crash=True)
    assert newest_approved(name) == bad
    assert environment.compare()["outcome"] == "promoting"
    assert serving_package(name) == first, "while the other is rolled out"
    environment.settle()
    assert (serving_package(name), newest_approved(name)) == (first, first)

    second = environment.approved()
    environment.settle()
    assert serving_package(name) == second
    environment.judge(second, "Rejected")
    environment.settle()
    assert serving_package(name) == first, "after going back"
    environment.compare(endpoint="off")
    environment.settle()
    assert serving_package(name) is None


def test_an_arn_that_is_no_model_package_is_reported(environment: Environment) -> None:
    environment.approved()
    environment.settle()
    own = environment.aws("sagemaker").describe_endpoint(EndpointName=environment.name)["EndpointConfigName"]
    other = create_config(environment.aws, f"by-hand-{environment.name}", environment.image)
    environment.aws("sagemaker").update_endpoint(EndpointName=environment.name, EndpointConfigName=other)
    wait_while(environment.aws, environment.name, "Updating")
    with pytest.raises(NoPackageError, match=f"serves model {other}, which is no model package"):
        serving_package(environment.name)
    environment.aws("sagemaker").update_endpoint(EndpointName=environment.name, EndpointConfigName=own)
    wait_while(environment.aws, environment.name, "Updating")
