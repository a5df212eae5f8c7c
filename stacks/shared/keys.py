"""Customer-managed KMS keys: one for data, one for alerts and logs.

Only this account can use them, through the services that the key policies name.

The key policies follow those of AWS-managed keys: S3 decrypts an object for every principal of the account that may
read it, and no principal can decrypt outside such a request. The roles of jobs and of the endpoint need rights of their
own to encrypt, because SageMaker's documentation demands them (`permissions.use_key`).
"""

from __future__ import annotations

from aws_cdk import Aws, Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

_ADMINISTER = [
    f"kms:{verb}"
    for verb in (
        *("CancelKeyDeletion", "CreateAlias", "DeleteAlias", "DescribeKey", "DisableKey", "EnableKey"),
        *("EnableKeyRotation", "DisableKeyRotation", "GetKeyPolicy", "GetKeyRotationStatus", "ListGrants"),
        *("ListKeyPolicies", "ListResourceTags", "PutKeyPolicy", "RevokeGrant", "ScheduleKeyDeletion"),
        *("TagResource", "UntagResource", "UpdateAlias", "UpdateKeyDescription"),
    )
]
_USE = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*"]
# Services that publish to the topics by themselves.
_PUBLISHERS = ("budgets.amazonaws.com", "cloudwatch.amazonaws.com", "costalerts.amazonaws.com")


class Keys(Construct):
    """`data` for buckets and volumes, `notices` for topics and log groups."""

    def __init__(self, scope: Construct, construct_id: str, *, prefix: str, removal_policy: RemovalPolicy) -> None:
        super().__init__(scope, construct_id)
        self._stack = Stack.of(self)
        self._prefix = prefix
        self._removal_policy = removal_policy
        data = [self._through("s3"), self._grants(), self._seen_by_sagemaker(), *self._roles()]
        self.data = self._key("Data", "photos, features, models and the volumes they are worked on", data)
        notices = [self._through("sns"), self._publishing(), self._logging()]
        self.notices = self._key("Notices", "alerts and logs", notices)

    def _key(self, name: str, of: str, statements: list[iam.PolicyStatement]) -> kms.Key:
        return kms.Key(
            self,
            name,
            alias=f"alias/{self._prefix}-{name.lower()}",
            description=f"{self._prefix}: {of}",
            enable_key_rotation=True,
            pending_window=Duration.days(7),
            policy=iam.PolicyDocument(statements=[self._administration(), *statements]),
            removal_policy=self._removal_policy,
        )

    def _administration(self) -> iam.PolicyStatement:
        """Administrators of the account may change the key. They cannot decrypt with it directly."""
        return iam.PolicyStatement(
            sid="Administer", actions=_ADMINISTER, resources=["*"], principals=[iam.AccountRootPrincipal()]
        )

    def _through(self, service: str) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            sid=f"Through{service.title()}",
            actions=_USE,
            resources=["*"],
            principals=[iam.AnyPrincipal()],
            conditions={"StringEquals": self._caller_by(service)},
        )

    def _caller_by(self, service: str) -> dict[str, str]:
        return {
            "kms:CallerAccount": self._stack.account,
            "kms:ViaService": f"{service}.{self._stack.region}.{Aws.URL_SUFFIX}",
        }

    def _grants(self) -> iam.PolicyStatement:
        """SageMaker grants the use of the key to the machines whose volumes it encrypts."""
        return iam.PolicyStatement(
            sid="Volumes",
            actions=["kms:CreateGrant"],
            resources=["*"],
            principals=[iam.AnyPrincipal()],
            conditions={
                "StringEquals": self._caller_by("sagemaker"),
                "Bool": {"kms:GrantIsForAWSResource": "true"},
            },
        )

    def _seen_by_sagemaker(self) -> iam.PolicyStatement:
        """SageMaker looks at a key that a request names, and encrypts with it, as the caller."""
        return iam.PolicyStatement(
            sid="ThroughSagemaker",
            actions=["kms:DescribeKey", "kms:Encrypt"],
            resources=["*"],
            principals=[iam.AnyPrincipal()],
            conditions={"StringEquals": self._caller_by("sagemaker")},
        )

    def _roles(self) -> list[iam.PolicyStatement]:
        """What the policies of roles may allow themselves: to encrypt, and to let SageMaker encrypt a volume."""
        ours = {"StringEquals": {"kms:CallerAccount": self._stack.account}}
        resources = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
        return [
            iam.PolicyStatement(
                sid=sid,
                actions=actions,
                resources=["*"],
                principals=[iam.AccountRootPrincipal()],
                conditions=conditions,
            )
            for sid, actions, conditions in (
                ("Encrypting", ["kms:DescribeKey", "kms:Encrypt"], ours),
                ("VolumesOfRoles", ["kms:CreateGrant"], {**ours, **resources}),
            )
        ]

    def _publishing(self) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            sid="Publish",
            actions=["kms:Decrypt", "kms:GenerateDataKey*"],
            resources=["*"],
            principals=[iam.ServicePrincipal(service) for service in _PUBLISHERS],
            conditions={"StringEquals": {"aws:SourceAccount": self._stack.account}},
        )

    def _logging(self) -> iam.PolicyStatement:
        groups = [
            self._stack.format_arn(service="logs", resource=f"log-group:{start}{self._prefix}*")
            for start in ("/aws/lambda/", "/aws/sagemaker/Endpoints/", "/binventory/")
        ]
        return iam.PolicyStatement(
            sid="Logs",
            actions=["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"],
            resources=["*"],
            principals=[iam.ServicePrincipal(f"logs.{self._stack.region}.{Aws.URL_SUFFIX}")],
            conditions={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
        )
