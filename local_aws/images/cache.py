"""Container images without a container engine.

An image is a folder: the files its Dockerfile copied (`root/`), a virtual environment with what it pip-installed, and
how to start it (`image.json`). It is named by the digest of that content, the registry of the local AWS (ministack's
ECR) maps repository and tag to the digest exactly as AWS does, and several local AWS's share one cache of folders.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from local_aws.core.context import Context
from local_aws.core.errors import validation
from local_aws.images.container import BASE, ContainerSpec, rebase

REPOSITORY = Path(__file__).resolve().parents[2]
_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/"
    r"(?P<repository>[a-z0-9._/-]+?)(:(?P<tag>[\w.-]+))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_SYSTEM_FOLDERS = ("/usr/local/bin/", "/usr/bin/", "/bin/")


def cache_dir() -> Path:
    """Where images and their environments are kept: `$BINVENTORY_CACHE`, else `.cache/images` in the checkout."""
    return Path(os.environ.get("BINVENTORY_CACHE") or REPOSITORY / ".cache" / "images").resolve()


@dataclass(frozen=True)
class Image:
    """How an image starts, in the terms of its Dockerfile.

    Args:
        environment_id: name of its virtual environment in the cache; empty when nothing was installed.
        entrypoint: ENTRYPOINT.
        command: CMD.
        environment: ENV.
        working_directory: WORKDIR, absolute.
        directories: absolute paths of the image that exist in its `root/`.
    """

    environment_id: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: dict[str, str]
    working_directory: str
    directories: tuple[str, ...]

    def to_json(self) -> str:
        """The image's configuration; equal images give equal bytes."""
        return json.dumps(asdict(self), sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Image:
        """The inverse of `to_json`."""
        data = json.loads(text)
        for field in ("entrypoint", "command", "directories"):
            data[field] = tuple(data[field])
        return cls(**data)


@dataclass(frozen=True)
class LocalImage:
    """An image in the cache, ready to run."""

    digest: str
    folder: Path
    image: Image

    def process(self, *, base: Path, environment: dict[str, str], arguments: Sequence[str] = ()) -> ContainerSpec:
        """What starts a container of this image.

        Args:
            base: the folder that is `/opt/ml` to this container.
            environment: variables in addition to the image's own ENV.
            arguments: in place of CMD.
        """
        binaries = cache_dir() / "environments" / self.image.environment_id / "bin"
        variables = {key: self._locate(value, base) for key, value in self.image.environment.items()}
        variables |= {key: rebase(value, base) for key, value in environment.items()}
        search = [str(binaries)] if self.image.environment_id else []
        variables["PATH"] = os.pathsep.join([*search, os.environ.get("PATH", os.defpath)])
        words = [*self.image.entrypoint, *(arguments or self.image.command)]
        if not words:
            raise validation(f"Image {self.digest} has neither ENTRYPOINT nor CMD")
        program = self._program(words[0], binaries)
        command = [self._locate(program, base), *(self._locate(word, base) for word in words[1:])]
        return ContainerSpec(command, variables, self._path(self.image.working_directory))

    def _program(self, word: str, binaries: Path) -> str:
        name = word
        for folder in _SYSTEM_FOLDERS:
            name = name.removeprefix(folder)
        return str(binaries / name) if "/" not in name and (binaries / name).exists() else word

    def _locate(self, text: str, base: Path) -> str:
        for directory in sorted(self.image.directories, key=len, reverse=True):
            if directory not in {"/", BASE}:
                pattern = rf"(?<![\w.-]){re.escape(directory)}(?![\w.-])"
                text = re.sub(pattern, str(self._path(directory)).replace("\\", r"\\"), text)
        return rebase(text, base)

    def _path(self, inside: str) -> Path:
        return self.folder / "root" / inside.lstrip("/")


def load_image(digest: str) -> LocalImage:
    """The image with this digest from the cache; raises `FileNotFoundError` when it is not there."""
    folder = cache_dir() / "by-digest" / digest.removeprefix("sha256:")
    return LocalImage(digest, folder, Image.from_json((folder / "image.json").read_text()))


def resolve_image(context: Context, uri: str) -> LocalImage:
    """The image that an ECR URI names in this local AWS; raises a ValidationException that says why not."""
    match = _ECR.fullmatch(uri)
    if match is None:
        raise validation(
            f"Image {uri!r} is not an Amazon ECR URI (ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY:TAG)"
        )
    wanted = {"imageDigest": match["digest"]} if match["digest"] else {"imageTag": match["tag"] or "latest"}
    try:
        reply = context.client("ecr").batch_get_image(repositoryName=match["repository"], imageIds=[wanted])
    except ClientError as error:
        raise validation(f"Requested image {uri} not found: {error.response['Error']['Message']}") from None
    if not reply.get("images"):
        raise validation(f"Requested image {uri} not found: push it to {match['repository']} first")
    digest = json.loads(reply["images"][0]["imageManifest"])["config"]["digest"]
    try:
        return load_image(digest)
    except FileNotFoundError:
        raise validation(
            f"Image {uri} was pushed, but its files ({digest}) are no longer in {cache_dir()}; deploy again"
        ) from None
