"""The pipeline, the model package group, the roles of jobs and endpoint, and the function that promotes models."""

from __future__ import annotations

import tempfile
from pathlib import Path

from aws_cdk import AssetHashType, CfnOutput, Fn, Stage
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk import aws_sns as sns
from constructs import Construct, IDependable

from stacks.names import continuing_pipeline
from stacks.pipeline.context import PipelineContext
from stacks.pipeline.definition import definition
from stacks.pipeline.job_security import JobSecurity
from stacks.pipeline.parameters import Parameters
from stacks.serving.reconcile import Reconcile
from stacks.serving.roles import ServingRoles
from stacks.serving.update_role import ServingUpdateRole
from stacks.settings import Settings
from stacks.shared.assets import WHEELHOUSE, open_for_all, write_image_code, write_source_archive
from stacks.shared.cleanup import Cleanup
from stacks.shared.job_network import JobNetwork
from stacks.shared.stack import BinventoryStack
from stacks.storage.stack import StorageStack
from stacks.training.fingerprint import Fingerprint
from stacks.training.roles import JobAccess, PipelineRoles
from stacks.training.spot_fallback import SpotFallback


class TrainingStack(BinventoryStack):
    """From photos to an approved model package, and the function that promotes it to the endpoint."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        storage: StorageStack,
        alerts: sns.ITopic,
        budget_alerts: sns.ITopic,
        budget: str,
        network: JobNetwork | None = None,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            settings=settings,
            role="training",
            purpose="the pipeline and the model registry",
            keys=storage.keys,
        )
        name = settings.prefix
        code, code_hash = self._code(WHEELHOUSE if network else None)
        self.code = code
        self.serving_image = self._serving_image()
        self.model_package_group = self._group_name()
        group = sagemaker.CfnModelPackageGroup(
            self,
            "ModelPackageGroup",
            model_package_group_name=self.model_package_group,
            model_package_group_description="Models that count the items in a bin from its photo",
        )
        group.apply_removal_policy(self.removal_policy)
        fingerprint = Fingerprint(self, "Fingerprint", data_bucket=storage.data_bucket)
        data_key = storage.keys.data.key_arn if storage.keys else None
        roles = PipelineRoles(
            self,
            "Roles",
            access=JobAccess(
                settings=settings,
                data_bucket=storage.data_bucket,
                model_bucket=storage.model_bucket,
                code=code,
                model_package_group=self.model_package_group,
                fingerprint=fingerprint.function,
                serving_repository=self.serving_image.repository,
                network=network,
                data_key=data_key,
            ),
        )
        self.serving_roles = ServingRoles(
            self,
            "ServingRoles",
            storage=storage,
            alerts=alerts,
            images=self.serving_image.repository,
            network=network,
        )
        context = PipelineContext(
            settings=settings,
            parameters=Parameters.of(settings),
            roles=roles.job_roles,
            data_bucket=storage.data_bucket.bucket_name,
            model_bucket=storage.model_bucket.bucket_name,
            code_uri=code.s3_object_url,
            code_file=code.s3_object_key.rpartition("/")[2],
            code_hash=code_hash,
            fingerprint_function=fingerprint.function.function_arn,
            serving_image=self.serving_image.image_uri,
            model_package_group=self.model_package_group,
            security=JobSecurity(
                data_key=data_key,
                network=network,
            ),
        )
        pipeline = sagemaker.CfnPipeline(
            self,
            "Pipeline",
            pipeline_name=name,
            pipeline_display_name=name,
            pipeline_description="Learns to count the items in a bin from its photo",
            role_arn=roles.pipeline.role_arn,
            pipeline_definition={"PipelineDefinitionBody": self.to_json_string(definition(context))},
        )
        # An execution can start as soon as the pipeline exists, so its roles must be complete before.
        pipeline.node.add_dependency(roles, group, fingerprint)
        continuing: dict[str, IDependable] = {}
        if settings.continues_on_demand:
            fallback = SpotFallback(self, "SpotFallback", context=context, pipeline_role=roles.pipeline, alerts=alerts)
            fallback.node.add_dependency(roles, group, fingerprint)
            continuing = fallback.pipelines
        cleanup = Cleanup(self, "Cleanup")
        cleanup.bound_job_logs(settings.storage.log_retention_days)
        if not settings.storage.retain:
            cleanup.delete_model_packages(self.model_package_group, of=group)
            cleanup.stop_executions(name, of=pipeline)
            for first, of in continuing.items():
                cleanup.stop_executions(
                    continuing_pipeline(settings.prefix, first), of=of, construct_id=f"ExecutionsFrom{first}"
                )
        Reconcile(
            self,
            "Reconcile",
            memory=storage.data_bucket,
            alerts=alerts,
            budget_alerts=budget_alerts,
            budget=budget,
            model_package_group=self.model_package_group,
            update_role=ServingUpdateRole(
                self,
                "ServingUpdate",
                endpoint_role=self.serving_roles.endpoint,
                model_package_group=self.model_package_group,
                keys=storage.keys,
            ),
        )
        CfnOutput(self, "PipelineName", value=pipeline.pipeline_name)
        CfnOutput(self, "ModelPackageGroupName", value=self.model_package_group)

    def _group_name(self) -> str:
        """Name of the model package group: the environment's, and part of the stack's id where a destroy keeps it.

        The models of a kept group are in kept buckets, which the next deployment does not read. So it gets another
        group, and the name of the kept one is not in its way.
        """
        if not self.settings.storage.retain:
            return self.settings.prefix
        uuid = Fn.select(2, Fn.split("/", self.stack_id))
        return Fn.join("-", [self.settings.prefix, Fn.select(0, Fn.split("-", uuid))])

    def _code(self, wheelhouse: Path | None) -> tuple[s3_assets.Asset, str]:
        with tempfile.TemporaryDirectory() as folder:
            archive = write_source_archive(Path(folder), wheelhouse)
            asset = s3_assets.Asset(
                self,
                "Code",
                path=str(archive.path),
                asset_hash=archive.sha256,
                asset_hash_type=AssetHashType.CUSTOM,
            )
        return asset, archive.sha256

    def _serving_image(self) -> ecr_assets.DockerImageAsset:
        with tempfile.TemporaryDirectory() as folder:
            write_image_code(Path(folder))
            image = ecr_assets.DockerImageAsset(
                self,
                "ServingImage",
                directory=folder,
                platform=ecr_assets.Platform.LINUX_AMD64,
                # A Docker manifest: SageMaker refuses the OCI manifest that Docker's containerd store pushes otherwise.
                outputs=["type=docker"],
            )
        stage = Stage.of(self)
        assert stage is not None
        # The CDK keeps the modes of the files that it copies, but not those of folders.
        open_for_all(Path(stage.outdir, f"asset.{image.asset_hash}"))
        return image
