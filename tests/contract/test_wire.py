"""The wire protocol: dispatch, errors, and the checks of requests and replies against botocore's shapes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from botocore.model import OperationNotFoundError
from hypothesis import given, settings
from hypothesis import strategies as st

from binventory.core.contents import bucket_and_key
from local_aws import registry
from local_aws.core.context import Context
from local_aws.core.errors import AwsError
from local_aws.core.listing import cut, list_page
from local_aws.core.objects import ObjectStore, S3Uri
from local_aws.core.protocol import TARGETS
from local_aws.core.shapes import operation_model, service_model, violations
from local_aws.core.store import Store
from local_aws.core.wire import call
from local_aws.hosting.model_data import place_model
from local_aws.server import LocalAws, LocalAwsError
from tests.contract.conftest import ClientFactory, signed_post
from tests.contract.jobs import BUCKET, IMAGE, ROLE, text_of, until

GOOD_CONFIG: dict[str, Any] = {
    "EndpointConfigName": "config",
    "ProductionVariants": [
        {"VariantName": "primary", "ModelName": "model", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    ],
    "Tags": [{"Key": "cost", "Value": "über alles"}],
}


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    """A context without a server, for operations that need no other service."""
    context = Context(state_dir=tmp_path, port=1, account="123456789012", region="us-east-1")
    yield context
    context.stop()


def broken(**changes: Any) -> dict[str, Any]:
    """GOOD_CONFIG with members of its variant replaced; None removes one."""
    variant = GOOD_CONFIG["ProductionVariants"][0] | changes
    kept = {key: value for key, value in variant.items() if value is not None}
    return GOOD_CONFIG | {"ProductionVariants": [kept]}


def test_a_good_request_has_no_violation() -> None:
    """Types, enums, patterns (with Java's letter classes) and bounds all hold."""
    assert violations(operation_model("CreateEndpointConfig").input_shape, GOOD_CONFIG) == []


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (broken(InstanceType="ml.m5.huge"), ["productionVariants.1.member.instanceType", "enum value set"]),
        (broken(InitialInstanceCount=0), ["initialInstanceCount", "greater than or equal to 1"]),
        (broken(InitialInstanceCount="1"), ["initialInstanceCount", "must be a number"]),
        (broken(InitialInstanceCount=1.5), ["initialInstanceCount", "whole number"]),
        (broken(InitialInstanceCount=True), ["initialInstanceCount", "must be a number"]),
        (broken(VariantName=None), ["variantName", "must not be null"]),
        (broken(VariantName="under_score"), ["variantName", "regular expression pattern"]),
        (broken(VariantName="v" * 64), ["variantName", "less than or equal to 63"]),
        (broken(Colour="red"), ["Unknown member", "colour"]),
        (GOOD_CONFIG | {"ProductionVariants": []}, ["productionVariants", "length greater than or equal to 1"]),
        (GOOD_CONFIG | {"ProductionVariants": {}}, ["productionVariants", "must be a list"]),
        (GOOD_CONFIG | {"Tags": [7]}, ["tags.1.member", "must be a structure"]),
        (GOOD_CONFIG | {"EnableNetworkIsolation": "yes"}, ["enableNetworkIsolation", "must be a boolean"]),
    ],
)
def test_every_kind_of_violation_names_the_member(request_: dict[str, Any], words: list[str]) -> None:
    """The violation has the path and the constraint."""
    found = violations(operation_model("CreateEndpointConfig").input_shape, request_)
    assert any(all(word in violation for word in words) for violation in found), found


@pytest.mark.parametrize("service", [*TARGETS, "sagemaker-runtime"])
def test_every_pattern_of_a_model_is_held_to(service: str) -> None:
    """They are Java's; Python reads each, so none lets every text pass."""
    model = service_model(service)
    for shape in (model.shape_for(name) for name in model.shape_names):
        if shape.type_name == "string":
            violations(shape, "any")  # raises re.error where Python cannot read the pattern


@pytest.mark.parametrize(("value", "held"), [("s3://b/Größe 1/", True), ("s3://b/hall#1/", False), ("(1)", False)])
def test_a_property_of_a_model_package_has_the_characters_that_sagemaker_takes(value: str, held: bool) -> None:
    request = {"ModelPackageGroupName": "bins", "CustomerMetadataProperties": {"photos_uri": value}}
    found = violations(operation_model("CreateModelPackage").input_shape, request)
    assert bool(found) is not held
    assert held or "customerMetadataProperties.photos_uri" in found[0]


