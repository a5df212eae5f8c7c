"""Built images: a cache of folders, and the registry of the local AWS that names them.

An image is a folder with the files its Dockerfile copied (`root/`), and with how it starts (`image.json`); what it
pip-installed is a virtual environment beside it. It is named by the digest of that content. The registry (ministack's
ECR) maps repository and tag to the digest, as on AWS. Several local AWSs share one cache.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from local_aws.core.errors import AwsError, not_local, validation
from local_aws.core.protocol import Document, ImageUri
from local_aws.images.container import ContainerSpec, rebase_inside

if TYPE_CHECKING:
    # It has boto3, which `docker` needs for a push only: every deployment starts it several times.
    from local_aws.core.context import Context

REPOSITORY = Path(__file__).resolve().parents[2]
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def cache_dir() -> Path:
    """Where images and their environments are kept: `$BINVENTORY_CACHE`, else `.cache/images` in the checkout.

    A checkout that may not be written has them in the person's own cache.
    """
    if chosen := os.environ.get("BINVENTORY_CACHE"):
        return Path(chosen).resolve()
    if os.access(REPOSITORY, os.W_OK):
        return REPOSITORY.resolve() / ".cache" / "images"
    own = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own).resolve() / "binventory" / "images"


def write_whole(path: Path, text: str) -> None:
    """Write a file of the cache, of which other processes read all or nothing."""
    draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


@dataclass(frozen=True)
class Image:
    """How an image starts, in the terms of its Dockerfile.

    Args:
        environment_id: name of its virtual environment in the cache; empty when nothing was installed.
        entrypoint: ENTRYPOINT.
        environment: ENV.
        working_directory: WORKDIR.
    """

    environment_id: str
    entrypoint: tuple[str, ...]
    environment: dict[str, str]
    working_directory: str

    def to_json(self) -> str:
        """The image's configuration; equal images give equal bytes."""
        return json.dumps(asdict(self), sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Image:
        """The inverse of `to_json`."""
        data = json.loads(text)
        return cls(**(data | {"entrypoint": tuple(data["entrypoint"])}))


@dataclass(frozen=True)
class LocalImage:
    """An image in the cache, ready to run."""

    digest: str
    folder: Path
    image: Image

    def process(self, *, base: Path, environment: dict[str, str], arguments: Sequence[str] = ()) -> ContainerSpec:
        """What starts a container of this image.

        Args:
            base: the folder that stands in for the container's `/opt/ml`.
            environment: variables in addition to the image's ENV.
            arguments: what follows the ENTRYPOINT.
        """
        executables = cache_dir() / "environments" / self.image.environment_id / "bin"
        variables = {key: rebase_inside(value, base) for key, value in (self.image.environment | environment).items()}
        search = [str(executables)] if self.image.environment_id else []
        variables["PATH"] = os.pathsep.join([*search, os.environ.get("PATH", os.defpath)])
        program, *words = (rebase_inside(word, base) for word in (*self.image.entrypoint, *arguments))
        installed = executables / program
        command = [str(installed) if "/" not in program and installed.exists() else program, *words]
        return ContainerSpec(command, variables, self.folder / "root", base)


def load_image(digest: str) -> LocalImage:
    """The image with this digest from the cache; raises `FileNotFoundError` when it is not there."""
    folder = cache_dir() / "by-digest" / digest.removeprefix("sha256:")
    return LocalImage(digest, folder, Image.from_json((folder / "image.json").read_text()))


def check_manifest(context: Context, uri: str) -> None:
    """Raise AWS's ValidationException for an image of this account that was pushed with an OCI manifest."""
    name = ImageUri.parse(uri)
    if name is None or name.account != context.account:
        return
    wanted = {"imageDigest": name.digest} if name.digest else {"imageTag": name.tag or "latest"}
    try:
        found = context.client("ecr").batch_get_image(repositoryName=name.repository, imageIds=[wanted])["images"]
    except ClientError:
        return  # an image that is not there is refused where it is pulled
    if found and found[0]["imageManifestMediaType"] == OCI_MANIFEST:
        raise validation(
            f"Unsupported manifest media type {OCI_MANIFEST} for image {uri}. "
            "Ensure that valid manifest media type is used for specified image."
        )


def require_image(context: Context, uri: str) -> None:
    """Refuse a model's image that cannot be started here: it is in another registry, or not in this one."""
    name = ImageUri.parse(uri)
    if name is not None and name.account != context.account:
        raise not_local(
            f"Image {uri} is not in this account's registry, and the local AWS pulls none: it does not run locally",
            f"give an image that was pushed here. {_images_here(context)}",
        )
    resolve_image(context, uri)


def require_pushed(context: Context, uri: str) -> None:
    """Refuse an image of this account that is not in its registry."""
    name = ImageUri.parse(uri)
    if name is not None and name.account == context.account:
        _pushed(context, name, uri)


def _images_here(context: Context) -> str:
    """What says how to serve with this project's image: the images of the registry, or how one gets there."""
    ecr = context.client("ecr")
    found = [
        f"{context.account}.dkr.ecr.{context.region}.amazonaws.com/{repository['repositoryName']}:{image['imageTag']}"
        for repository in ecr.describe_repositories()["repositories"]
        for image in ecr.list_images(repositoryName=repository["repositoryName"])["imageIds"]
        if "imageTag" in image
    ]
    if found:
        return f"There is {', '.join(found[:3])}; this project's serves what its Evaluate step packs"
    return "There is none yet; deploying this project's stacks pushes its serving image, which model packages name"


def resolve_image(context: Context, uri: str) -> LocalImage:
    """The image that an ECR URI names in this local AWS; raises a ValidationException that says why not."""
    name = ImageUri.parse(uri)
    if name is None:
        raise validation(
            f"Image {uri!r} is not an Amazon ECR URI (ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY:TAG)"
        )
    digest = json.loads(_pushed(context, name, uri)["imageManifest"])["config"]["digest"]
    try:
        return load_image(digest)
    except FileNotFoundError:
        raise validation(
            f"Image {uri} was pushed, but its files ({digest}) are no longer in {cache_dir()}; deploy again"
        ) from None


def image_by_digest(context: Context, uri: str) -> str:
    """An image's URI with its digest in the registry, as it is now; the URI itself where there is no image."""
    name = ImageUri.parse(uri)
    if name is None:
        return uri
    try:
        digest = _pushed(context, name, uri)["imageId"]["imageDigest"]
    except AwsError:
        return uri
    return f"{uri.partition('/')[0]}/{name.repository}@{digest}"


def _pushed(context: Context, name: ImageUri, uri: str) -> Document:
    """An image as the registry has it; raises a ValidationException when it is not there."""
    if name.region != context.region:
        raise validation(f"Requested image {uri} not found: it must be in this region, {context.region}")
    wanted = {"imageDigest": name.digest} if name.digest else {"imageTag": name.tag or "latest"}
    try:
        reply = context.client("ecr").batch_get_image(repositoryName=name.repository, imageIds=[wanted])
    except ClientError as error:
        raise validation(f"Requested image {uri} not found: {error.response['Error']['Message']}") from None
    if not reply.get("images"):
        raise validation(f"Requested image {uri} not found: push it to {name.repository} first")
    found: Document = reply["images"][0]
    return found
