"""The base of every section of the settings, and types that several sections use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

from stacks.names import problem_of_address


class Section(BaseModel):
    """A group of settings: immutable; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def wrong_setting(message: str, **context: Any) -> PydanticCustomError:
    """The error of a check. `field` and `value` in the context name another field than the one that was checked."""
    # pydantic requires literal templates so that they can be translated. Every caller passes a literal.
    return PydanticCustomError("wrong_setting", message, context)


def distinct(values: tuple[str, ...], what: str) -> tuple[str, ...]:
    """The values, if none is given twice: AWS, or the construct that each becomes, takes it once.

    Args:
        what: one of them in words, for example `an address`.
    """
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise wrong_setting("must not repeat {what}: {repeated}", what=what, repeated=", ".join(repeated))
    return values


@dataclass(frozen=True)
class Form(AfterValidator):
    """A check of text, and what it accepts in words, as docs/settings.md shows it."""

    allowed: str


def matching(pattern: str, allowed: str, *words: str, longest: int | None = None) -> Form:
    """Accepts one of the words, or text of a form that is named in words: nobody should have to read a pattern.

    Args:
        pattern: what the whole text matches; letters and digits are those of ASCII.
        allowed: the form in words, behind `must be`.
        longest: the most characters.
    """
    form = re.compile(pattern, re.ASCII)
    accepted = " or ".join([*words, allowed])

    def check(value: str) -> str:
        if value in words:
            return value
        if not form.fullmatch(value):
            raise wrong_setting("must be {allowed}", allowed=accepted)
        if longest is not None and len(value) > longest:
            raise wrong_setting("must have at most {longest} characters", longest=longest)
        return value

    return Form(check, accepted)


S3_URI = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?")


_IN_POLICIES = re.compile(r"\*|\?|\$\{")
"""What an IAM policy reads as a pattern or as a variable."""
_NOT_IN_POLICIES = re.compile(r"[^\u0020-\u00ff]")
"""What IAM takes in no policy: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""


def problem_in_policies(address: str) -> str:
    """What of an S3 address a policy of IAM cannot name, as `must ...`; empty where it can."""
    # A policy takes patterns for other keys too, so a job could read more than these settings say.
    if found := _IN_POLICIES.search(address):
        return (
            f"must be without {found[0]}, which is a pattern in the policies of IAM: "
            "give the folder above it, or copy the objects below a name without it"
        )
    if found := _NOT_IN_POLICIES.search(address):
        return (
            f"must be without {found[0]!r}, which IAM takes in no policy: of letters, those of Western Europe only. "
            "Give the folder above it, or copy the objects below a name without it"
        )
    return ""


def s3_uri_or(*words: str, registered: bool = False) -> AfterValidator:
    """Accepts one of the words, or an S3 address that a policy of IAM can name as it is and that jobs can get.

    Args:
        registered: whether a model package keeps the address as well.
    """

    def check(value: str) -> str:
        if value in words:
            return value
        if S3_URI.fullmatch(value) and len(value) <= 1024:
            if problem := problem_in_policies(value) or problem_of_address(value, registered=registered):
                raise wrong_setting("{problem}", problem=problem)
            return value
        raise wrong_setting("must be {allowed}", allowed=" or ".join([*words, "an address like s3://bucket/prefix/"]))

    return AfterValidator(check)


SubnetId = Annotated[str, matching(r"subnet-[0-9a-f]{8,17}", "the id of a subnet, such as subnet-0123456789abcdef0")]
