"""The members of requests that AWS reads and the local AWS does not.

A member that would change what comes out is refused by name (`REFUSED`). A member that changes only where, on what or
how closely watched something runs is taken and has no effect (`WITHOUT_EFFECT`); docs/local-jobs.md lists those.
tests/unit/test_members.py walks the services' models and fails for a member that no code reads and neither table names:
a new version of botocore brings no silent one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from local_aws.core.errors import not_local
from local_aws.core.protocol import Document

Paths = Mapping[str, tuple[object, ...]]
"""Paths of members, without the places in lists; with the values that do the same on AWS as leaving the member out."""

_ALWAYS: Final = ()
_CHANNEL: Final[Paths] = {
    "CompressionType": ("None",),
    "DataSource.DatasetSource": _ALWAYS,
    "DataSource.FileSystemDataSource": _ALWAYS,
    "DataSource.S3DataSource.AttributeNames": _ALWAYS,
    "DataSource.S3DataSource.HubAccessConfig": _ALWAYS,
    "DataSource.S3DataSource.InstanceGroupNames": _ALWAYS,
    "DataSource.S3DataSource.ModelAccessConfig": _ALWAYS,
    "RecordWrapperType": ("None",),
    "ShuffleConfig": _ALWAYS,
}
_INSTANCE_CHOICE: Final[Paths] = dict.fromkeys(
    ("InstancePreferences", "SelectedInstanceCount", "SelectedInstanceType"), _ALWAYS
)
_MODEL_SOURCE: Final[Paths] = dict.fromkeys(
    ("ETag", "HubAccessConfig", "ManifestEtag", "ManifestS3Uri", "ModelAccessConfig"), _ALWAYS
)


def _below(parent: str, paths: Paths) -> Paths:
    return {f"{parent}.{path}": values for path, values in paths.items()}


_CONTAINER: Final[Paths] = {
    "AdditionalModelDataSources": _ALWAYS,
    "ContainerMetricsConfig": _ALWAYS,
    "ImageConfig.RepositoryAccessMode": ("Platform",),
    "ImageConfig.RepositoryAuthConfig": _ALWAYS,
    "InferenceSpecificationName": _ALWAYS,
    "Mode": ("SingleModel",),
    "MultiModelConfig": _ALWAYS,
    **_below("ModelDataSource.S3DataSource", _MODEL_SOURCE),
}
_TRAINING: Final[Paths] = {
    **_below("InputDataConfig", _CHANNEL),
    **_below("ResourceConfig", _INSTANCE_CHOICE),
}

REFUSED: Final[Mapping[str, Paths]] = {
    "CreateEndpointConfig": {
        "AsyncInferenceConfig.OutputConfig.NotificationConfig.IncludeInferenceResponseIn": _ALWAYS,
        "ExplainerConfig": _ALWAYS,
        "ProductionVariants.AcceleratorType": _ALWAYS,
        "ProductionVariants.InstancePools": _ALWAYS,
        "ProductionVariants.ManagedInstanceScaling": _ALWAYS,
        "ShadowProductionVariants": _ALWAYS,
    },
    "CreateHyperParameterTuningJob": {
        "Autotune": _ALWAYS,
        "HyperParameterTuningJobConfig.ParameterRanges.AutoParameters": _ALWAYS,
        "TrainingJobDefinition.HyperParameterRanges.AutoParameters": _ALWAYS,
        "TrainingJobDefinitions": _ALWAYS,
        **_below("TrainingJobDefinition", _TRAINING),
    },
    "CreateModel": {
        "InferenceExecutionConfig": _ALWAYS,
        **_below("Containers", _CONTAINER),
        **_below("PrimaryContainer", _CONTAINER),
    },
    "CreateModelPackage": {"SourceAlgorithmSpecification": _ALWAYS, "ValidationSpecification": _ALWAYS},
    "CreateModelPackageGroup": {"ManagedConfiguration": _ALWAYS},
    "CreateProcessingJob": {
        "ProcessingInputs.AppManaged": _ALWAYS,
        "ProcessingInputs.DatasetDefinition": _ALWAYS,
        "ProcessingOutputConfig.Outputs.AppManaged": _ALWAYS,
        "ProcessingOutputConfig.Outputs.FeatureStoreOutput": _ALWAYS,
        **_below("ProcessingResources.ClusterConfig", _INSTANCE_CHOICE),
    },
    "CreateTrainingJob": {
        "AlgorithmSpecification.TrainingImageConfig": _ALWAYS,
        "MlflowConfig": _ALWAYS,
        "ModelPackageConfig": _ALWAYS,
        "ServerlessJobConfig": _ALWAYS,
        **_TRAINING,
    },
    "DescribeModelPackage": {"IncludedData": ("AllData",)},
    "DescribePipeline": {"PipelineVersionId": _ALWAYS},
    "RegisterScalableTarget": {"SuspendedState.ScheduledScalingSuspended": _ALWAYS},
    "StartPipelineExecution": {
        "MlflowExperimentName": _ALWAYS,
        "PipelineVersionId": _ALWAYS,
        "SelectiveExecutionConfig": _ALWAYS,
    },
    "UpdateEndpointWeightsAndCapacities": {"DesiredWeightsAndCapacities.ServerlessUpdateConfig": _ALWAYS},
}
"""By operation. A member that is False or empty is not refused."""

_MACHINES: Final = frozenset({"InstancePlacementConfig", "KeepAlivePeriodInSeconds", "TrainingPlanArn"})

WITHOUT_EFFECT: Final[Mapping[str, frozenset[str]]] = {
    "CreateEndpointConfig": frozenset(
        {
            "EnableNetworkIsolation",
            "ExecutionRoleArn",
            "KmsKeyId",
            "MetricsConfig",
            "ProductionVariants.CapacityReservationConfig",
            "ProductionVariants.CoreDumpConfig",
            "ProductionVariants.EnableSSMAccess",
            "ProductionVariants.InferenceAmiVersion",
            "ProductionVariants.ModelDataDownloadTimeoutInSeconds",
            "ProductionVariants.RoutingConfig",
            "ProductionVariants.ServerlessConfig.MemorySizeInMB",
            "ProductionVariants.ServerlessConfig.ProvisionedConcurrency",
            "ProductionVariants.VariantInstanceProvisionTimeoutInSeconds",
            "ProductionVariants.VolumeSizeInGB",
            "VpcConfig",
        }
    ),
    "CreateHyperParameterTuningJob": frozenset(
        {
            "TrainingJobDefinition.EnableInterContainerTrafficEncryption",
            "TrainingJobDefinition.EnableNetworkIsolation",
            "TrainingJobDefinition.HyperParameterTuningResourceConfig.AllocationStrategy",
            "TrainingJobDefinition.RetryStrategy",
            "TrainingJobDefinition.StoppingCondition.MaxPendingTimeInSeconds",
            *(f"TrainingJobDefinition.ResourceConfig.{member}" for member in _MACHINES),
        }
    ),
    "CreateModel": frozenset(
        {"Containers.ContainerHostname", "EnableNetworkIsolation", "PrimaryContainer.ContainerHostname"}
    ),
    "CreateProcessingJob": frozenset(
        {
            "ExperimentConfig",
            "NetworkConfig.EnableInterContainerTrafficEncryption",
            "NetworkConfig.EnableNetworkIsolation",
        }
    ),
    "CreateTrainingJob": frozenset(
        {
            "AlgorithmSpecification.EnableSageMakerMetricsTimeSeries",
            "EnableInterContainerTrafficEncryption",
            "EnableNetworkIsolation",
            "ExperimentConfig",
            "InfraCheckConfig",
            "RemoteDebugConfig",
            "RetryStrategy",
            "SessionChainingConfig",
            "StoppingCondition.MaxPendingTimeInSeconds",
            *(f"ResourceConfig.{member}" for member in _MACHINES),
        }
    ),
    "CreateTransformJob": frozenset({"TransformResources.TransformAmiVersion"}),
    "DescribeScalingActivities": frozenset({"IncludeNotScaledActivities"}),
    "ListServiceQuotas": frozenset({"QuotaAppliedAtLevel"}),
    "PutScalingPolicy": frozenset(
        {
            "PredictiveScalingPolicyConfiguration",
            "StepScalingPolicyConfiguration",
            "TargetTrackingScalingPolicyConfiguration.CustomizedMetricSpecification",
            "TargetTrackingScalingPolicyConfiguration.PredefinedMetricSpecification",
            "TargetTrackingScalingPolicyConfiguration.ScaleOutCooldown",
            "TargetTrackingScalingPolicyConfiguration.TargetValue",
        }
    ),
    "RegisterScalableTarget": frozenset({"Tags"}),
    "RequestServiceQuotaIncrease": frozenset({"ContextId", "SupportCaseAllowed"}),
}
"""By operation."""


def refuse_members(operation: str, request: Document) -> None:
    """Raise NotImplemented with every member of a request that changes the result on AWS, and does nothing here."""
    refused = REFUSED.get(operation, {})
    found = [
        path
        for path, harmless in refused.items()
        if any(value and value not in harmless for value in _values(request, path.split(".")))
    ]
    if found:
        raise not_local(f"{', '.join(found)} does not run locally", "leave it out of the request")


def _values(document: Any, path: list[str]) -> Iterator[Any]:
    """Every value at a path, on which a list has one of each item."""
    if isinstance(document, list):
        for item in document:
            yield from _values(item, path)
    elif not path:
        yield document
    elif isinstance(document, dict) and path[0] in document:
        yield from _values(document[path[0]], path[1:])
