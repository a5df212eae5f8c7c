"""With enforcement on, callers, endpoints and SageMaker itself have exactly the permissions of their role."""

from __future__ import annotations

import json
import time
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from local_aws.core import decisions
from local_aws.server import LocalAws
from tests.contract.conftest import ClientFactory
from tests.contract.jobs import finished_training, training_request
from tests.contract.serving import ask, create_config, push_image, put_artefact, start_endpoint, wait_while

ACCOUNT = "123456789012"
SAGEMAKER = {"Service": "sagemaker.amazonaws.com"}


@pytest.fixture(scope="module")
def image(strict_aws: LocalAws, root: ClientFactory) -> str:
    """The tiny image, pushed."""
    return push_image(strict_aws, root)


def statement(*actions: str, resource: str | list[str] = "*", **conditions: Any) -> dict[str, Any]:
    """One Allow statement."""
    allowed = {"Effect": "Allow", "Action": list(actions), "Resource": resource}
    return allowed | ({"Condition": conditions} if conditions else {})


def role(root: ClientFactory, name: str, trusted: dict[str, str], *statements: dict[str, Any]) -> str:
    """A role with one policy; returns its ARN."""
    iam = root("iam")
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": trusted, "Action": "sts:AssumeRole"}],
    }
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    grant(root, name, *statements)
    return arn


def grant(root: ClientFactory, name: str, *statements: dict[str, Any]) -> None:
    """Replace a role's policy."""
    policy = {"Version": "2012-10-17", "Statement": list(statements) or [statement("s3:ListAllMyBuckets")]}
    root("iam").put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=json.dumps(policy))


