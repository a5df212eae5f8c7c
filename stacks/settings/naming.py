"""What the names of an environment's resources begin with, and the tags that the resources have."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, StringConstraints

from stacks.settings.section import distinct, matching, wrong_setting

EnvironmentName = Literal["dev", "prod"]
OWN_TAGS = ("deployment", "environment", "project")
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_RESERVED_BY_S3 = ("xn--", "sthree-", "amzn-s3-demo-")


def _not_taken(project: str) -> str:
    # The buckets' names begin with it, and S3 keeps some beginnings.
    if reserved := next((start for start in _RESERVED_BY_S3 if f"{project}-".startswith(start)), ""):
        raise wrong_setting("must not begin with {reserved}: S3 gives no bucket such a name", reserved=reserved)
    # Roles of the project `bins` may use what begins with bins-dev-, and `leftovers` looks for it.
    if taken := next((part for part in project.split("-")[1:] if part in get_args(EnvironmentName)), ""):
        raise wrong_setting(
            "must not have -{taken}: its resources would be named as those of another project's {taken}", taken=taken
        )
    return project


def _beside_ours(tags: dict[str, str]) -> dict[str, str]:
    # IAM, which has the roles' tags, takes Project and project for one key and refuses to set it twice.
    taken = sorted(key for key in tags if key.lower() in OWN_TAGS)
    if taken:
        raise wrong_setting("must not set {taken}: the stacks set it", taken=", ".join(taken))
    distinct(tuple(key.lower() for key in tags), "a key, also not with other capitals")
    return tags


ProjectName = Annotated[
    str,
    matching(
        r"[a-z][a-z0-9-]{1,18}[a-z0-9]",
        "3 to 20 small letters, digits and hyphens, of which the first is a letter and the last no hyphen",
    ),
    AfterValidator(_not_taken),
]
_Key = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[\p{L}\p{N}_ ./=+@-]*$")]
_Value = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[\p{L}\p{N}_ .:/=+@-]*$")]
Tags = Annotated[dict[_Key, _Value], AfterValidator(_beside_ours)]