def test_a_wrong_reply_never_leaves(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that forgets a required member of the reply is reported as an internal failure of local_aws."""
    monkeypatch.setitem(context.operations, ("sagemaker", "DescribeModel"), lambda context, request: {"ModelName": 7})
    with pytest.raises(AwsError, match=r"wrong shape.*creationTime") as caught:
        call(context, "DescribeModel", {"ModelName": "m"})
    assert caught.value.code == "InternalFailure"


def test_an_operation_is_answered_because_the_registry_names_it(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing a module registers nothing, and a name that AWS does not have fails at the start."""
    with pytest.raises(AwsError, match="does not implement ListModels"):
        call(context, "ListModels", {})
    context.operations = registry.operations()
    assert call(context, "ListModels", {}) == {"Models": []}
    monkeypatch.setitem(registry._SAGEMAKER_OPERATIONS, "ListMoodels", lambda context, request: {})
    with pytest.raises(OperationNotFoundError, match="ListMoodels"):
        registry.operations()


def test_errors_look_like_awss(local_aws: LocalAws, client: ClientFactory) -> None:
    """Unimplemented, unknown, unreadable: a code, a message and a status, never a traceback."""
    with pytest.raises(ClientError, match="does not implement ListDomains") as caught:
        client("sagemaker").list_domains()
    assert caught.value.response["Error"]["Code"] == "NotImplemented"

    def post(target: str, body: str) -> httpx.Response:
        return signed_post(local_aws, "/", body.encode(), {"X-Amz-Target": target})

    for target, body, code in (
        ("SageMaker.DoWhatIWant", "{}", "UnknownOperationException"),
        ("SageMaker.ListModels", "{", "SerializationException"),
        ("SageMaker.ListModels", "[]", "SerializationException"),
    ):
        reply = post(target, body)
        assert reply.status_code == 400
        assert reply.json()["__type"] == code
        assert reply.headers["x-amzn-errortype"] == code


def test_administration_says_what_it_knows(local_aws: LocalAws) -> None:
    """A wrong path lists the right ones; a body that is not JSON is refused."""
    with pytest.raises(LocalAwsError, match="reclaim"):
        local_aws.administer("sagemaker/nothing", {})
    refused = signed_post(local_aws, "/_local/sagemaker/reclaim", b"{")
    assert (refused.status_code, refused.json()["__type"]) == (400, "ValidationException")


@pytest.mark.skipif(shutil.which("aws") is None, reason="the aws CLI is not installed")
def test_the_aws_cli_cannot_tell(local_aws: LocalAws, client: ClientFactory) -> None:
    """A resource that the real command line makes."""
    command = ["aws", "sagemaker", "create-model-package-group", "--model-package-group-name", "by-cli"]
    done = subprocess.run(command, env=os.environ | local_aws.environment(), capture_output=True, text=True)
    if done.returncode == 127:
        pytest.skip("the aws command does not run here")
    assert done.returncode == 0, done.stderr
    described = client("sagemaker").describe_model_package_group(ModelPackageGroupName="by-cli")
    assert json.loads(done.stdout)["ModelPackageGroupArn"] == described["ModelPackageGroupArn"]


@given(count=st.integers(0, 40), size=st.integers(1, 15))
def test_pages_hold_everything_once_and_in_order(count: int, size: int) -> None:
    """Following NextToken visits every document."""
    documents = [{"n": n} for n in range(count)]
    seen: list[Any] = []
    token: str | None = None
    for _ in range(count + 1):
        page = cut(documents, {"MaxResults": size} | ({"NextToken": token} if token else {}))
        assert len(page.documents) <= size
        seen += page.documents
        token = page.next_token
        if token is None:
            break
    assert seen == documents


def test_a_foreign_page_token_is_refused() -> None:
    """A token that this operation did not return."""
    with pytest.raises(AwsError, match="NextToken"):
        cut([], {"NextToken": "bm9uc2Vuc2U="})


@given(data=st.data())
def test_listings_filter_and_sort(data: st.DataObject) -> None:
    """Filters given together select what they select one after the other, in the requested order."""
    names = data.draw(st.lists(st.text("abAB-", min_size=1, max_size=6), max_size=12))
    documents = [{"Name": name, "CreationTime": float(index % 5)} for index, name in enumerate(names)]
    request: dict[str, Any] = {
        "NameContains": data.draw(st.text("abAB", max_size=2)),
        "CreationTimeAfter": data.draw(st.floats(-1, 6)),
        "SortBy": data.draw(st.sampled_from(["Name", "CreationTime"])),
        "SortOrder": data.draw(st.sampled_from(["Ascending", "Descending"])),
    }
    page = list_page(documents, request | {"MaxResults": 100}, name="Name")
    kept = [
        document
        for document in documents
        if request["NameContains"].lower() in str(document["Name"]).lower()
        and float(str(document["CreationTime"])) > request["CreationTimeAfter"]
    ]
    key = request["SortBy"]
    assert sorted(map(str, page.documents)) == sorted(map(str, kept))
    values = [document[key] for document in page.documents]
    assert values == sorted(values, reverse=request["SortOrder"] == "Descending")


@settings(max_examples=25, deadline=None)
@given(changes=st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers()), max_size=20))
def test_the_store_remembers_across_a_restart(tmp_path_factory: pytest.TempPathFactory, changes: list[Any]) -> None:
    """Puts and deletes in any order leave the same documents, in the same order, after the file is opened again."""
    path = tmp_path_factory.mktemp("store") / "s.sqlite"
    store = Store(path)
    expected: dict[str, dict[str, int]] = {}
    for key, value in changes:
        if value is None:
            assert store.table("t").delete(key) == (key in expected)
            expected.pop(key, None)
        else:
            store.table("t").put(key, {"value": value})
            expected[key] = {"value": value}
    store.close()
    store = Store(path)
    assert store.table("t").items() == list(expected.items())
    assert store.table("other").all() == []
    store.close()


