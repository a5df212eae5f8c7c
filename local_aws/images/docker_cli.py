"""The `docker` commands with which the CDK deploys an image asset, without Docker."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.core.protocol import ImageUri
from local_aws.images.builder import ImageBuilder
from local_aws.images.cache import OCI_MANIFEST, cache_dir, load_image, write_whole
from local_aws.images.dockerfile import DockerfileError

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIGS = {
    DOCKER_MANIFEST: "application/vnd.docker.container.image.v1+json",
    OCI_MANIFEST: "application/vnd.oci.image.config.v1+json",
}


@dataclass(frozen=True)
class Built:
    """An image that `docker build` has made.

    Args:
        digest: its name in the cache.
        manifest: media type of the manifest that a push writes.
    """

    digest: str
    manifest: str


def main() -> None:
    """Entry point; exits with 1 for an error and with 2 for a command or an option that is not supported."""
    parser = argparse.ArgumentParser(prog="docker", allow_abbrev=False, description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", allow_abbrev=False, help="build the Dockerfile of a folder")
    build.add_argument("path", type=Path)
    build.add_argument("--tag", "-t", action="append", default=[])
    build.add_argument("--platform", help="accepted: the image runs on this computer")
    build.add_argument("--output", choices=["type=docker"], help="a Docker manifest; without it an OCI manifest")
    tag = commands.add_parser("tag", help="give an image another name")
    tag.add_argument("source")
    tag.add_argument("target")
    push = commands.add_parser("push", help="put an image into the registry of the local AWS")
    push.add_argument("reference")
    push.add_argument("--quiet", "-q", action="store_true", help="accepted: a push prints one line")
    commands.add_parser("inspect", help="print the digests of images").add_argument("names", nargs="+")
    login = commands.add_parser("login", help="accepted: the local registry checks no password")
    login.add_argument("--username", "-u")
    login.add_argument("--password-stdin", action="store_true")
    login.add_argument("registry", nargs="?")
    options = parser.parse_args()
    try:
        _COMMANDS[options.command](options)
    except (DockerfileError, OSError, LookupError, subprocess.CalledProcessError, BotoCoreError, ClientError) as error:
        sys.exit(f"Error: {error}")


def put_image(ecr: Any, repository: str, tag: str, digest: str, media_type: str = DOCKER_MANIFEST) -> bool:
    """Name an image of the cache in a registry; False when it has that name already."""
    size = len(load_image(digest).image.to_json())
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": _CONFIGS[media_type], "size": size, "digest": digest},
        "layers": [],
    }
    try:
        ecr.put_image(
            repositoryName=repository,
            imageTag=tag,
            imageManifest=json.dumps(manifest, sort_keys=True),
            imageManifestMediaType=media_type,
        )
    except ecr.exceptions.ImageAlreadyExistsException:
        return False
    return True


def _build(options: argparse.Namespace) -> None:
    digest = ImageBuilder(options.path, say=lambda line: print(line, file=sys.stderr, flush=True)).build()
    # As Docker with its default store (containerd, since Engine 29): OCI unless the build asks for Docker's format.
    built = Built(digest, DOCKER_MANIFEST if options.output else OCI_MANIFEST)
    for name in options.tag:
        write_whole(_tag_path(name), json.dumps(asdict(built)))
    print(digest)


def _tag(options: argparse.Namespace) -> None:
    write_whole(_tag_path(options.target), json.dumps(asdict(_image_of(options.source))))


def _push(options: argparse.Namespace) -> None:
    import boto3

    image = _image_of(options.reference)
    name = ImageUri.parse(options.reference)
    if name is None:
        raise LookupError(f"{options.reference} is not in an ECR registry; the local AWS has no other")
    if not os.environ.get("AWS_ENDPOINT_URL"):
        raise LookupError("AWS_ENDPOINT_URL is not set: this docker pushes to a local AWS only, never to AWS itself")
    ecr = boto3.client("ecr", region_name=name.region)
    if not put_image(ecr, name.repository, name.tag or "latest", image.digest, image.manifest):
        print("already there", file=sys.stderr)
    print(f"{options.reference}: {image.digest}")


def _inspect(options: argparse.Namespace) -> None:
    print(json.dumps([{"Id": _image_of(name).digest, "RepoTags": [name]} for name in options.names], indent=2))


def _login(options: argparse.Namespace) -> None:
    if options.password_stdin:
        sys.stdin.read()
    print("Login Succeeded")


def _tag_path(name: str) -> Path:
    folder = cache_dir() / "tags"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / quote(name, safe="")


def _image_of(name: str) -> Built:
    try:
        built = Built(**json.loads(_tag_path(name).read_text()))
        load_image(built.digest)
    except (FileNotFoundError, ValueError, TypeError):
        raise LookupError(f"No such image: {name}") from None
    return built


_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "build": _build,
    "tag": _tag,
    "push": _push,
    "inspect": _inspect,
    "login": _login,
}


if __name__ == "__main__":
    main()
