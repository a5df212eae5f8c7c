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


def logical_id(prefix: str, noun: Noun) -> str:
    """The logical id of an environment's resource, for example `binventorydevmodel` of `binventory-dev`."""
    return f"{prefix}{noun}".replace("-", "")


def name_pattern(prefix: str, noun: Noun) -> str:
    """A pattern of IAM for the names that CloudFormation makes of this logical id."""
    own = logical_id(prefix, noun)
    return f"{own}-*" if len(own) <= _KEPT else f"{own[:_KEPT]}*"