def test_a_failed_change_changes_nothing(tmp_path: Path) -> None:
    """An exception inside `update` or a transaction rolls everything back."""
    store = Store(tmp_path / "s.sqlite")
    table = store.table("t")
    table.put("a", {"n": 1})

    def fails(document: dict[str, Any]) -> None:
        document["n"] = 2
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        table.update("a", fails)
    with pytest.raises(ValueError, match="no"), store.transaction():
        table.put("b", {})
        raise ValueError("no")
    assert table.items() == [("a", {"n": 1})]
    assert not table.insert("a", {}) and not table.insert("A", {}) and table.update("z", fails) is None
    store.close()


def test_prefixes_become_folders_as_sagemaker_lays_them_out(client: ClientFactory, tmp_path: Path) -> None:
    """A folder's prefix with and without its slash, a single object, and a key that would climb out."""
    s3 = client("s3")
    s3.create_bucket(Bucket="channels")
    for key in ("data/train/1.txt", "data/train/deep/2.txt", "data/train-2/3.txt", "data/train/"):
        s3.put_object(Bucket="channels", Key=key, Body=key.encode())
    objects = ObjectStore(s3)

    def fetched(uri: str, name: str) -> list[str]:
        paths = objects.download_prefix(uri, tmp_path / name)
        assert all(path.read_text().endswith(path.name) for path in paths)
        return sorted(path.relative_to(tmp_path / name).as_posix() for path in paths)

    assert fetched("s3://channels/data/train/", "slash") == ["1.txt", "deep/2.txt"]
    assert fetched("s3://channels/data/train", "none") == ["1.txt", "deep/2.txt", "train-2/3.txt"]
    assert fetched("s3://channels/data/train/1.txt", "object") == ["1.txt"]
    assert list(objects.keys("s3://channels/data/train/1.txt")) == ["data/train/1.txt"]
    assert list(objects.keys("s3://channels/data/none")) == []
    assert objects.upload_tree(tmp_path / "slash", "s3://channels/copy") == ["copy/1.txt", "copy/deep/2.txt"]
    one = {"S3Uri": "s3://channels/data/train", "S3DataType": "S3Object", "CompressionType": "None"}
    s3.put_object(Bucket="channels", Key="data/train", Body=b"the object, not what lies under its name")
    place_model(objects, {"ModelDataSource": {"S3DataSource": one}}, tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["train"]
    s3.put_object(Bucket="channels", Key="evil/../../out.txt", Body=b"out")
    with pytest.raises(AwsError, match="outside"):
        objects.download_prefix("s3://channels/evil/", tmp_path / "evil")
    for uri in ("file:///etc/passwd", "https://example.com/bucket/key", "s3:///key"):
        with pytest.raises(AwsError, match="s3://bucket/key"):
            S3Uri.parse(uri)
    for host in ("s3.amazonaws.com/bucket", "s3.eu-west-1.amazonaws.com/bucket", "bucket.s3.us-east-1.amazonaws.com"):
        assert S3Uri.parse(f"https://{host}/a/key") == ("bucket", "a/key")


def kinds(shape: Any) -> dict[str, Any]:
    """Members of the wrong type, one for each member of a request."""
    return {
        name: "text" if member.type_name in {"structure", "list", "map", "integer"} else {"Key": 7}
        for name, member in shape.members.items()
    }


def test_a_malformed_request_is_a_validation_error_before_anybody_s_rights_are_looked_at(strict_aws: LocalAws) -> None:
    """Which rights a request needs is read from its members."""
    for service, name in registry.operations():
        shape = operation_model(name, service).input_shape
        if shape is None or not shape.members:
            continue
        body = json.dumps(kinds(shape)).encode()
        reply = signed_post(strict_aws, "/", body, {"X-Amz-Target": f"{TARGETS[service]}.{name}"})
        assert reply.status_code == 400, (name, reply.text)
        assert reply.json()["__type"] == "ValidationException" and "must be a" in reply.json()["message"], name


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b'{"Tags": [7], "ModelName": "m"}', "ValidationException", "at 'tags.1.member' must be a structure"),
        (b'{"Containers": [{"ModelPackageName": 7}], "ModelName": "m"}', "ValidationException", "must be a string"),
        (b'{"PrimaryContainer": null, "Containers": [null], "ModelName": "m"}', "ValidationException", "a structure"),
        (b'{"ModelName": "m", "Tags": null}', "ValidationException", "PrimaryContainer"),
        (b"[" * 100_000, "SerializationException", "not JSON"),
        (b"\xff", "SerializationException", "not JSON"),
    ],
)
def test_a_malformed_member_is_named(strict_aws: LocalAws, body: bytes, code: str, said: str) -> None:
    reply = signed_post(strict_aws, "/", body, {"X-Amz-Target": "SageMaker.CreateModel"})
    assert (reply.status_code, reply.json()["__type"]) == (400, code), reply.text
    assert said in reply.json()["message"]


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN"])
def test_a_number_without_a_value_is_refused(strict_aws: LocalAws, number: str) -> None:
    body = b'{"MaxResults": %s}' % number.encode()
    reply = signed_post(strict_aws, "/", body, {"X-Amz-Target": "SageMaker.ListModels"})
    assert (reply.status_code, reply.json()["__type"]) == (400, "ValidationException"), reply.text


