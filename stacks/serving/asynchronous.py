"""Asynchronous inference: the S3 prefixes of requests and answers, and the topics of notifications."""

from __future__ import annotations

from collections.abc import Iterator

from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk import aws_sns as sns

from stacks.settings.serving import ServingSettings
from stacks.shared import permissions
from stacks.storage.buckets import ASYNC_PREFIX
from stacks.storage.stack import StorageStack

_ASYNC = sagemaker.CfnEndpointConfig


class AsyncEndpoint:
    """The prefixes, topics and permissions of an asynchronous endpoint."""

    def __init__(self, settings: ServingSettings, storage: StorageStack, alerts: sns.ITopic) -> None:
        self._settings = settings
        self._storage = storage
        topics = {"alerts": alerts.topic_arn, "none": None}
        own = settings.asynchronous
        self._success = topics.get(own.success_topic, own.success_topic)
        self._error = topics.get(own.error_topic, own.error_topic)

    @property
    def input_uri(self) -> str:
        """Prefix that the client uploads photos to."""
        return self._uri("input")

    @property
    def config(self) -> sagemaker.CfnEndpointConfig.AsyncInferenceConfigProperty:
        """The endpoint configuration's part."""
        notified = self._success or self._error
        return _ASYNC.AsyncInferenceConfigProperty(
            client_config=_ASYNC.AsyncInferenceClientConfigProperty(
                max_concurrent_invocations_per_instance=self._settings.asynchronous.requests_per_instance
            ),
            output_config=_ASYNC.AsyncInferenceOutputConfigProperty(
                s3_output_path=self._uri("output"),
                s3_failure_path=self._uri("failures"),
                kms_key_id=self._storage.keys.data.key_arn if self._storage.keys else None,
                notification_config=_ASYNC.AsyncInferenceNotificationConfigProperty(
                    success_topic=self._success, error_topic=self._error
                )
                if notified
                else None,
            ),
        )

    def statements(self) -> Iterator[iam.PolicyStatement]:
        """Further statements for the endpoint's role."""
        yield from permissions.read_and_write_objects(self._storage.data_bucket.bucket_arn, ASYNC_PREFIX)
        topics = sorted({topic for topic in (self._success, self._error) if topic})
        if topics:
            yield permissions.allow(["sns:Publish"], topics)

    def _uri(self, folder: str) -> str:
        return f"s3://{self._storage.data_bucket.bucket_name}/{ASYNC_PREFIX}/{folder}/"
