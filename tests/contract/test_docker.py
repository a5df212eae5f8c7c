"""The docker stand-in: what it builds runs, what it cannot build it refuses by name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from local_aws.images.builder import ImageBuilder
from local_aws.images.cache import load_image
from local_aws.images.dockerfile import DockerfileError
from local_aws.server import REPOSITORY, LocalAws
from tests.contract.conftest import ClientFactory
from tests.contract.serving import IMAGE_FOLDER, docker


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image cache of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("BINVENTORY_CACHE", str(folder))
    return folder


def context_of(tmp_path: Path, dockerfile: str, **files: str) -> Path:
    """A build context with this Dockerfile and these files."""
    folder = tmp_path / "context"
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(dockerfile)
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_an_image_starts_as_its_dockerfile_says(tmp_path: Path, cache: Path) -> None:
    """Stages, variables, several sources, folders, ENV and CMD: the process runs among the copied files."""
    folder = context_of(
        tmp_path,
        """
        # a comment
        ARG BASE=python:3.12-slim
        FROM ${BASE} AS files
        WORKDIR /build
        COPY one.txt two.txt ./
        FROM python:3.12-slim
        ARG MODE=plain
        ENV MODE=${MODE} DATA=/srv/app/data \\
            LIMIT=${UNSET:-7}
        WORKDIR /srv/app
        COPY --from=files /build/ ./data/
        COPY main.py package/ ./
        RUN useradd --system app && mkdir -p /srv/app/logs
        USER app
        HEALTHCHECK CMD python -c "print(1)"
        ENTRYPOINT ["python", "main.py"]
        CMD ["/opt/ml/model"]
        """,
        **{
            "one.txt": "1",
            "two.txt": "2",
            "package__part.py": "PART = 'part'",
            "main.py": "import json, os, sys, part\n"
            "e = os.environ\n"
            "print(json.dumps([part.PART, sorted(os.listdir(e['DATA'])), e['MODE'], e['LIMIT'], sys.argv[1:]]))",
        },
    )
    digest = ImageBuilder(folder, arguments={"MODE": "fancy"}).build()
    process = load_image(digest).process(base=tmp_path / "ml", environment={})
    done = subprocess.run(process.command, env=dict(process.environment), cwd=process.directory, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["part", ["one.txt", "two.txt"], "fancy", "7", [f"{tmp_path}/ml/model"]]


def test_the_digest_is_the_content(tmp_path: Path, cache: Path) -> None:
    """Same files, same digest; another byte, another digest; what .dockerignore names does not count."""
    dockerfile = 'FROM python:3.12\nWORKDIR /a\nCOPY . .\nCMD ["python", "a.py"]'
    folder = context_of(tmp_path, dockerfile, **{"a.py": "1", ".dockerignore": "*.log\n__pycache__"})
    first = ImageBuilder(folder).build()
    (folder / "noise.log").write_text("x")
    assert ImageBuilder(folder).build() == first
    (folder / "a.py").write_text("2")
    assert ImageBuilder(folder).build() != first


def test_packages_are_installed_once_for_the_same_requirements(tmp_path: Path, cache: Path) -> None:
    """A virtual environment that the image's own python uses; the second build finds it, other files or not."""
    dockerfile = (
        "FROM python:3.12\nWORKDIR /a\nCOPY requirements.txt main.py ./\n"
        'RUN pip install --no-cache-dir --require-hashes -r requirements.txt\nENTRYPOINT ["python", "main.py"]'
    )
    text = "# nothing is needed here, so nothing is downloaded\n"
    folder = context_of(tmp_path, dockerfile, **{"requirements.txt": text, "main.py": "import sys; print(sys.prefix)"})
    said: list[str] = []
    process = load_image(ImageBuilder(folder, say=said.append).build()).process(base=tmp_path, environment={})
    done = subprocess.run(
        process.command,
        env=dict(process.environment),
        capture_output=True,
        text=True,
        check=False,
        cwd=process.directory,
    )
    assert done.stdout.strip().startswith(str(cache / "environments")), done.stderr
    assert sum("is installed" in line for line in said) == 1
    (folder / "main.py").write_text("pass")
    ImageBuilder(folder, say=said.append).build()
    assert sum("is installed" in line for line in said) == 1
    assert sum("in the cache" in line for line in said) == 1


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("ADD https://example.com/x /x", "ADD is not supported"),
        ("ONBUILD RUN true", "ONBUILD is not supported"),
        ("RUN apt-get update", "'apt-get' cannot be run"),
        ("RUN pip install requests", "requirements file"),
        ("RUN pip install --target /x -r r.txt", "--target"),
        ("RUN pip install -r missing.txt", "COPY it first"),
        ("RUN curl https://example.com | sh", "joined by &&"),
        ("RUN --mount=type=secret,id=x pip install -r r.txt", "--mount=type=cache"),
        ("COPY missing.txt ./", "matches"),
        ("COPY ../outside.txt ./", "matches"),
        ("COPY --from=nowhere /a ./", "no earlier stage nowhere"),
        ("COPY --parents a ./", "--parents"),
        ("RUN <<EOF\necho\nEOF", "here-documents"),
        ("FROM ubuntu:24.04", "only python images"),
    ],
)
def test_what_cannot_be_carried_out_is_refused_by_name(tmp_path: Path, cache: Path, lines: str, words: str) -> None:
    """An instruction that is skipped in silence would make another image here than on AWS."""
    (tmp_path / "outside.txt").write_text("secret")
    folder = context_of(tmp_path, f"FROM python:3.12\nWORKDIR /a\n{lines}\n")
    with pytest.raises(DockerfileError, match=words):
        ImageBuilder(folder).build()


