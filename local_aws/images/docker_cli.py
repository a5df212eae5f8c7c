"""The `docker` that deploys image assets without Docker: build, tag, push, login, inspect."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from local_aws.images.builder import ImageBuilder
from local_aws.images.cache import cache_dir, load_image
from local_aws.images.dockerfile import DockerfileError

_REFERENCE = re.compile(r"(?P<registry>[^/]+\.dkr\.ecr\.[^/]+)/(?P<repository>[^:@]+)(:(?P<tag>[\w.-]+))?")
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"


def main() -> None:
    """Entry point; exits like docker does."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["buildx"]:
        arguments = arguments[1:]
    if arguments[:1] in (["--version"], ["version"], ["info"]):
        print("Docker version 0.0.0, stood in for by local_aws")
        return
    parser = argparse.ArgumentParser(prog="docker", allow_abbrev=False, description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_build(commands)
    tag = commands.add_parser("tag", help="give an image another name")
    tag.add_argument("source")
    tag.add_argument("target")
    push = commands.add_parser("push", help="put an image into the registry of the local AWS")
    push.add_argument("reference")
    push.add_argument("--quiet", "-q", action="store_true")
    for name in ("inspect", "rmi"):
        command = commands.add_parser(name)
        command.add_argument("names", nargs="+")
        command.add_argument("--format", "-f")
    login = commands.add_parser("login", help="accepted; the local registry asks nobody who they are")
    login.add_argument("--username", "-u")
    login.add_argument("--password-stdin", action="store_true")
    login.add_argument("registry", nargs="?")
    commands.add_parser("logout").add_argument("registry", nargs="?")
    options = parser.parse_args(arguments)
    try:
        _COMMANDS[options.command](options)
    except (DockerfileError, OSError, LookupError) as error:
        _fail(str(error))


def _add_build(commands: Any) -> None:
    build = commands.add_parser("build", allow_abbrev=False, help="build a Dockerfile")
    build.add_argument("path", type=Path)
    build.add_argument("--tag", "-t", action="append", default=[])
    build.add_argument("--file", "-f")
    build.add_argument("--build-arg", action="append", default=[])
    build.add_argument("--target")
    build.add_argument("--quiet", "-q", action="store_true")
    for accepted in ("--platform", "--network", "--progress", "--provenance", "--sbom", "--cache-from", "--cache-to"):
        build.add_argument(accepted)  # no engine, no cache and no attestations here
    for accepted in ("--load", "--pull", "--no-cache"):
        build.add_argument(accepted, action="store_true")


def _build(options: argparse.Namespace) -> None:
    arguments = dict(item.partition("=")[::2] for item in options.build_arg)
    dockerfile = options.file or "Dockerfile"
    if os.path.isabs(dockerfile):
        dockerfile = os.path.relpath(dockerfile, options.path.resolve())
    builder = ImageBuilder(
        options.path,
        dockerfile=dockerfile,
        arguments=arguments,
        target=options.target,
        say=(lambda line: None) if options.quiet else (lambda line: print(line, file=sys.stderr, flush=True)),
    )
    digest = builder.build()
    for name in options.tag:
        _tag_path(name).write_text(digest)
    print(digest)


def _tag(options: argparse.Namespace) -> None:
    digest = _digest_of(options.source)
    _tag_path(options.target).write_text(digest)


def _push(options: argparse.Namespace) -> None:
    import boto3

    digest = _digest_of(options.reference)
    match = _REFERENCE.fullmatch(options.reference)
    if match is None:
        raise LookupError(f"{options.reference} is not in an ECR registry; the local AWS has no other")
    if not os.environ.get("AWS_ENDPOINT_URL"):
        raise LookupError("AWS_ENDPOINT_URL is not set: this docker pushes to a local AWS only, never to AWS itself")
    if not put_image(boto3.client("ecr", region_name=_region()), match["repository"], match["tag"] or "latest", digest):
        print("already there", file=sys.stderr)
    print(f"{options.reference}: {digest}")


def put_image(ecr: Any, repository: str, tag: str, digest: str) -> bool:
    """Name an image of the cache in a registry; False when it has that name already."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _CONFIG, "size": len(load_image(digest).image.to_json()), "digest": digest},
        "layers": [],
    }
    try:
        ecr.put_image(
            repositoryName=repository,
            imageTag=tag,
            imageManifest=json.dumps(manifest, sort_keys=True),
            imageManifestMediaType=_MANIFEST,
        )
    except ecr.exceptions.ImageAlreadyExistsException:
        return False
    return True


def _inspect(options: argparse.Namespace) -> None:
    found = []
    for name in options.names:
        digest = _digest_of(name)
        image = load_image(digest).image
        config = {
            "Env": [f"{key}={value}" for key, value in image.environment.items()],
            "Entrypoint": list(image.entrypoint),
            "Cmd": list(image.command),
            "WorkingDir": image.working_directory,
        }
        found.append({"Id": digest, "RepoTags": [name], "Config": config})
    print(json.dumps(found, indent=2))


def _rmi(options: argparse.Namespace) -> None:
    for name in options.names:
        _tag_path(name).unlink(missing_ok=True)


def _login(options: argparse.Namespace) -> None:
    if options.password_stdin:
        sys.stdin.read()
    print("Login Succeeded")


def _tag_path(name: str) -> Path:
    folder = cache_dir() / "tags"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / quote(name, safe="")


def _digest_of(name: str) -> str:
    if name.startswith("sha256:"):
        return name
    try:
        digest = _tag_path(name).read_text()
        load_image(digest)
    except FileNotFoundError:
        raise LookupError(f"No such image: {name}") from None
    return digest


def _region() -> str:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def _fail(message: str) -> NoReturn:
    print(f"Error: {message}", file=sys.stderr)
    sys.exit(1)


_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "build": _build,
    "tag": _tag,
    "push": _push,
    "inspect": _inspect,
    "rmi": _rmi,
    "login": _login,
    "logout": lambda options: None,
}


if __name__ == "__main__":
    main()
