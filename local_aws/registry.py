"""The one registry of the local AWS: the function that answers each operation, and the work that begins at its start.

To implement an operation, write its function in the folder of its resource and name it here. Create, Describe, List and
Stop of jobs are methods of their JobKind (jobs/job_kind.py).
"""

from __future__ import annotations

from collections.abc import Callable

from local_aws.core import tags
from local_aws.core.context import Context
from local_aws.core.protocol import AUTOSCALING, COST_EXPLORER, QUOTAS, SAGEMAKER, Handler, Operations
from local_aws.core.shapes import operation_model
from local_aws.hosting import async_queue, autoscaling, endpoints, live_endpoints, model_registry, models
from local_aws.jobs import training
from local_aws.jobs.processing import PROCESSING_JOBS
from local_aws.jobs.training import TRAINING_JOBS
from local_aws.jobs.transform import TRANSFORM_JOBS
from local_aws.other_services import alarms, budgets, cost_tags, ec2_machines, quotas
from local_aws.pipelines import pipelines
from local_aws.tuning import tuning_jobs
from local_aws.tuning.tuning_jobs import TUNING_JOBS

_SAGEMAKER_OPERATIONS: dict[str, Handler] = {
    "AddTags": tags.add_tags,
    "ListTags": tags.list_tags,
    "DeleteTags": tags.delete_tags,
    # Jobs
    "CreateTrainingJob": TRAINING_JOBS.create,
    "DescribeTrainingJob": TRAINING_JOBS.describe,
    "ListTrainingJobs": TRAINING_JOBS.list,
    "StopTrainingJob": TRAINING_JOBS.stop,
    "CreateProcessingJob": PROCESSING_JOBS.create,
    "DescribeProcessingJob": PROCESSING_JOBS.describe,
    "ListProcessingJobs": PROCESSING_JOBS.list,
    "StopProcessingJob": PROCESSING_JOBS.stop,
    "CreateTransformJob": TRANSFORM_JOBS.create,
    "DescribeTransformJob": TRANSFORM_JOBS.describe,
    "ListTransformJobs": TRANSFORM_JOBS.list,
    "StopTransformJob": TRANSFORM_JOBS.stop,
    # Tuning
    "CreateHyperParameterTuningJob": TUNING_JOBS.create,
    "DescribeHyperParameterTuningJob": tuning_jobs.describe_tuning_job,
    "ListHyperParameterTuningJobs": tuning_jobs.list_tuning_jobs,
    "ListTrainingJobsForHyperParameterTuningJob": tuning_jobs.list_trials,
    "StopHyperParameterTuningJob": TUNING_JOBS.stop,
    # Pipelines
    "CreatePipeline": pipelines.create_pipeline,
    "UpdatePipeline": pipelines.update_pipeline,
    "DescribePipeline": pipelines.describe_pipeline,
    "DeletePipeline": pipelines.delete_pipeline,
    "ListPipelines": pipelines.list_pipelines,
    "StartPipelineExecution": pipelines.start_pipeline_execution,
    "StopPipelineExecution": pipelines.stop_pipeline_execution,
    "RetryPipelineExecution": pipelines.retry_pipeline_execution,
    "DescribePipelineExecution": pipelines.describe_pipeline_execution,
    "DescribePipelineDefinitionForExecution": pipelines.describe_definition,
    "ListPipelineParametersForExecution": pipelines.list_parameters,
    "ListPipelineExecutions": pipelines.list_pipeline_executions,
    "ListPipelineExecutionSteps": pipelines.list_steps,
    # Model registry
    "CreateModelPackageGroup": model_registry.create_model_package_group,
    "DescribeModelPackageGroup": model_registry.describe_model_package_group,
    "ListModelPackageGroups": model_registry.list_model_package_groups,
    "DeleteModelPackageGroup": model_registry.delete_model_package_group,
    "PutModelPackageGroupPolicy": model_registry.put_model_package_group_policy,
    "GetModelPackageGroupPolicy": model_registry.get_model_package_group_policy,
    "DeleteModelPackageGroupPolicy": model_registry.delete_model_package_group_policy,
    "CreateModelPackage": model_registry.create_model_package,
    "DescribeModelPackage": model_registry.describe_model_package,
    "BatchDescribeModelPackage": model_registry.batch_describe_model_package,
    "ListModelPackages": model_registry.list_model_packages,
    "UpdateModelPackage": model_registry.update_model_package,
    "DeleteModelPackage": model_registry.delete_model_package,
    # Hosting; InvokeEndpoint and InvokeEndpointAsync have paths instead of names, see service.py
    "CreateModel": models.create_model,
    "DescribeModel": models.describe_model,
    "ListModels": models.list_models,
    "DeleteModel": models.delete_model,
    "CreateEndpointConfig": models.create_endpoint_config,
    "DescribeEndpointConfig": models.describe_endpoint_config,
    "ListEndpointConfigs": models.list_endpoint_configs,
    "DeleteEndpointConfig": models.delete_endpoint_config,
    "CreateEndpoint": endpoints.create_endpoint,
    "DescribeEndpoint": endpoints.describe_endpoint,
    "ListEndpoints": endpoints.list_endpoints,
    "UpdateEndpoint": endpoints.update_endpoint,
    "UpdateEndpointWeightsAndCapacities": endpoints.update_endpoint_weights_and_capacities,
    "DeleteEndpoint": endpoints.delete_endpoint,
}
_AUTOSCALING_OPERATIONS: dict[str, Handler] = {
    "RegisterScalableTarget": autoscaling.register_scalable_target,
    "DescribeScalableTargets": autoscaling.describe_scalable_targets,
    "DeregisterScalableTarget": autoscaling.deregister_scalable_target,
    "PutScalingPolicy": autoscaling.put_scaling_policy,
    "DescribeScalingPolicies": autoscaling.describe_scaling_policies,
    "DeleteScalingPolicy": autoscaling.delete_scaling_policy,
    "DescribeScalingActivities": autoscaling.describe_scaling_activities,
}

