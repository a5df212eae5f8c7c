"""The names that CloudFormation gives to the model and the endpoint configuration, which have none in the template.

It begins them with the logical id. Of most other types it begins them with the stack's name, of these it does not:
https://github.com/aws/aws-cli/issues/4021. So the logical ids hold the environment, and a policy can name what is of
it. They are in small letters, because SageMaker's ARNs may have names so.
"""

from __future__ import annotations

from typing import Final, Literal

Noun = Literal["model", "endpoint-config"]
"""The kind of resource, as ARNs have it."""
_KEPT: Final = 27
"""Letters of the logical id that a name keeps at least: of 40 characters, `-` and twelve are CloudFormation's own."""
_KEPT_OF_STACK: Final = 24
"""Letters of the stack's name that a name keeps at least: it shares 63 with the logical id, `-` twice and twelve."""


def logical_id(prefix: str, noun: Noun) -> str:
    """The logical id of an environment's resource, for example `binventorydevmodel` of `binventory-dev`."""
    return f"{prefix}{noun}".replace("-", "")


def name_patterns(stack_name: str, prefix: str, noun: Noun) -> tuple[str, str]:
    """Patterns of IAM for the names that CloudFormation makes of this logical id.

    AWS promises no form: the second is that of most other types, should these come to follow it.
    """
    return _beginning(logical_id(prefix, noun), _KEPT), _beginning(stack_name, _KEPT_OF_STACK)


def _beginning(text: str, kept: int) -> str:
    return f"{text}-*" if len(text) <= kept else f"{text[:kept]}*"
