"""Whether what a request names exists: a network, objects in S3. AWS refuses a request that names others.

The service itself looks, so that a caller needs no further permission.
"""

from __future__ import annotations

import json

from botocore.exceptions import ClientError

from local_aws.core.context import Context
from local_aws.core.errors import validation
from local_aws.core.objects import S3Uri
from local_aws.core.protocol import Document


def require_network(context: Context, request: Document) -> None:
    """Refuse subnets and security groups that do not exist."""
    config = request.get("VpcConfig") or request.get("NetworkConfig", {}).get("VpcConfig")
    if not config:
        return
    ec2 = context.client("ec2")
    try:
        ec2.describe_subnets(SubnetIds=config["Subnets"])
        ec2.describe_security_groups(GroupIds=config["SecurityGroupIds"])
    except ClientError as error:
        raise validation(f"VpcConfig: {error.response['Error']['Message']}") from None


def require_objects(context: Context, uri: str, role_arn: str, *, manifest: bool) -> None:
    """Refuse an input of a job under whose prefix nothing is; of a manifest, its first object is looked for too."""
    where = S3Uri.parse(uri)
    client = context.client("s3")
    try:
        found = client.list_objects_v2(Bucket=where.bucket, Prefix=where.key, MaxKeys=1).get("Contents")
        if found and manifest:
            base, *names = json.loads(client.get_object(Bucket=where.bucket, Key=where.key)["Body"].read())
            first = S3Uri.parse(f"{base['prefix']}{names[0]}")
            client.head_object(Bucket=first.bucket, Key=first.key)
    except ClientError as error:
        found, detail = None, f" Error message from S3: {error.response['Error']['Message']}"
    except (ValueError, KeyError, TypeError, IndexError):
        return  # what a manifest may hold is checked where it is read
    else:
        detail = ""
    if not found:
        raise validation(
            f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the bucket '
            f"exists in the selected region ({context.region}), that objects exist under that S3 prefix, and that the "
            f'role "{role_arn}" has "s3:ListBucket" permissions on bucket "{where.bucket}".{detail}'
        )


def require_model_data(context: Context, container: Document) -> None:
    """Refuse a model whose artefact does not exist."""
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    uri = source.get("S3Uri") or container.get("ModelDataUrl")
    if not uri:
        return
    where = S3Uri.parse(uri)
    client = context.client("s3")
    whole_prefix = source.get("S3DataType") == "S3Prefix"
    if whole_prefix and not uri.endswith("/"):
        raise validation(f"S3Uri {uri} with S3DataType S3Prefix must end with a forward slash")
    try:
        if whole_prefix:
            found = bool(client.list_objects_v2(Bucket=where.bucket, Prefix=where.key, MaxKeys=1).get("Contents"))
        else:
            found = bool(client.head_object(Bucket=where.bucket, Key=where.key))
    except ClientError:
        found = False
    if not found:
        raise validation(f"Could not find model data at {uri}.")