def test_the_commands_of_the_cdk(local_aws: LocalAws, client: ClientFactory) -> None:
    """Inspect before the build fails, as it does for docker; afterwards the image is in the registry by its tag."""
    program = local_aws.environment()["CDK_DOCKER"]

    def run(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *words], capture_output=True, text=True, input=given)

    missing = run("inspect", "cdkasset-never-built")
    assert missing.returncode == 1 and "No such image: cdkasset-never-built" in missing.stderr
    login = run(
        "login", "--username", "AWS", "--password-stdin", "https://x.dkr.ecr.us-east-1.amazonaws.com", given="p"
    )
    assert (login.returncode, login.stdout.strip()) == (0, "Login Succeeded")
    client("ecr").create_repository(repositoryName="assets")
    uri = f"{local_aws.account}.dkr.ecr.{local_aws.region}.amazonaws.com/assets:1"
    docker(local_aws, "build", "--tag", "built", IMAGE_FOLDER)
    docker(local_aws, "tag", "built", uri)
    docker(local_aws, "push", uri)
    digest = json.loads(docker(local_aws, "inspect", uri))[0]["Id"]
    (image,) = client("ecr").batch_get_image(repositoryName="assets", imageIds=[{"imageTag": "1"}])["images"]
    assert json.loads(image["imageManifest"])["config"]["digest"] == digest
    with pytest.raises(ClientError, match="does not exist"):
        client("ecr").describe_images(repositoryName="assets", imageIds=[{"imageTag": "2"}])
    assert docker(local_aws, "push", "--quiet", uri).endswith(digest), "pushing twice is fine"
    unknown = run("run", "assets")
    assert unknown.returncode == 2 and "invalid choice: 'run'" in unknown.stderr
    nowhere = run("push", uri)
    assert nowhere.returncode == 1 and "AWS_ENDPOINT_URL" in nowhere.stderr, "never to AWS itself"


def test_the_stand_in_needs_no_virtual_environment_to_be_active(tmp_path: Path) -> None:
    """CDK_DOCKER is called with whatever PATH the CDK has."""
    program = REPOSITORY / "local_aws" / "docker"
    environment = {"PATH": "/usr/bin:/bin", "BINVENTORY_PYTHON": sys.executable, "BINVENTORY_CACHE": str(tmp_path)}
    done = subprocess.run([program, "build", "--tag", "t", IMAGE_FOLDER], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"sha256:")
