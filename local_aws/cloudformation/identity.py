"""AWS::IAM::OIDCProvider, by ministack's own IAM."""

from __future__ import annotations

from local_aws.cloudformation.resource_type import Created, ResourceType, Update
from local_aws.core.context import Context
from local_aws.core.wire import Document

_ANY_THUMBPRINT = "0" * 40  # AWS finds it out by itself when a template gives none


def _create(context: Context, name: str, properties: Document) -> Created:
    arn: str = context.client("iam").create_open_id_connect_provider(
        Url=properties["Url"],
        ClientIDList=properties.get("ClientIdList", []),
        ThumbprintList=properties.get("ThumbprintList") or [_ANY_THUMBPRINT],
        Tags=properties.get("Tags", []),
    )["OpenIDConnectProviderArn"]
    return arn, {"Arn": arn}


def _update(context: Context, change: Update) -> Created:
    """The ARN comes from the URL, a change of which replaces the provider; the rest is written anew."""
    _delete(context, change.physical_id, change.old)
    return _create(context, "", change.new)


def _delete(context: Context, physical_id: str, properties: Document) -> None:
    client = context.client("iam")
    try:
        client.delete_open_id_connect_provider(OpenIDConnectProviderArn=physical_id)
    except client.exceptions.NoSuchEntityException:
        return


TYPES = [ResourceType("AWS::IAM::OIDCProvider", _create, _update, _delete, replacing=("Url",))]
