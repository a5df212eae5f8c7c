"""The local AWS that a client meets: two roles, a bucket, a small serving image and a model for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from binventory.rehearsal.folder import write_exports
from local_aws.server import LocalAws
from tests.contract.conftest import connect
from tests.contract.serving import push_image, put_artefact

BUCKET = "photos"
_TRUSTED = ("sagemaker.amazonaws.com", "lambda.amazonaws.com")


@contextmanager
def prepared(folder: Path) -> Iterator[dict[str, str]]:
    """Start it; yields the exports that `environment.sh` of a kept rehearsal has, and what the tests read."""
    with LocalAws(folder / "aws") as aws:
        client = connect(aws)
        for name in ("data-scientist", "functions"):
            statement = {"Effect": "Allow", "Principal": {"Service": list(_TRUSTED)}, "Action": "sts:AssumeRole"}
            trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
            client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trust)
            # Version 3 of the SDK has IAM simulate what a job needs before it starts one.
            everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
            document = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
            client("iam").put_role_policy(RoleName=name, PolicyName="everything", PolicyDocument=document)
        client("s3").create_bucket(Bucket=BUCKET)
        for number in range(4):
            client("s3").put_object(Bucket=BUCKET, Key=f"bins/{number}.txt", Body=f"{number + 1}\n".encode())
        image = push_image(aws, client)
        model = put_artefact(client, "served")
        exports = write_exports(folder, aws.environment())
        yield exports | {
            "CLIENTS_ROLE": f"arn:aws:iam::{aws.account}:role/data-scientist",
            "CLIENTS_FUNCTION_ROLE": f"arn:aws:iam::{aws.account}:role/functions",
            "CLIENTS_BUCKET": BUCKET,
            "CLIENTS_IMAGE": image,
            "CLIENTS_MODEL": model,
        }