_QUOTA_OPERATIONS: dict[str, Handler] = {
    "ListServiceQuotas": quotas.list_service_quotas,
    "ListAWSDefaultServiceQuotas": quotas.list_default_quotas,
    "RequestServiceQuotaIncrease": quotas.request_increase,
}
_COST_OPERATIONS: dict[str, Handler] = {
    "ListCostAllocationTags": cost_tags.list_tags,
    "UpdateCostAllocationTagsStatus": cost_tags.update_status,
}

ADMINISTRATION: dict[str, Handler] = {
    "billing/account": cost_tags.set_account,
    "budgets/spend": budgets.spend,
    "ec2/interrupt": ec2_machines.interrupt,
    "sagemaker/reclaim": training.reclaim,
}
"""What answers `POST /_local/AREA/NAME`."""


def operations() -> Operations:
    """Every operation that the local AWS answers; a misspelt name raises botocore's OperationNotFoundError."""
    named = {
        SAGEMAKER: _SAGEMAKER_OPERATIONS,
        AUTOSCALING: _AUTOSCALING_OPERATIONS,
        QUOTAS: _QUOTA_OPERATIONS,
        COST_EXPLORER: _COST_OPERATIONS,
    }
    found = {(service, name): handler for service, table in named.items() for name, handler in table.items()}
    for service, name in found:
        operation_model(name, service)
    return found


def resume_jobs(context: Context) -> None:
    """Resume what ran when the local AWS last stopped: jobs, then tuning jobs and executions, which wait for jobs."""
    for resume in (
        TRAINING_JOBS.resume,
        PROCESSING_JOBS.resume,
        TRANSFORM_JOBS.resume,
        tuning_jobs.resume,
        pipelines.resume,
    ):
        resume(context)


AT_START: tuple[Callable[[Context], None], ...] = (
    alarms.watch,
    resume_jobs,
    live_endpoints.resume,
    async_queue.resume,
)
"""Called when the port answers, each in a thread."""
