"""The docker stand-in: its images run, and it refuses by name what it cannot build."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from local_aws.images.builder import ImageBuilder
from local_aws.images.cache import load_image
from local_aws.images.dockerfile import SUPPORTED, DockerfileError, read
from local_aws.images.filesystem import inside
from local_aws.server import REPOSITORY, LocalAws
from tests.contract.conftest import ClientFactory
from tests.contract.serving import IMAGE_FOLDER, ROLE, docker, put_artefact


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
    """Several sources, folders, ENV and ENTRYPOINT: the process runs among the copied files."""
    folder = context_of(
        tmp_path,
        """
        # a comment
        FROM python:3.12-slim
        WORKDIR /srv/app
        COPY one.txt two.txt ./data/
        COPY main.py ./
        COPY package/ ./package/
        ENV MODE="very fancy" DATA=data MODEL=/opt/ml/model
        USER 65534:65534
        EXPOSE 8080
        ENTRYPOINT ["python", "main.py", "--model", "/opt/ml/model"]
        """,
        **{
            "one.txt": "1",
            "two.txt": "2",
            "package__part.py": "PART = 'part'",
            "main.py": "import json, os, sys\nfrom package import part\n"
            "e = os.environ\n"
            "print(json.dumps([part.PART, sorted(os.listdir(e['DATA'])), e['MODE'], e['MODEL'], sys.argv[1:]]))",
        },
    )
    process = load_image(ImageBuilder(folder).build()).process(
        base=tmp_path / "ml", environment={}, arguments=["serve"]
    )
    done = subprocess.run(process.command, env=dict(process.environment), cwd=process.directory, capture_output=True)
    assert done.returncode == 0, done.stderr
    model = f"{inside(tmp_path / 'ml')}/model"
    assert json.loads(done.stdout) == ["part", ["one.txt", "two.txt"], "very fancy", model, ["--model", model, "serve"]]


def test_the_image_of_the_endpoint_needs_nothing_more() -> None:
    """Every instruction of the Dockerfile that is deployed is read, and every instruction that is read is in it."""
    names = {instruction.name for instruction in read(REPOSITORY / "inference_code" / "Dockerfile")}
    assert names == set(SUPPORTED)


def test_the_digest_is_the_content(tmp_path: Path, cache: Path) -> None:
    """Same files, same digest; another byte, another digest; compiled Python does not count."""
    dockerfile = 'FROM python:3.12\nWORKDIR /a\nCOPY . .\nENTRYPOINT ["python", "a.py"]'
    folder = context_of(tmp_path, dockerfile, **{"a.py": "1"})
    first = ImageBuilder(folder).build()
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "a.pyc").write_text("x")
    assert ImageBuilder(folder).build() == first
    (folder / "a.py").write_text("2")
    assert ImageBuilder(folder).build() != first


def test_a_file_that_becomes_executable_is_another_image(tmp_path: Path, cache: Path) -> None:
    """Under one digest, the image that was built first would be started: without the right to execute its file."""
    dockerfile = 'FROM python:3.12\nWORKDIR /a\nCOPY . .\nENTRYPOINT ["./run.sh"]'
    folder = context_of(tmp_path, dockerfile, **{"run.sh": "#!/bin/sh\necho started"})
    (folder / "run.sh").chmod(0o644)
    first = ImageBuilder(folder).build()
    (folder / "run.sh").chmod(0o755)
    second = ImageBuilder(folder).build()
    assert second != first
    process = load_image(second).process(base=tmp_path, environment={}, arguments=[])
    started = subprocess.run(process.command, cwd=process.directory, capture_output=True, text=True, check=True)
    assert started.stdout == "started\n"


def test_links_inside_a_folder_stay_links(tmp_path: Path, cache: Path) -> None:
    """As with Docker; a link that COPY itself names is followed, and one that is there already is replaced."""
    dockerfile = (
        "FROM python:3.12\nWORKDIR /a\nCOPY app/ ./app/\nCOPY app/ ./app/\nCOPY app/now.txt ./now.txt\n"
        'ENTRYPOINT ["python", "-c", "print(open(\'app/now.txt\').read())"]'
    )
    folder = context_of(tmp_path, dockerfile, app__v1__model="one", app__v2__model="two", **{"app__v1__a.txt": "read"})
    app = folder / "app"
    (app / "now").symlink_to("v1")
    (app / "now.txt").symlink_to("now/a.txt")
    (app / "nowhere").symlink_to("v3/model")
    first = ImageBuilder(folder).build()
    process = load_image(first).process(base=tmp_path / "ml", environment={}, arguments=[])
    copied = process.directory / "app"
    assert {path.name: str(path.readlink()) for path in copied.iterdir() if path.is_symlink()} == {
        "now": "v1", "now.txt": "now/a.txt", "nowhere": "v3/model"
    }  # fmt: skip
    assert not (process.directory / "now.txt").is_symlink()
    done = subprocess.run(process.command, env=dict(process.environment), cwd=process.directory, capture_output=True)
    assert done.stdout == b"read\n", done.stderr
    (app / "now").unlink()
    (app / "now").symlink_to("v2")
    (app / "v2" / "a.txt").write_text("read")
    second = ImageBuilder(folder).build()
    (app / "now").unlink()
    (app / "now").symlink_to("v1")
    assert len({first, second, ImageBuilder(folder).build()}) == 3, "the end of a link is content"


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "deep/../../../outside"])
def test_a_link_that_leads_out_of_the_image_is_refused_by_name(tmp_path: Path, cache: Path, target: str) -> None:
    dockerfile = 'FROM python:3.12\nWORKDIR /a\nCOPY app/ ./app/\nENTRYPOINT ["python"]'
    folder = context_of(tmp_path, dockerfile, app__main="")
    (folder / "app" / "link").symlink_to(target)
    with pytest.raises(DockerfileError, match=rf"app/link is a link to {target}, which is not below WORKDIR"):
        ImageBuilder(folder).build()


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


def test_packages_that_cannot_be_installed_are_an_error_of_the_build(tmp_path: Path, cache: Path) -> None:
    """And nothing of them is kept: the next build tries again."""
    dockerfile = 'FROM python:3.12\nWORKDIR /a\nCOPY r.txt ./\nRUN pip install -r r.txt\nENTRYPOINT ["python"]'
    folder = context_of(tmp_path, dockerfile, **{"r.txt": "./there-is-no-such-folder\n"})
    for _ in range(2):
        with pytest.raises(DockerfileError, match="packages could not be installed"):
            ImageBuilder(folder).build()
    assert not list(cache.rglob("complete"))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("ADD https://example.com/x /x", "ADD is not supported"),
        ("ONBUILD RUN true", "ONBUILD is not supported"),
        ("ARG MODE=plain", "ARG is not supported"),
        ('CMD ["python", "a.py"]', "CMD is not supported"),
        ("HEALTHCHECK NONE", "HEALTHCHECK is not supported"),
        ("FROM python:3.12", "second stage"),
        ("WORKDIR /b", "one WORKDIR"),
        ("ENV MODE=$OTHER", "variables are not replaced"),
        ("ENV PATH=/a/bin", "PATH is the virtual environment's"),
        ("ENV MODE plain", "KEY=VALUE"),
        ("ENV DATA=/a/data", "/a/data is not there"),
        ("ENV MODE=plain \\\n  DATA=x", "on one line"),
        ("ENTRYPOINT python a.py", "JSON array"),
        ('ENTRYPOINT ["/a/run"]', "/a/run is not there"),
        ("RUN apt-get update", "'apt-get' cannot be run"),
        ("RUN pip install requests", "requirements file"),
        ("RUN pip install --target /x -r r.txt", "--target"),
        ("RUN pip install -r missing.txt", "COPY it first"),
        ("RUN pip install -r r.txt -r s.txt", "one requirements file"),
        ("RUN curl https://example.com | sh", "'curl' cannot be run"),
        ("RUN useradd --system app && mkdir /a/logs", "'useradd' cannot be run"),
        ("RUN --mount=type=secret,id=x pip install -r r.txt", "--mount=type=secret"),
        ("COPY missing.txt ./", "matches"),
        ("COPY *.txt ./", "matches"),
        ("COPY ../outside.txt ./", "matches"),
        ("COPY Dockerfile /etc/", "relative path"),
        ("COPY Dockerfile ../", "relative path"),
        ("COPY --from=nowhere /a ./", "--from=nowhere is not supported"),
        ("COPY --parents a ./", "--parents"),
        ("RUN <<EOF\necho\nEOF", "'<<EOF' cannot be run"),
        ("USER 1:1", "no ENTRYPOINT"),
    ],
)
def test_what_cannot_be_carried_out_is_refused_by_name(tmp_path: Path, cache: Path, lines: str, words: str) -> None:
    """An instruction that is skipped in silence would make another image here than on AWS."""
    (tmp_path / "outside.txt").write_text("secret")
    folder = context_of(tmp_path, f"FROM python:3.12\nWORKDIR /a\n{lines}\n")
    with pytest.raises(DockerfileError, match=words):
        ImageBuilder(folder).build()


@pytest.mark.parametrize(
    ("dockerfile", "words"),
    [
        ("FROM ubuntu:24.04\n", "only python images"),
        ("FROM python:3.12 AS base\n", "without AS"),
        ("WORKDIR /a\n", "starts with FROM"),
        ("FROM python:3.12\nCOPY Dockerfile ./\n", "set WORKDIR first"),
    ],
)
def test_another_beginning_is_refused(tmp_path: Path, cache: Path, dockerfile: str, words: str) -> None:
    """The first instructions decide where files and packages go."""
    with pytest.raises(DockerfileError, match=words):
        ImageBuilder(context_of(tmp_path, dockerfile)).build()


def test_a_dockerignore_is_refused(tmp_path: Path, cache: Path) -> None:
    """Docker would leave files out that are copied here."""
    folder = context_of(tmp_path, "FROM python:3.12\n", **{".dockerignore": "*.log"})
    with pytest.raises(DockerfileError, match=r"\.dockerignore"):
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
    target = run("build", "--target", "x", str(IMAGE_FOLDER))
    assert target.returncode == 2 and "unrecognized arguments: --target" in target.stderr
    elsewhere = uri.replace("/assets:", "/absent:")
    docker(local_aws, "tag", "built", elsewhere)
    done = subprocess.run(
        [program, "push", elsewhere], capture_output=True, text=True, env=os.environ | local_aws.environment()
    )
    assert done.returncode == 1 and done.stderr.startswith("Error: ")
    assert "'absent' does not exist" in done.stderr and "Traceback" not in done.stderr
    nowhere = run("push", uri)
    assert nowhere.returncode == 1 and "AWS_ENDPOINT_URL" in nowhere.stderr, "never to AWS itself"


def test_sagemaker_takes_a_docker_manifest_and_refuses_an_oci_one(local_aws: LocalAws, client: ClientFactory) -> None:
    """A build without `--output=type=docker` is pushed as Docker's default store pushes it."""
    client("ecr").create_repository(repositoryName="formats")
    sagemaker = client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="formats")
    artefact = put_artefact(client, "formats")
    for tag, options in (("oci", []), ("docker", ["--output=type=docker"])):
        uri = f"{local_aws.account}.dkr.ecr.{local_aws.region}.amazonaws.com/formats:{tag}"
        docker(local_aws, "build", *options, "--tag", uri, IMAGE_FOLDER)
        docker(local_aws, "push", uri)
        asked = {"repositoryName": "formats", "imageIds": [{"imageTag": tag}]}
        (image,) = client("ecr").describe_images(**asked)["imageDetails"]
        assert tag in image["imageManifestMediaType"], "the registry keeps what was pushed"
        container = {"Image": uri, "ModelDataUrl": artefact}
        specification = {
            "Containers": [container],
            "SupportedContentTypes": ["image/jpeg"],
            "SupportedResponseMIMETypes": ["application/json"],
        }
        model = {"ModelName": f"format-{tag}", "PrimaryContainer": container, "ExecutionRoleArn": ROLE}
        package = {"ModelPackageGroupName": "formats", "InferenceSpecification": specification}
        for create, request in ((sagemaker.create_model, model), (sagemaker.create_model_package, package)):
            if tag == "docker":
                create(**request)
                continue
            with pytest.raises(ClientError, match=r"Unsupported manifest media type application/vnd\.oci") as refused:
                create(**request)
            assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_the_stand_in_needs_no_virtual_environment_to_be_active(tmp_path: Path) -> None:
    """The CDK calls CDK_DOCKER with its own PATH."""
    program = REPOSITORY / "local_aws" / "docker"
    environment = {"PATH": "/usr/bin:/bin", "BINVENTORY_PYTHON": sys.executable, "BINVENTORY_CACHE": str(tmp_path)}
    done = subprocess.run([program, "build", "--tag", "t", IMAGE_FOLDER], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"sha256:")


def test_a_command_that_pushes_nothing_starts_without_boto3() -> None:
    """A deployment starts several for each image, and the doctor one."""
    program = (
        "import sys; from local_aws.images import docker_cli; print({'boto3', 'botocore.client'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
