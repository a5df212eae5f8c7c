"""What is stored: encrypted with customer keys where there are any; logs with an end."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.policies.assembly import Assembly, SynthesizedStep
from stacks.policies.rule import Finding, Rule
from stacks.settings.instances import has_own_disk

# Type -> the property that names a key.
_ENCRYPTED = {"AWS::Logs::LogGroup": "KmsKeyId", "AWS::SNS::Topic": "KmsMasterKeyId"}


def _customer_keys(assembly: Assembly) -> Iterator[Finding]:
    if not any(assembly.of_type("AWS::KMS::Key")):
        return
    for resource in assembly.of_type(*_ENCRYPTED):
        name = _ENCRYPTED[resource.type]
        if not resource.properties.get(name):
            yield Finding(resource, name, "absent")
    yield from _buckets(assembly)
    yield from _of_endpoints(assembly)
    for step in assembly.jobs():
        yield from _of_job(step)


def _buckets(assembly: Assembly) -> Iterator[Finding]:
    buckets = list(assembly.of_type("AWS::S3::Bucket"))
    logged = [bucket.properties.get("LoggingConfiguration", {}).get("DestinationBucketName") for bucket in buckets]
    for bucket in buckets:
        if {"Ref": bucket.logical_id} in logged:
            continue  # S3 delivers access logs only to buckets with S3-managed keys
        for rule in bucket.properties.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration", [{}]):
            if not rule.get("ServerSideEncryptionByDefault", {}).get("KMSMasterKeyID"):
                yield Finding(bucket, "BucketEncryption.KMSMasterKeyID", "absent")


def _of_endpoints(assembly: Assembly) -> Iterator[Finding]:
    """The volume, and what an endpoint writes to S3: captured photos and answers, and the answers of its queue."""
    for config in assembly.of_type("AWS::SageMaker::EndpointConfig"):
        # A serverless endpoint has no volume to encrypt.
        machines = [one for one in config.properties["ProductionVariants"] if "ServerlessConfig" not in one]
        if machines and not config.properties.get("KmsKeyId"):
            yield Finding(config, "KmsKeyId", "absent")
        capture = config.properties.get("DataCaptureConfig")
        if capture and not capture.get("KmsKeyId"):
            yield Finding(config, "DataCaptureConfig.KmsKeyId", "absent")
        queue = config.properties.get("AsyncInferenceConfig")
        if queue and not queue["OutputConfig"].get("KmsKeyId"):
            yield Finding(config, "AsyncInferenceConfig.OutputConfig.KmsKeyId", "absent")


def _of_job(step: SynthesizedStep) -> Iterator[Finding]:
    job = step.job
    outputs = "OutputDataConfig" if "OutputDataConfig" in job else "ProcessingOutputConfig"
    if outputs in job and not job[outputs].get("KmsKeyId"):
        yield Finding.in_step(step, f"{outputs}.KmsKeyId", "absent")
    cluster = job.get("ResourceConfig") or job.get("ProcessingResources", {}).get("ClusterConfig", {})
    # SageMaker refuses a key for a local disk, which its hardware encrypts.
    if cluster and not _has_own_disk(step, cluster.get("InstanceType")) and not cluster.get("VolumeKmsKeyId"):
        yield Finding.in_step(step, "VolumeKmsKeyId", "absent")


def _has_own_disk(step: SynthesizedStep, instance_type: object) -> bool:
    if isinstance(instance_type, dict):  # a pipeline parameter: all allowed types have the kind of the default
        instance_type = step.default_of(str(instance_type.get("Get", "")).removeprefix("Parameters."))
    return has_own_disk(str(instance_type))


CUSTOMER_KEYS = Rule(
    id="BV-CustomerKeys",
    why="Data that is encrypted with your key in one place and with AWS's in another escapes your key policy there.",
    fix="Use BinventoryStack.topic and log_group, private_bucket and JobSecurity, which set the keys.",
    link="https://docs.aws.amazon.com/sagemaker/latest/dg/encryption-at-rest.html",
    find=_customer_keys,
)


def _log_retention(assembly: Assembly) -> Iterator[Finding]:
    for function in assembly.of_type("AWS::Lambda::Function"):
        if "LogGroup" not in function.properties.get("LoggingConfig", {}):
            yield Finding(function, "LoggingConfig.LogGroup", "absent")


LOG_RETENTION = Rule(
    id="BV-LogRetention",
    why="A function without a log group creates one that keeps logs for ever and outlives the stack.",
    fix="Create the log group with BinventoryStack.log_group and pass it to the function.",
    link="https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/Working-with-log-groups-and-streams.html",
    find=_log_retention,
)

RULES = (CUSTOMER_KEYS, LOG_RETENTION)
