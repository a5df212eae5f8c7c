"""Who gets into a local AWS: programs that have its keys; no web page, and nobody else on this computer."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local_aws.server import LocalAws
from tests.contract.conftest import ClientFactory, connect, signed_post
from tests.contract.functions import make_function

LIST_FUNCTIONS = "/2015-03-31/functions/"
LISTING = {
    "s3": "list_buckets",
    "iam": "list_roles",
    "sagemaker": "list_models",
    "lambda": "list_functions",
    "cloudformation": "list_stacks",
    "logs": "describe_log_groups",
    "sqs": "list_queues",
    "ecr": "describe_repositories",
}
PAGES = ("https://evil.example", "http://localhost:8000", "null", "")


def status(aws: LocalAws, path: str, method: str = "POST", **headers: str) -> int:
    return httpx.request(method, f"{aws.endpoint_url}{path}", headers=headers, content=b"{}").status_code


@pytest.mark.parametrize("origin", PAGES)
def test_no_page_gets_in_even_with_the_keys(local_aws: LocalAws, origin: str) -> None:
    """A browser names the page that sends a request; no SDK does."""
    good = {"X-Amz-Target": "SageMaker.ListModels"}
    assert signed_post(local_aws, "/", b"{}", good).status_code == 200
    refused = signed_post(local_aws, "/", b"{}", {**good, "Origin": origin})
    assert (refused.status_code, refused.json()["__type"]) == (403, "AccessDeniedException")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:4566", "localhost.evil.example", "192.168.0.7", "[::2]:80"]
)
def test_a_name_that_leads_to_loopback_does_not_get_in(local_aws: LocalAws, host: str) -> None:
    """The page of a site whose name was rebound to 127.0.0.1 is of the same origin; its host tells it."""
    assert status(local_aws, "/_ministack/health", "GET", Host=host) == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:4566", "[::1]:4566", "bucket.localhost:4566"])
def test_the_names_of_loopback_get_in(local_aws: LocalAws, host: str) -> None:
    assert status(local_aws, "/_ministack/health", "GET", Host=host) == 200


def test_no_reply_lets_a_page_read_it(local_aws: LocalAws, client: ClientFactory) -> None:
    preflight = httpx.options(
        f"{local_aws.endpoint_url}{LIST_FUNCTIONS}", headers={"Access-Control-Request-Method": "POST"}
    )
    assert preflight.status_code == 403
    client("s3").create_bucket(Bucket="readable")
    replies = [
        preflight,
        httpx.get(f"{local_aws.endpoint_url}/_ministack/health"),
        signed_post(local_aws, "/", b"{}", {"X-Amz-Target": "SageMaker.ListModels"}),
        httpx.get(client("s3").generate_presigned_url("list_objects_v2", Params={"Bucket": "readable"})),
    ]
    assert [name for reply in replies for name in reply.headers if name.startswith("access-control-")] == []


def test_what_is_not_signed_changes_nothing(local_aws: LocalAws, client: ClientFactory) -> None:
    """The reset, the administration, buckets and functions; only the health is for everybody."""
    client("s3").create_bucket(Bucket="stays")
    assert status(local_aws, "/_ministack/reset") == 403
    assert status(local_aws, "/_local/budgets/spend") == 403
    assert status(local_aws, "/stays", "DELETE") == 403
    assert status(local_aws, "/stays", "GET") == 403
    assert status(local_aws, LIST_FUNCTIONS, "GET") == 403
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    post = httpx.post(f"{local_aws.endpoint_url}/", headers=form, content="Action=CreateUser&UserName=page")
    assert post.status_code == 403
    # An operation that needs no signature does not carry another one in.
    target = {**form, "X-Amz-Target": "SageMaker.ListModels"}
    hidden = httpx.post(f"{local_aws.endpoint_url}/", headers=target, content="Action=AssumeRoleWithWebIdentity")
    assert "MissingAuthenticationToken" in hidden.text
    assert client("s3").list_buckets()["Buckets"]
    assert client("iam").list_users()["Users"] == []


@pytest.mark.parametrize("service", LISTING)
@pytest.mark.parametrize("wrong", ["access key", "secret", "public"])
def test_every_client_understands_that_its_keys_are_wrong(local_aws: LocalAws, service: str, wrong: str) -> None:
    """In its own protocol: a code that boto3 finds, not a page that it cannot read."""
    keys = dict(local_aws.environment())
    if wrong == "public":
        keys |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    elif wrong == "secret":
        keys |= {"AWS_SECRET_ACCESS_KEY": keys["AWS_SECRET_ACCESS_KEY"][::-1]}
    else:
        keys |= {"AWS_ACCESS_KEY_ID": "AKIAAAAAAAAAAAAAAAAA"}
    create: Any = boto3.client
    stranger = create(
        service,
        endpoint_url=local_aws.endpoint_url,
        region_name=local_aws.region,
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": 1}),
    )
    listing = LISTING[service]
    with pytest.raises(ClientError) as caught:
        getattr(stranger, listing)()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] in {400, 401, 403}
    assert caught.value.response["Error"]["Code"] in {
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }


@given(
    key=st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\"), min_size=1, max_size=40
    ).filter(lambda key: not {".", ".."} & set(key.split("/")) and not key.startswith("/") and "//" not in key),
    body=st.binary(max_size=300),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_client_signs_is_found_signed(client: ClientFactory, key: str, body: bytes) -> None:
    """Any key and any body: by header, and by link of either version."""
    s3 = client("s3")
    if "any" not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket="any")
    s3.put_object(Bucket="any", Key=key, Body=body)
    assert s3.get_object(Bucket="any", Key=key)["Body"].read() == body
    link = s3.generate_presigned_url("get_object", Params={"Bucket": "any", "Key": key})
    assert httpx.get(link).content == body


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_a_link_is_for_what_it_names_and_for_its_time(local_aws: LocalAws, client: ClientFactory, version: str) -> None:
    keys = local_aws.environment()
    s3 = boto3.client(
        "s3",
        endpoint_url=local_aws.endpoint_url,
        region_name=local_aws.region,
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        config=Config(signature_version=version, s3={"addressing_style": "path"}),
    )
    bucket = f"links-{version}"
    client("s3").create_bucket(Bucket=bucket)
    for key in ("mine", "other"):
        client("s3").put_object(Bucket=bucket, Key=key, Body=key.encode())
    link = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "mine"})
    assert httpx.get(link).text == "mine"
    assert httpx.get(link.replace("/mine?", "/other?")).status_code == 403
    assert httpx.delete(link).status_code == 403
    late = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "mine"}, ExpiresIn=-5)
    assert httpx.get(late).status_code == 403


def test_the_body_that_was_signed_is_the_body_that_counts(local_aws: LocalAws) -> None:
    keys, url = local_aws.environment(), f"{local_aws.endpoint_url}/"
    request = AWSRequest("POST", url, {"X-Amz-Target": "SageMaker.ListModels"}, b'{"MaxResults": 1}')
    credentials = Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
    SigV4Auth(credentials, "sagemaker", local_aws.region).add_auth(request)
    sent = dict(request.headers.items())
    assert httpx.post(url, headers=sent, content=b'{"MaxResults": 1}').status_code == 200
    assert "InvalidSignatureException" in httpx.post(url, headers=sent, content=b'{"MaxResults": 2}').text


def test_the_link_to_a_functions_code_is_signed(client: ClientFactory) -> None:
    """boto3 gives it without keys, as on AWS; a changed link gives nothing."""
    make_function(client, "coded", "return 1")
    location = client("lambda").get_function(FunctionName="coded")["Code"]["Location"]
    assert zipfile.ZipFile(io.BytesIO(httpx.get(location).content)).namelist()
    assert httpx.get(location.partition("?")[0]).status_code == 403
    assert httpx.get(location.replace("/coded?", "/other?")).status_code == 403


def test_a_roles_session_gets_in_by_its_own_keys(local_aws: LocalAws, client: ClientFactory) -> None:
    trust = (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}'
    )
    arn = client("iam").create_role(RoleName="guest", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    given_keys = client("sts").assume_role(RoleArn=arn, RoleSessionName="me")["Credentials"]

    def caller(secret: str, token: str) -> str:
        sts = boto3.client(
            "sts",
            endpoint_url=local_aws.endpoint_url,
            region_name=local_aws.region,
            aws_access_key_id=given_keys["AccessKeyId"],
            aws_secret_access_key=secret,
            aws_session_token=token,
        )
        return str(sts.get_caller_identity()["Arn"])

    assert ":assumed-role/guest/me" in caller(given_keys["SecretAccessKey"], given_keys["SessionToken"])
    for secret, token in (("wrong", given_keys["SessionToken"]), (given_keys["SecretAccessKey"], "wrong")):
        with pytest.raises(ClientError):
            caller(secret, token)


def test_each_local_aws_has_keys_of_its_own_that_survive_and_that_only_the_owner_reads(tmp_path: Path) -> None:
    one, two = LocalAws(tmp_path / "one"), LocalAws(tmp_path / "two")
    first, second = one.environment(), two.environment()
    assert {first[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}.isdisjoint(second.values())
    with one:
        connect(one)("s3").create_bucket(Bucket="kept")
    with LocalAws(tmp_path / "one") as again:
        assert {name: again.environment()[name] for name in first if "KEY" in name} == {
            name: value for name, value in first.items() if "KEY" in name
        }
        assert connect(again)("s3").list_buckets()["Buckets"]
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "one" / "keys.json").stat().st_mode) == 0o600