def as_role(aws: LocalAws, root: ClientFactory, arn: str) -> ClientFactory:
    """Clients with the credentials of an assumed role."""
    given = root("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    create: Any = boto3.client

    def client(service: str) -> Any:
        return create(
            service,
            endpoint_url=aws.endpoint_url,
            region_name=aws.region,
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
        )

    return client


def denied(call: Any, **arguments: Any) -> str:
    """The message of a call that must be denied."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
    return caught.value.response["Error"]["Message"]


def test_a_caller_needs_the_action_on_the_resource(strict_aws: LocalAws, root: ClientFactory) -> None:
    """One group may be described, another may not; nothing else may be done."""
    for name in ("mine", "other"):
        root("sagemaker").create_model_package_group(ModelPackageGroupName=name)
    group = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:model-package-group/mine"
    caller = role(root, "reader", {"AWS": ACCOUNT}, statement("sagemaker:Describe*", resource=group))
    sagemaker = as_role(strict_aws, root, caller)("sagemaker")
    assert sagemaker.describe_model_package_group(ModelPackageGroupName="mine")["ModelPackageGroupArn"] == group
    message = denied(sagemaker.describe_model_package_group, ModelPackageGroupName="other")
    assert "sagemaker:DescribeModelPackageGroup on resource" in message and "/other" in message
    assert "assumed-role/reader" in message
    denied(sagemaker.delete_model_package_group, ModelPackageGroupName="mine")
    denied(sagemaker.list_models)


def test_a_tagged_session_takes_a_permission_of_its_own(strict_aws: LocalAws, root: ClientFactory) -> None:
    """As AWS documents session tags: the caller needs sts:TagSession on the role too, whatever the role trusts."""
    chained = role(root, "chained", {"AWS": ACCOUNT})
    trust = statement("sts:AssumeRole", "sts:TagSession") | {"Principal": {"AWS": ACCOUNT}}
    del trust["Resource"]
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    root("iam").update_assume_role_policy(RoleName="chained", PolicyDocument=document)
    first = role(root, "first", {"AWS": ACCOUNT}, statement("sts:AssumeRole", resource=chained))
    asked = {"RoleArn": chained, "RoleSessionName": "second"}
    tags = [{"Key": "Repository", "Value": "acme/bins"}]
    sts = as_role(strict_aws, root, first)("sts")
    assert sts.assume_role(**asked)["Credentials"]
    with pytest.raises(ClientError, match=rf"AccessDenied.* perform: sts:TagSession on resource: {chained}"):
        sts.assume_role(**asked, Tags=tags)
    grant(root, "first", statement("sts:AssumeRole", "sts:TagSession", resource=chained))
    assert sts.assume_role(**asked, Tags=tags)["Credentials"]


def test_a_role_must_be_passed_and_tags_allowed(strict_aws: LocalAws, root: ClientFactory, image: str) -> None:
    """CreateModel hands a role to SageMaker: that takes iam:PassRole, for SageMaker, besides the action itself."""
    serving = role(root, "served", SAGEMAKER)
    caller = role(root, "deployer", {"AWS": ACCOUNT}, statement("sagemaker:CreateModel"))
    sagemaker = as_role(strict_aws, root, caller)("sagemaker")
    model = {
        "ModelName": "m",
        "PrimaryContainer": {"Image": image},
        "ExecutionRoleArn": serving,
    }
    assert f"iam:PassRole on resource: {serving}" in denied(sagemaker.create_model, **model)
    to_lambda = {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}
    to_sagemaker = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    create = statement("sagemaker:CreateModel")
    grant(root, "deployer", create, statement("iam:PassRole", resource=serving, **to_lambda))
    denied(sagemaker.create_model, **model)
    grant(root, "deployer", create, statement("iam:PassRole", resource=serving, **to_sagemaker))
    assert "sagemaker:AddTags" in denied(sagemaker.create_model, **model, Tags=[{"Key": "k", "Value": "v"}])
    sagemaker.create_model(**model)


def test_a_models_tag_says_whose_it_is(strict_aws: LocalAws, root: ClientFactory, image: str) -> None:
    """CloudFormation makes up the names of models and endpoint configurations: policies name their tag."""
    ours = {"aws:ResourceTag/deployment": "ours"}
    caller = role(
        root,
        "sweeper",
        {"AWS": ACCOUNT},
        statement("sagemaker:DeleteModel", "sagemaker:DescribeModel", StringEquals=ours),
    )
    sagemaker = as_role(strict_aws, root, caller)("sagemaker")
    for name, tags in (("tagged-ours", ["ours"]), ("tagged-theirs", ["theirs"]), ("untagged", [])):
        root("sagemaker").create_model(
            ModelName=name,
            PrimaryContainer={"Image": image},
            ExecutionRoleArn=role(root, name, SAGEMAKER),
            Tags=[{"Key": "deployment", "Value": tag} for tag in tags],
        )
    for name in ("tagged-theirs", "untagged"):
        denied(sagemaker.describe_model, ModelName=name)
        denied(sagemaker.delete_model, ModelName=name)
    assert sagemaker.describe_model(ModelName="tagged-ours")["ModelName"] == "tagged-ours"
    sagemaker.delete_model(ModelName="tagged-ours")


def test_an_endpoint_has_its_roles_rights_and_no_others(root: ClientFactory, strict_aws: LocalAws, image: str) -> None:
    """Without permission to read the artefact it fails with that reason; with it, it answers callers."""
    needed = [
        statement("ecr:GetAuthorizationToken"),
        statement("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"),
    ]
    serving = role(root, "serving", SAGEMAKER, *needed)
    config = create_config(root, "guarded", image)
    failed = start_endpoint(root, "guarded", config)
    assert failed["EndpointStatus"] == "Failed"
    assert "Cannot pull image" in failed["FailureReason"]
    assert "ecr:BatchCheckLayerAvailability" in failed["FailureReason"]
    pull = ["BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer"]
    repository = f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/tiny"
    needed.append(statement(*(f"ecr:{action}" for action in pull), resource=repository))
    grant(root, "serving", *needed)
    root("sagemaker").delete_endpoint(EndpointName="guarded")
    wait_gone(root, "guarded")
    failed = start_endpoint(root, "guarded", config)
    assert failed["EndpointStatus"] == "Failed"
    assert "Could not find model data" in failed["FailureReason"]
    grant(root, "serving", *needed, statement("s3:GetObject", resource="arn:aws:s3:::models/*"))
    root("sagemaker").delete_endpoint(EndpointName="guarded")
    wait_gone(root, "guarded")
    served = start_endpoint(root, "guarded", config)
    assert served["EndpointStatus"] == "InService", served.get("FailureReason")

    endpoint = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/guarded"
    may = role(root, "caller", {"AWS": ACCOUNT}, statement("sagemaker:InvokeEndpoint", resource=endpoint))
    may_not = role(root, "stranger", {"AWS": ACCOUNT})
    assert ask(as_role(strict_aws, root, may), "guarded")["name"] == "guarded"
    runtime = as_role(strict_aws, root, may_not)("sagemaker-runtime")
    denied(runtime.invoke_endpoint, EndpointName="guarded", Body=b"x")

    root("cloudwatch").put_metric_alarm(
        AlarmName="guarded",
        Namespace="n",
        MetricName="m",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )
    update = {
        "EndpointName": "guarded",
        "EndpointConfigName": create_config(root, "guarded-2", image),
        "DeploymentConfig": {
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
            },
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "guarded"}]},
        },
    }
    readable = [*needed, statement("s3:GetObject", resource="arn:aws:s3:::models/*")]
    for granted, reason in ((readable, "cloudwatch:DescribeAlarms"), ([*readable, statement("cloudwatch:Desc*")], "")):
        grant(root, "serving", *granted)
        root("sagemaker").update_endpoint(**update)
        updated = wait_while(root, "guarded", "Updating")
        assert updated["EndpointStatus"] == "InService" and reason in updated.get("FailureReason", "")
        assert updated["EndpointConfigName"] == ("guarded" if reason else "guarded-2")
    root("sagemaker").delete_endpoint(EndpointName="guarded")
    assert serving.endswith(":role/serving")


def test_a_role_that_does_not_trust_sagemaker_runs_nothing(root: ClientFactory, image: str) -> None:
    """The endpoint's failure names the principal that the role must trust."""
    trusting = role(root, "untrusting", SAGEMAKER)
    root("sagemaker").create_model(ModelName="untrusted", PrimaryContainer={"Image": image}, ExecutionRoleArn=trusting)
    variant = {
        "VariantName": "v", "ModelName": "untrusted", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1,
    }  # fmt: skip
    root("sagemaker").create_endpoint_config(EndpointConfigName="untrusted", ProductionVariants=[variant])
    root("iam").update_assume_role_policy(
        RoleName="untrusting",
        PolicyDocument=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
                ],
            }
        ),
    )
    failed = start_endpoint(root, "untrusted", "untrusted")
    assert failed["EndpointStatus"] == "Failed"
    assert "allows principal 'sagemaker.amazonaws.com'" in failed["FailureReason"]


