"""The role with which CloudFormation changes the serving stack when the function `reconcile` asks for it.

Without one, CloudFormation acts with the role that deployed the stack last, which by default may do everything. This
one may make, change and delete what an update of the parameters changes: the models and endpoint configurations of the
stack, its one endpoint, its scaling target and its alarms. It passes no role but the endpoint's. The log group is none
of them: only deployments change it.

The rights are those that CloudFormation's schemas list for the handlers of these types, and those that Application Auto
Scaling asks the caller for.
"""

from __future__ import annotations

from collections.abc import Iterator

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.serving.alarms import ALARMS
from stacks.serving.endpoint import VARIANT
from stacks.serving.generated_names import Noun, name_patterns
from stacks.serving.scaling import BACKLOG_ALARM
from stacks.shared import permissions
from stacks.shared.keys import Keys
from stacks.shared.permissions import allow
from stacks.shared.stack import BinventoryStack

_LINKED = "sagemaker.application-autoscaling.amazonaws.com"


class ServingUpdateRole(Construct):
    """The role, which CloudFormation assumes."""

    def __init__(
        self,
        stack: BinventoryStack,
        construct_id: str,
        *,
        endpoint_role: iam.IRole,
        model_package_group: str,
        keys: Keys | None,
    ) -> None:
        super().__init__(stack, construct_id)
        self._stack = stack
        self._endpoint_role = endpoint_role
        self._group = model_package_group
        self._keys = keys
        self.role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal(permissions.CLOUDFORMATION),
            description=f"{stack.settings.prefix}: CloudFormation changes the serving stack with it",
        )
        iam.Policy(self, "Policy", roles=[self.role], statements=list(self._statements()))

    def _statements(self) -> Iterator[iam.PolicyStatement]:
        yield from self._models()
        yield from self._endpoint()
        yield from self._alarms()
        yield from self._scaling()

    def _models(self) -> Iterator[iam.PolicyStatement]:
        stack = self._stack
        models, configurations = self._named("model"), self._named("endpoint-config")
        packages = permissions.sagemaker_arn(stack, "model-package", f"{self._group}/*")
        yield allow(["sagemaker:CreateModel"], [*models, packages])
        yield allow(["sagemaker:DescribeModelPackage"], [packages])
        yield allow(["sagemaker:DeleteModel", "sagemaker:DescribeModel"], models)
        yield allow([f"sagemaker:{verb}EndpointConfig" for verb in ("Create", "Delete")], configurations)
        endpoint = permissions.sagemaker_arn(stack, "endpoint", stack.settings.prefix)
        tagging = [f"sagemaker:{verb}Tags" for verb in ("Add", "Delete", "List")]
        yield allow(tagging, [*models, *configurations, endpoint])
        yield allow(["sagemaker:CreateEndpoint", "sagemaker:UpdateEndpoint"], [endpoint, *configurations])
        yield permissions.pass_roles(self._endpoint_role.role_arn)
        if self._keys:
            key = self._keys.data.key_arn
            yield allow(["kms:DescribeKey"], [key])
            yield allow(["kms:CreateGrant"], [key], {"Bool": {"kms:GrantIsForAWSResource": "true"}})

    def _named(self, noun: Noun) -> list[str]:
        """ARNs of the stack's resources of a kind, whose names CloudFormation makes up."""
        settings = self._stack.settings
        patterns = name_patterns(settings.stack_name("serving"), settings.prefix, noun)
        return [permissions.sagemaker_arn(self._stack, noun, pattern) for pattern in patterns]

    def _endpoint(self) -> Iterator[iam.PolicyStatement]:
        endpoint = permissions.sagemaker_arn(self._stack, "endpoint", self._stack.settings.prefix)
        yield allow(["sagemaker:DeleteEndpoint", "sagemaker:DescribeEndpoint"], [endpoint])

    def _alarms(self) -> Iterator[iam.PolicyStatement]:
        prefix = self._stack.settings.prefix
        names = [f"{prefix}-{name}" for name in (*ALARMS, BACKLOG_ALARM)]
        tagging = ("ListTagsForResource", "TagResource", "UntagResource")
        actions = [f"cloudwatch:{action}" for action in ("DeleteAlarms", "PutMetricAlarm", *tagging)]
        yield allow(actions, [permissions.alarm_arn(self._stack, name) for name in names])
        # Without a name it asks for all of them. SageMaker asks for it too, for alarms that roll back a rollout.
        yield allow(["cloudwatch:DescribeAlarms"], [permissions.alarm_arn(self._stack, "*")])

    def _scaling(self) -> Iterator[iam.PolicyStatement]:
        """For every mode: a deployment that turns scaling on changes this stack before the serving stack."""
        stack, prefix = self._stack, self._stack.settings.prefix
        dimension: dict[str, object] = {
            "application-autoscaling:service-namespace": "sagemaker",
            "application-autoscaling:scalable-dimension": "sagemaker:variant:DesiredInstanceCount",
        }
        # The service numbers its targets.
        targets = [stack.format_arn(service="application-autoscaling", resource="scalable-target", resource_name="*")]
        changing = ("DeleteScalingPolicy", "DeregisterScalableTarget", "PutScalingPolicy", "RegisterScalableTarget")
        yield allow([f"application-autoscaling:{action}" for action in changing], targets, {"StringEquals": dimension})
        tagging = ("ListTagsForResource", "TagResource", "UntagResource")
        yield allow([f"application-autoscaling:{action}" for action in tagging], targets)
        reading = ("DescribeScalableTargets", "DescribeScalingPolicies", "DescribeScheduledActions")
        yield allow([f"application-autoscaling:{action}" for action in reading], ["*"])
        # The caller who registers a target or a policy is asked for them, though the service-linked role does it.
        endpoint = permissions.sagemaker_arn(stack, "endpoint", prefix)
        yield allow(["sagemaker:UpdateEndpointWeightsAndCapacities"], [endpoint])
        # It tries this one on a name that it makes up: https://github.com/aws-controllers-k8s/community/issues/2110
        # CloudFormation reads the stack's own configuration by it, too.
        yield allow(["sagemaker:DescribeEndpointConfig"], [permissions.sagemaker_arn(stack, "endpoint-config", "*")])
        tracking = permissions.alarm_arn(stack, f"TargetTracking-endpoint/{prefix}/variant/{VARIANT}*")
        yield allow(["cloudwatch:DeleteAlarms", "cloudwatch:PutMetricAlarm"], [tracking])
        yield allow(
            ["iam:CreateServiceLinkedRole"],
            [f"arn:{Aws.PARTITION}:iam::{stack.account}:role/aws-service-role/{_LINKED}/*"],
            {"StringEquals": {"iam:AWSServiceName": _LINKED}},
        )
