"""The buckets: data, models and access logs."""

from __future__ import annotations

from aws_cdk import CfnOutput
from constructs import Construct

from stacks.settings import Settings
from stacks.shared.cleanup import Cleanup
from stacks.shared.keys import Keys
from stacks.shared.stack import BinventoryStack
from stacks.storage.buckets import data_bucket, log_bucket, model_bucket


class StorageStack(BinventoryStack):
    """Three private buckets that refuse plain HTTP. A destroy deletes them in dev and keeps them in prod."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings) -> None:
        super().__init__(scope, construct_id, settings=settings, role="storage", purpose="the buckets")
        if settings.security.customer_keys:
            self.keys = Keys(self, "Keys", prefix=settings.prefix, removal_policy=self.removal_policy)
        self.log_bucket = log_bucket(self)
        self.data_bucket = data_bucket(self, self.log_bucket)
        self.model_bucket = model_bucket(self, self.log_bucket)
        if not settings.storage.retain:
            cleanup = Cleanup(self, "Cleanup")
            for bucket in (self.data_bucket, self.model_bucket, self.log_bucket):
                cleanup.empty_bucket(bucket)
        self.always_export(
            *(
                value
                for bucket in (self.data_bucket, self.model_bucket)
                for value in (bucket.bucket_arn, bucket.bucket_name)
            )
        )
        CfnOutput(self, "DataBucketName", value=self.data_bucket.bucket_name)
        CfnOutput(self, "ModelBucketName", value=self.model_bucket.bucket_name)
        CfnOutput(self, "LogBucketName", value=self.log_bucket.bucket_name)