def test_who_registers_may_be_kept_from_approving(strict_aws: LocalAws, root: ClientFactory) -> None:
    """The condition key that keeps a pipeline from approving its own models."""
    root("sagemaker").create_model_package_group(ModelPackageGroupName="reviewed")
    arn = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:model-package"
    resources = [f"{arn}-group/reviewed", f"{arn}/reviewed/*"]
    pending = {"StringEqualsIfExists": {"sagemaker:ModelApprovalStatus": "PendingManualApproval"}}
    granted = [
        statement("sagemaker:CreateModelPackage", "sagemaker:UpdateModelPackage", resource=resources, **pending),
        statement("sagemaker:ListModelPackages", resource=f"{arn}/reviewed/*"),
    ]
    caller = role(root, "registrar", {"AWS": ACCOUNT}, *granted)
    sagemaker = as_role(strict_aws, root, caller)("sagemaker")
    container = {"Image": f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/counter:1"}
    specification = {
        "Containers": [container],
        "SupportedContentTypes": ["image/jpeg"],
        "SupportedResponseMIMETypes": ["application/json"],
    }
    package = {"ModelPackageGroupName": "reviewed", "InferenceSpecification": specification}
    denied(sagemaker.create_model_package, **package, ModelApprovalStatus="Approved")
    pending_package = package | {"ModelApprovalStatus": "PendingManualApproval"}
    counter = f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/counter"
    assert f"ecr:BatchGetImage on resource: {counter}" in denied(sagemaker.create_model_package, **pending_package)
    looking = statement("ecr:BatchGetImage", resource=counter)
    grant(root, "registrar", *granted, looking)
    assert f"ecr:DescribeImages on resource: {counter}" in denied(sagemaker.create_model_package, **pending_package)
    grant(root, "registrar", *granted, looking, statement("ecr:DescribeImages", resource=counter))
    created = sagemaker.create_model_package(**pending_package)["ModelPackageArn"]
    denied(sagemaker.update_model_package, ModelPackageArn=created, ModelApprovalStatus="Approved")
    assert len(sagemaker.list_model_packages(ModelPackageGroupName="reviewed")["ModelPackageSummaryList"]) == 1
    denied(sagemaker.list_model_packages, ModelPackageGroupName="mine")


def test_two_actions_are_checked_on_what_aws_checks_them_on(strict_aws: LocalAws, root: ClientFactory) -> None:
    """PutLogEvents on the stream, DescribeRepositories on the repository it names."""
    root("ecr").create_repository(repositoryName="named")
    root("logs").create_log_group(logGroupName="/own")
    root("logs").create_log_stream(logGroupName="/own", logStreamName="stream")
    group = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/own"
    caller = role(
        root,
        "narrow",
        {"AWS": ACCOUNT},
        statement("ecr:DescribeRepositories", resource=f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/named"),
        statement("logs:PutLogEvents", resource=f"{group}:log-stream:stream"),
    )
    client = as_role(strict_aws, root, caller)
    assert len(client("ecr").describe_repositories(repositoryNames=["named"])["repositories"]) == 1
    denied(client("ecr").describe_repositories)
    events = [{"timestamp": int(time.time() * 1000), "message": "m"}]
    client("logs").put_log_events(logGroupName="/own", logStreamName="stream", logEvents=events)
    denied(client("logs").put_log_events, logGroupName="/own", logStreamName="other", logEvents=events)


def wait_gone(client: ClientFactory, endpoint: str) -> None:
    """Return when the endpoint does not exist any more."""
    with pytest.raises(ClientError, match="Could not find endpoint"):
        wait_while(client, endpoint, "Deleting")


def test_what_a_role_was_allowed_is_written_down(strict_aws: LocalAws, root: ClientFactory) -> None:
    """Each allowed request once, with its condition keys; denied requests are not recorded."""
    root("s3").create_bucket(Bucket="witnessed")
    prefixed = {"StringLike": {"s3:prefix": ["mine/*"]}}
    bucket = "arn:aws:s3:::witnessed"
    caller = role(root, "witness", {"AWS": ACCOUNT}, statement("s3:ListBucket", resource=bucket, **prefixed))
    s3 = as_role(strict_aws, root, caller)("s3")
    for _ in range(2):
        s3.list_objects_v2(Bucket="witnessed", Prefix="mine/1")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.list_objects_v2(Bucket="witnessed", Prefix="other/1")
    (found,) = [decision for decision in decisions.read(strict_aws.decisions_path) if decision.role == "witness"]
    assert (found.action, found.resource, found.keys["s3:prefix"]) == ("s3:ListBucket", bucket, "mine/1")


def test_who_may_not_list_is_not_told_that_an_object_is_missing(strict_aws: LocalAws, root: ClientFactory) -> None:
    root("s3").create_bucket(Bucket="secretive")
    root("s3").put_object(Bucket="secretive", Key="own/there", Body=b"x")
    bucket, own = "arn:aws:s3:::secretive", "arn:aws:s3:::secretive/own/*"
    caller = role(root, "own-reader", {"AWS": ACCOUNT}, statement("s3:GetObject", resource=own))
    s3 = as_role(strict_aws, root, caller)("s3")
    assert s3.get_object(Bucket="secretive", Key="own/there")["Body"].read() == b"x"
    with pytest.raises(ClientError, match=f"AccessDenied.*s3:ListBucket on resource: {bucket}"):
        s3.get_object(Bucket="secretive", Key="own/missing")
    with pytest.raises(ClientError, match="403"):
        s3.head_object(Bucket="secretive", Key="own/missing")
    listed = statement("s3:ListBucket", resource=bucket, StringLike={"s3:prefix": ["own/*"]})
    grant(root, "own-reader", statement("s3:GetObject", resource=own), listed)
    for read, code in ((s3.get_object, "NoSuchKey"), (s3.head_object, "404")):
        with pytest.raises(ClientError, match=code):
            read(Bucket="secretive", Key="own/missing")


def test_a_transform_job_has_the_rights_of_its_models_role(strict_aws: LocalAws, root: ClientFactory) -> None:
    """It fails with the reason where the role may not write; with permission it writes, and callers need none."""
    if "tiny" not in {found["repositoryName"] for found in root("ecr").describe_repositories()["repositories"]}:
        push_image(strict_aws, root)
    image = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/tiny:1"
    root("s3").create_bucket(Bucket="transforms")
    root("s3").put_object(Bucket="transforms", Key="in/a.jpg", Body=b"photo")
    pull = ["BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer"]
    needed = [
        statement("ecr:GetAuthorizationToken"),
        statement(*(f"ecr:{action}" for action in pull), resource=f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/tiny"),
        statement("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"),
        statement("s3:GetObject", resource=["arn:aws:s3:::models/*", "arn:aws:s3:::transforms/in/*"]),
        statement("s3:ListBucket", resource="arn:aws:s3:::transforms"),
    ]
    transformer = role(root, "transformer", SAGEMAKER, *needed)
    job = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:transform-job/strict-*"
    caller = role(
        root,
        "batch-caller",
        {"AWS": ACCOUNT},
        statement("sagemaker:CreateTransformJob", "sagemaker:DescribeTransformJob", resource=job),
    )
    sagemaker = as_role(strict_aws, root, caller)("sagemaker")
    container = {"Image": image, "ModelDataUrl": put_artefact(root, "strict-batch")}
    root("sagemaker").create_model(ModelName="strict", PrimaryContainer=container, ExecutionRoleArn=transformer)

    def transformed(name: str) -> dict[str, Any]:
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://transforms/in/"}}
        sagemaker.create_transform_job(
            TransformJobName=name,
            ModelName="strict",
            TransformInput={"DataSource": source},
            TransformOutput={"S3OutputPath": "s3://transforms/out"},
            TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
        )
        while (found := sagemaker.describe_transform_job(TransformJobName=name))["TransformJobStatus"] == "InProgress":
            time.sleep(0.1)
        return dict(found)

    failed = transformed("strict-1")
    assert failed["TransformJobStatus"] == "Failed" and "PutObject" in failed["FailureReason"]
    grant(root, "transformer", *needed, statement("s3:PutObject", resource="arn:aws:s3:::transforms/out/*"))
    assert transformed("strict-2")["TransformJobStatus"] == "Completed"
    denied(sagemaker.stop_transform_job, TransformJobName="strict-2")
    denied(sagemaker.describe_transform_job, TransformJobName="other")


def test_a_job_in_a_network_needs_the_right_to_its_interfaces(root: ClientFactory) -> None:
    """It fails with the name of the missing permission; with all of them it reaches its code."""
    pull = statement("ecr:*")
    worker = role(root, "worker", SAGEMAKER, pull)
    subnet = root("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    group = root("ec2").describe_security_groups()["SecurityGroups"][0]["GroupId"]
    network = {"Subnets": [subnet], "SecurityGroupIds": [group]}
    if "jobs" not in {bucket["Name"] for bucket in root("s3").list_buckets()["Buckets"]}:
        root("s3").create_bucket(Bucket="jobs")

    def failure(name: str) -> str:
        request = training_request(root, name, "pass", RoleArn=worker, VpcConfig=network)
        root("sagemaker").create_training_job(**request)
        job = finished_training(root, name)
        assert job["VpcConfig"] == network
        return str(job["FailureReason"])

    assert "Cannot join the network" in failure("outside") and "ec2:DescribeDhcpOptions" in failure("still-outside")
    described = statement("ec2:Describe*")
    grant(root, "worker", pull, described)
    assert "ec2:CreateNetworkInterface on resource" in failure("without-an-interface")
    grant(root, "worker", pull, described, statement("ec2:*NetworkInterface*"))
    assert "Cannot join the network" not in failure("inside")


def test_a_job_with_a_key_needs_the_right_to_encrypt_with_it(root: ClientFactory) -> None:
    """As SageMaker's page on roles lists: kms:Encrypt for its output, kms:CreateGrant for its volume."""
    pull = statement("ecr:*")
    worker = role(root, "encrypts", SAGEMAKER, pull)
    if "jobs" not in {bucket["Name"] for bucket in root("s3").list_buckets()["Buckets"]}:
        root("s3").create_bucket(Bucket="jobs")
    key = root("kms").create_key()["KeyMetadata"]["Arn"]

    def failure(name: str) -> str:
        request = training_request(root, name, "pass", RoleArn=worker)
        request["OutputDataConfig"]["KmsKeyId"] = key
        request["ResourceConfig"]["VolumeKmsKeyId"] = key
        root("sagemaker").create_training_job(**request)
        return str(finished_training(root, name)["FailureReason"])

    assert "Cannot encrypt with the key" in failure("keyless")
    grant(root, "encrypts", pull, statement("kms:DescribeKey", resource=key))
    assert f"perform: kms:Encrypt on resource: {key}" in failure("sees-the-key")
    outputs = statement("kms:DescribeKey", "kms:Encrypt", resource=key)
    grant(root, "encrypts", pull, outputs)
    assert "kms:CreateGrant" in failure("encrypts-its-output")
    volume = statement("kms:CreateGrant", resource=key, Bool={"kms:GrantIsForAWSResource": "true"})
    grant(root, "encrypts", pull, outputs, volume)
    assert "Cannot encrypt" not in failure("encrypts-its-volume")


def test_a_role_that_may_name_few_resource_types_brings_no_others_into_a_stack(
    strict_aws: LocalAws, root: ClientFactory
) -> None:
    """As promotion may: the template comes with the request, and CloudFormation would make anything of it."""
    topic, log = {"Type": "AWS::SNS::Topic"}, {"Type": "AWS::Logs::LogGroup"}
    trust = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}
    owner = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {"Statement": [trust]}}}
    root("cloudformation").create_stack(StackName="bound", TemplateBody=json.dumps({"Resources": {"Log": log}}))
    kinds = ["AWS::Logs::LogGroup", "AWS::SNS::Topic"]
    updating = statement(
        "cloudformation:UpdateStack",
        resource=f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/bound/*",
        **{
            "Null": {"cloudformation:ResourceTypes": "false"},
            "ForAllValues:StringEquals": {"cloudformation:ResourceTypes": kinds},
        },
    )
    bound = as_role(strict_aws, root, role(root, "promotes", {"AWS": ACCOUNT}, updating))("cloudformation")

    def refusal(*types: str, **resources: Any) -> str:
        named = {"ResourceTypes": list(types)} if types else {}
        with pytest.raises(ClientError) as caught:
            bound.update_stack(
                StackName="bound",
                TemplateBody=json.dumps({"Resources": {"Log": log, **resources}}),
                Capabilities=["CAPABILITY_IAM"],
                **named,
            )
        return str(caught.value)

    assert "not authorized to perform: cloudformation:UpdateStack" in refusal(Owner=owner)
    assert "not authorized to perform: cloudformation:UpdateStack" in refusal(*kinds, "AWS::IAM::Role", Owner=owner)
    assert "['AWS::IAM::Role'] of the template are not among the ResourceTypes" in refusal(*kinds, Owner=owner)
    assert "['AWS::Logs::LogGroup'] of the template" in refusal("AWS::SNS::Topic", Topic=topic)
    body = json.dumps({"Resources": {"Log": log, "Topic": topic}})
    bound.update_stack(StackName="bound", TemplateBody=body, ResourceTypes=kinds)
    assert len(root("cloudformation").list_stack_resources(StackName="bound")["StackResourceSummaries"]) == 2


def test_one_right_reads_budgets(strict_aws: LocalAws, root: ClientFactory) -> None:
    """No permission is named DescribeBudget."""
    limit = {"Amount": "10", "Unit": "USD"}
    budget = {"BudgetName": "mine", "BudgetType": "COST", "TimeUnit": "MONTHLY", "BudgetLimit": limit}
    root("budgets").create_budget(AccountId=ACCOUNT, Budget=budget)
    own = statement("budgets:ViewBudget", resource=f"arn:aws:budgets::{ACCOUNT}:budget/mine")
    viewer = as_role(strict_aws, root, role(root, "viewer", {"AWS": ACCOUNT}, own))
    found = viewer("budgets").describe_budget(AccountId=ACCOUNT, BudgetName="mine")
    assert found["Budget"]["BudgetName"] == "mine"
    with pytest.raises(ClientError, match="AccessDenied"):
        viewer("budgets").describe_budget(AccountId=ACCOUNT, BudgetName="yours")


def test_metrics_are_held_to_their_namespace(strict_aws: LocalAws, root: ClientFactory) -> None:
    own = statement("cloudwatch:PutMetricData", StringEquals={"cloudwatch:namespace": "Mine"})
    publisher = as_role(strict_aws, root, role(root, "publisher", {"AWS": ACCOUNT}, own))("cloudwatch")
    data = [{"MetricName": "shift", "Value": 0.25}]
    publisher.put_metric_data(Namespace="Mine", MetricData=data)
    with pytest.raises(ClientError, match="AccessDenied"):
        publisher.put_metric_data(Namespace="Others", MetricData=data)