def test_a_member_that_is_null_is_left_out(local_aws: LocalAws) -> None:
    body = b'{"ModelPackageGroupName": "nulls", "ModelPackageGroupDescription": null, "Tags": null}'
    assert signed_post(local_aws, "/", body, {"X-Amz-Target": "SageMaker.CreateModelPackageGroup"}).status_code == 200
    body = b'{"ModelPackageGroupName": "nulls", "ModelApprovalStatus": null, "InferenceSpecification": null}'
    reply = signed_post(local_aws, "/", body, {"X-Amz-Target": "SageMaker.CreateModelPackage"})
    assert reply.status_code == 400 and "Give an InferenceSpecification" in reply.json()["message"], reply.text


KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(KEYS)
def test_every_part_of_the_project_finds_the_same_key_in_an_address(key: str) -> None:
    """A key may hold every character: `?`, `#`, `;`, `%`, spaces, line ends, and slashes at its beginning."""
    uri = f"s3://bins/{key}"
    assert bucket_and_key(uri) == ("bins", key)
    assert S3Uri.parse(uri) == ("bins", key) and str(S3Uri.parse(uri)) == uri
    assert S3Uri.parse(f"https://bins.s3.amazonaws.com/{key}") == ("bins", key)


def test_addresses_of_the_web_alone_are_read_as_such(repository: Path) -> None:
    """urllib takes what follows `?`, `#` or `;` off a key."""
    readers = {
        path.relative_to(repository).as_posix()
        for room in (
            "binventory",
            "training_code",
            "lambda_code",
            "inference_code",
            "local_aws",
            "stacks",
            "benchmarks",
        )
        for path in (repository / room).rglob("*.py")
        if re.search(r"\burl(split|parse)\b", path.read_text())
    }
    assert readers == {"binventory/client/addresses.py", "binventory/core/aws.py", "binventory/doctor/github_api.py"}


def test_a_job_reads_and_writes_keys_of_any_character(client: ClientFactory) -> None:
    s3 = client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="odd?a=1#b;c/in/photo?.txt", Body=b"seen")
    s3.put_object(Bucket=BUCKET, Key="odd", Body=b"another object")
    where = f"s3://{BUCKET}/odd?a=1#b;c"
    local = "/opt/ml/processing"
    client("sagemaker").create_processing_job(
        ProcessingJobName="odd-keys",
        ProcessingResources={"ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}},
        AppSpecification={
            "ImageUri": IMAGE,
            "ContainerEntrypoint": ["/bin/bash", "-c", f"cp {local}/in/* {local}/out/"],
        },
        ProcessingInputs=[
            {
                "InputName": "in",
                "S3Input": {
                    "S3Uri": f"{where}/in/",
                    "LocalPath": f"{local}/in",
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                },
            }
        ],
        ProcessingOutputConfig={
            "Outputs": [
                {
                    "OutputName": "out",
                    "S3Output": {
                        "S3Uri": f"{where}/out",
                        "LocalPath": f"{local}/out",
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
        RoleArn=ROLE,
    )

    def ended() -> dict[str, Any] | None:
        job: dict[str, Any] = client("sagemaker").describe_processing_job(ProcessingJobName="odd-keys")
        return job if job["ProcessingJobStatus"] != "InProgress" else None

    job = until(ended)
    assert job["ProcessingJobStatus"] == "Completed", job.get("FailureReason")
    assert text_of(client, f"{where}/out/photo?.txt") == "seen"
