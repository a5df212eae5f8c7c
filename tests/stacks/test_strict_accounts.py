"""Settings for strict accounts: customer keys, and a network without a way out, everywhere or nowhere."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from binventory.cost.machines import machine
from ingestion.store import access
from stacks.pipeline.job_security import JobSecurity
from stacks.pipeline.parameters import Parameters
from stacks.policies.assembly import Assembly, Template
from stacks.policies.pack import all_rules
from stacks.settings import load
from stacks.settings.instances import JobInstance
from stacks.shared.assets import TRAINING_CODE, MissingWheelsError, complete_wheels
from stacks.training import stack as training_stack
from tests.rights import Deployment, Request, allows
from tests.stacks.templates import as_list, changed, flat, pipeline_definition, resources, synthesize, templates
from tests.unit.test_train_requirements import pins

Json = dict[str, Any]
RULES = {rule.id: rule for rule in all_rules()}
WEIGHTS = "s3://weights/resnet50.safetensors"


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are called like the wheels that the training code's lock names."""
    folder = tmp_path_factory.mktemp("wheels")
    for name, (version, _) in pins(TRAINING_CODE / "requirements.txt").items():
        (folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl").write_bytes(name.encode())
    return folder


@pytest.fixture(scope="module")
def strict(wheelhouse: Path) -> dict[str, Json]:
    """dev with customer keys and a network."""
    settings = changed(load("dev"), "training", weights=WEIGHTS)
    settings = changed(changed(settings, "security", customer_keys=True), "network", mode="create")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_stack, "WHEELHOUSE", wheelhouse)
        return synthesize(settings)


def assembly_of(stacks: dict[str, Json]) -> Assembly:
    return Assembly([Template(name, Path(f"{name}.template.json"), body) for name, body in stacks.items()])


def jobs(stacks: dict[str, Json]) -> dict[str, Json]:
    """The request of each job of the pipeline; of a tuning job, the definition of its trials."""
    steps = pipeline_definition(stacks["Training"])["Steps"]
    found = {step["Name"]: step["Arguments"] for step in steps if step["Type"] in ("Processing", "Training", "Tuning")}
    return {name: arguments.get("TrainingJobDefinition", arguments) for name, arguments in found.items()}


def test_without_the_settings_there_is_no_key_and_no_network() -> None:
    for template in templates("dev").values():
        assert not resources(template, "AWS::KMS::Key")
        assert not resources(template, "AWS::EC2::VPC")
    assert "VpcConfig" not in json.dumps(templates("dev"))
    assert "ec2:CreateNetworkInterface" not in json.dumps(templates("dev"))


def test_no_rule_objects_to_the_strict_settings(strict: dict[str, Json]) -> None:
    assembly = assembly_of(strict)
    assert {rule.id: [(found.where, found.detail) for found in rule.find(assembly)] for rule in all_rules()} == {
        rule.id: [] for rule in all_rules()
    }


@pytest.mark.parametrize(
    ("serving", "place"),
    [
        ({"mode": "realtime", "data_capture_percent": 5}, "DataCaptureConfig"),
        ({"mode": "async", "data_capture_percent": 0}, "AsyncInferenceConfig.OutputConfig"),
        ({"mode": "serverless", "data_capture_percent": 0}, ""),
    ],
)
def test_what_an_endpoint_writes_has_the_key(serving: Json, place: str) -> None:
    settings = changed(changed(load("dev"), "serving", **serving), "security", customer_keys=True)
    stacks = synthesize(settings)
    find = RULES["BV-CustomerKeys"].find
    assert [finding.where for finding in find(assembly_of(stacks))] == []
    (config,) = resources(stacks["Serving"], "AWS::SageMaker::EndpointConfig").values()
    written = config["Properties"]
    for name in filter(None, place.split(".")):
        written = written[name]
    if place:
        del written["KmsKeyId"]
        assert [finding.where for finding in find(assembly_of(stacks))] == [f"{place}.KmsKeyId"]


def test_training_is_isolated_and_brought_what_it_needs(strict: dict[str, Json]) -> None:
    for name in ("Embed", "Tune", "Train"):
        job = jobs(strict)[name]
        assert job["EnableNetworkIsolation"] is True
        assert len(job["VpcConfig"]["Subnets"]) == 2
        channels = {channel["ChannelName"]: channel for channel in job["InputDataConfig"]}
        assert {"code", "weights"} <= set(channels)
        assert channels["weights"]["DataSource"]["S3DataSource"]["S3Uri"] == {"Get": "Parameters.Weights"}
        parameters = job.get("HyperParameters") or job["StaticHyperParameters"]
        assert parameters["weights"] == "channel"
        directory = json.loads(parameters["sagemaker_submit_directory"])
        code = channels["code"]["DataSource"]["S3DataSource"]["S3Uri"]
        assert directory == f"/opt/ml/input/data/code/{code.rsplit('/', 1)[-1]}"
        assert job["Environment"]["PIP_NO_INDEX"] == "1"


def test_sagemaker_may_list_the_weights_that_it_brings(strict: dict[str, Json]) -> None:
    """With the rights of the job's role: https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html."""
    (training,) = (held for role, held in Deployment(strict).roles().items() if "RolesTraining" in role)
    bucket, _, key = WEIGHTS.removeprefix("s3://").partition("/")
    bucket_arn = f"arn:aws:s3:::{bucket}"
    assert allows(training, Request("s3:ListBucket", bucket_arn, (("s3:prefix", key),)))
    assert allows(training, Request("s3:GetObject", f"{bucket_arn}/{key}"))
    assert not allows(training, Request("s3:ListBucket", bucket_arn, (("s3:prefix", "others/"),)))


def test_processing_is_in_the_network_and_installs_from_the_wheels(strict: dict[str, Json]) -> None:
    for name in ("Ingest", "Evaluate"):
        job = jobs(strict)[name]
        assert len(job["NetworkConfig"]["VpcConfig"]["SecurityGroupIds"]) == 1
        assert job["NetworkConfig"]["EnableNetworkIsolation"] is False  # it asks S3 or SageMaker itself
        assert job["Environment"]["PIP_FIND_LINKS"] == "/opt/ml/processing/code/wheels"


@pytest.mark.parametrize("instance_type", get_args(JobInstance))
def test_a_volume_has_the_key_and_a_local_disk_none_whatever_type_an_execution_chooses(instance_type: str) -> None:
    """ml.m5 has a volume; ml.g5 has a local disk, for which SageMaker refuses a key."""
    key = JobSecurity(data_key="arn:aws:kms:us-east-1:123456789012:key/1")
    named = bool(key.volume(instance_type))
    assert named is not machine(instance_type).has_own_disk
    settings = changed(load("dev"), "training", instance_type=instance_type, precision="auto")
    settings = changed(settings, "security", customer_keys=True)
    allowed = Parameters.of(settings).training_instance_type.allowed
    assert instance_type in allowed and {bool(key.volume(other)) for other in allowed} == {named}


def test_a_wheel_that_is_missing_is_named_with_the_cure(wheelhouse: Path, tmp_path: Path) -> None:
    assert len(complete_wheels(wheelhouse)) == len(list(wheelhouse.iterdir()))
    with pytest.raises(MissingWheelsError, match=r"lacks .*onnxruntime=="):
        complete_wheels(tmp_path)


def test_nothing_leads_out_of_the_network(strict: dict[str, Json]) -> None:
    network = strict["Network"]
    types = {resource["Type"] for resource in network["Resources"].values()}
    assert types == {
        "AWS::EC2::RouteTable",
        "AWS::EC2::SecurityGroup",
        "AWS::EC2::Subnet",
        "AWS::EC2::SubnetRouteTableAssociation",
        "AWS::EC2::VPC",
        "AWS::EC2::VPCEndpoint",
    }
    services = {
        flat(endpoint["Properties"]["ServiceName"]).rsplit("us-east-1.", 1)[-1]
        for endpoint in resources(network, "AWS::EC2::VPCEndpoint").values()
    }
    assert services >= {"s3", "ecr.api", "ecr.dkr", "logs", "sts", "kms"}


def test_every_endpoint_keeps_other_accounts_out(strict: dict[str, Json]) -> None:
    account = {"Ref": "AWS::AccountId"}
    for name, endpoint in resources(strict["Network"], "AWS::EC2::VPCEndpoint").items():
        statements = as_list(endpoint["Properties"]["PolicyDocument"]["Statement"])
        for statement in statements:
            if statement["Sid"] == "Photos":  # of public buckets too: see the next test
                assert set(statement["Action"]) == {"s3:GetObject", "s3:ListBucket"}
                allowed = statement["Condition"]["StringEqualsIfExists"]["aws:PrincipalAccount"]
                assert allowed == [account, "anonymous"], name
            elif statement["Sid"] != "Layers":  # AWS's own bucket of image layers: read only
                assert statement["Condition"]["StringEquals"]["aws:PrincipalAccount"] == account, name
            if statement["Action"] == "*":
                assert account in as_list(statement["Condition"]["StringEqualsIfExists"]["aws:ResourceAccount"]), name


def test_ingest_reads_the_public_dataset_through_the_gateway(
    strict: dict[str, Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so without credentials, also where its role has some."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/role")
    bucket = load("dev").data.photos_uri.split("/")[2]
    _, region, anonymous = access(bucket)
    assert anonymous and region == load("dev").region
    (gateway,) = (
        endpoint["Properties"]
        for endpoint in resources(strict["Network"], "AWS::EC2::VPCEndpoint").values()
        if endpoint["Properties"]["VpcEndpointType"] == "Gateway"
    )
    opened = [item for item in gateway["PolicyDocument"]["Statement"] if "anonymous" in json.dumps(item)]
    named = [flat(resource) for item in opened for resource in as_list(item["Resource"])]
    assert {f"arn:<AWS::Partition>:s3:::{bucket}", f"arn:<AWS::Partition>:s3:::{bucket}/*"} <= set(named)
    assert not {"*", "arn:<AWS::Partition>:s3:::*"} & set(named)


def test_photos_of_another_region_are_refused_in_a_network() -> None:
    """The jobs would find no way to them when their machine is paid for."""
    settings = changed(load("dev").model_copy(update={"region": "eu-west-1"}), "training", weights="none")
    with pytest.raises(ValidationError, match=r"must be in a bucket of eu-west-1 with network\.mode create.*us-east-1"):
        changed(settings, "network", mode="create")
    own = changed(settings, "data", photos_uri="s3://bins-of-ours/")
    assert changed(own, "network", mode="create").network.mode == "create"
    reached = {"subnet_ids": ["subnet-0123456789abcdef0"], "security_group_ids": ["sg-0123456789abcdef0"]}
    assert changed(settings, "network", mode="existing", **reached), "which may have a way out"


@pytest.mark.parametrize("endpoints", [[], ["sts", "logs"]])
def test_a_network_without_what_evaluate_calls_is_refused(endpoints: list[str]) -> None:
    settings = changed(load("dev"), "training", weights="none")
    with pytest.raises(ValidationError, match=r"must have sagemaker\.api with network\.mode create: Evaluate asks it"):
        changed(settings, "network", mode="create", endpoints=endpoints)
    assert changed(settings, "network", mode="create", endpoints=["sagemaker.api"])
    assert changed(settings, "network", endpoints=endpoints), "without a network they mean nothing"


def test_the_keys_open_for_this_account_through_named_services_only(strict: dict[str, Json]) -> None:
    keys = resources(strict["Storage"], "AWS::KMS::Key")
    assert len(keys) == 2
    for name, key in keys.items():
        assert key["Properties"]["EnableKeyRotation"] is True
        for statement in key["Properties"]["KeyPolicy"]["Statement"]:
            if statement["Sid"] == "Administer":
                assert not {"kms:Decrypt", "kms:Encrypt", "kms:CreateGrant", "kms:*"} & set(statement["Action"])
                continue
            conditions = statement["Condition"]
            account = {**conditions.get("StringEquals", {}), **conditions.get("ArnLike", {})}
            assert {"kms:CallerAccount", "aws:SourceAccount", "kms:EncryptionContext:aws:logs:arn"} & set(account), name
            if statement["Principal"] == {"AWS": "*"}:
                assert "kms:ViaService" in conditions["StringEquals"], name


def test_with_keys_the_roles_of_jobs_may_encrypt_and_no_role_may_decrypt() -> None:
    settings = changed(load("dev"), "security", customer_keys=True)
    without = Deployment(templates("dev")).roles()
    more: dict[str, frozenset[str]] = {}
    for role, statements in Deployment(synthesize(settings)).roles().items():
        new = [statement for statement in statements if statement not in without[role]]
        assert all("Storage.KeysData" in resource for item in new for resource in as_list(item["Resource"])), role
        if new:
            more[role] = frozenset(action for item in new for action in as_list(item["Action"]))
            (grant,) = (item for item in new if "kms:CreateGrant" in as_list(item["Action"]))
            assert grant["Condition"] == {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    (updating,) = (role for role in more if "ServingUpdate" in role)
    assert more.pop(updating) == {"kms:CreateGrant", "kms:DescribeKey"}, "it encrypts nothing itself"
    assert len(more) == len(("Ingest", "Training", "Evaluate", "endpoint", "Batch")), more
    assert set(more.values()) == {frozenset({"kms:CreateGrant", "kms:DescribeKey", "kms:Encrypt"})}


def test_the_data_key_encrypts_for_the_account_and_through_sagemaker(strict: dict[str, Json]) -> None:
    said = {
        item["Sid"]: item
        for key in resources(strict["Storage"], "AWS::KMS::Key").values()
        for item in key["Properties"]["KeyPolicy"]["Statement"]
    }
    for sid in ("ThroughS3", "ThroughSagemaker", "Encrypting"):
        assert {"kms:DescribeKey", "kms:Encrypt"} <= set(said[sid]["Action"]), sid
    for sid in ("ThroughSagemaker", "Encrypting", "VolumesOfRoles"):
        assert not {"kms:Decrypt", "kms:GenerateDataKey*"} & set(as_list(said[sid]["Action"])), sid


def edit_definition(old: str, new: str) -> Callable[[dict[str, Json]], None]:
    def edit(stacks: dict[str, Json]) -> None:
        (pipeline,) = resources(stacks["Training"], "AWS::SageMaker::Pipeline").values()
        pieces = pipeline["Properties"]["PipelineDefinition"]["PipelineDefinitionBody"]["Fn::Join"][1]
        before = list(pieces)
        pieces[:] = [piece.replace(old, new) if isinstance(piece, str) else piece for piece in pieces]
        assert pieces != before, "the mistake was not made"

    return edit


def drop(stack: str, kind: str, name: str) -> Callable[[dict[str, Json]], None]:
    return lambda stacks: next(iter(resources(stacks[stack], kind).values()))["Properties"].pop(name)


@pytest.mark.parametrize(
    ("rule", "mistake", "word"),
    [
        ("BV-CustomerKeys", drop("Money", "AWS::SNS::Topic", "KmsMasterKeyId"), "KmsMasterKeyId"),
        ("BV-CustomerKeys", drop("Serving", "AWS::SageMaker::EndpointConfig", "KmsKeyId"), "KmsKeyId"),
        ("BV-CustomerKeys", drop("Training", "AWS::Logs::LogGroup", "KmsKeyId"), "KmsKeyId"),
        ("BV-CustomerKeys", edit_definition('"VolumeKmsKeyId":', '"Volume":'), "step Train"),
        ("BV-CustomerKeys", edit_definition('"KmsKeyId":', '"Key":'), "OutputDataConfig.KmsKeyId"),
        ("BV-JobNetwork", drop("Serving", "AWS::SageMaker::Model", "VpcConfig"), "VpcConfig"),
        ("BV-JobNetwork", edit_definition('"EnableNetworkIsolation":true', '"EnableNetworkIsolation":false'), "Embed"),
        ("BV-JobNetwork", edit_definition('"NetworkConfig":', '"Network":'), "step Ingest"),
    ],
)
def test_a_place_that_was_forgotten_is_found(
    strict: dict[str, Json], rule: str, mistake: Callable[[dict[str, Json]], None], word: str
) -> None:
    stacks = copy.deepcopy(strict)
    mistake(stacks)
    assert word in "; ".join(f"{found.where} {found.detail}" for found in RULES[rule].find(assembly_of(stacks)))


def test_an_existing_network_is_taken_as_it_is(wheelhouse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_stack, "WHEELHOUSE", wheelhouse)
    ids = {"subnet_ids": ["subnet-0123456789abcdef0"], "security_group_ids": ["sg-0123456789abcdef0"]}
    settings = changed(changed(load("dev"), "training", weights="none"), "network", mode="existing", **ids)
    stacks = synthesize(settings)
    assert "Network" not in stacks
    for name in ("Embed", "Tune", "Train"):
        assert jobs(stacks)[name]["VpcConfig"] == {
            "Subnets": ids["subnet_ids"],
            "SecurityGroupIds": ids["security_group_ids"],
        }
    assert "weights" not in {channel["ChannelName"] for channel in jobs(stacks)["Embed"]["InputDataConfig"]}


def test_packaged_weights_need_no_address_in_a_network(wheelhouse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_stack, "WHEELHOUSE", wheelhouse)
    settings = changed(load("dev"), "training", backbone="efficientnet_lite0", weights="packaged")
    stacks = synthesize(changed(settings, "network", mode="create"))
    embed = jobs(stacks)["Embed"]
    assert embed["EnableNetworkIsolation"] is True
    assert "weights" not in {channel["ChannelName"] for channel in embed["InputDataConfig"]}


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("network", {"mode": "create"}, "must be an s3:// address, packaged or none with network.mode create"),
        ("network", {"mode": "existing"}, "must both be given"),
        ("network", {"subnet_ids": ["subnet-0123456789abcdef0"]}, "must be absent unless network.mode is existing"),
        ("network", {"cidr": "0.0.0.0/0"}, "must be a block of 10.0.0.0/8 from /20 to /24"),
        ("network", {"cidr": "10.300.0.0/22"}, "must be a block of addresses"),
        ("network", {"cidr": "10.20.1.0/22"}, "has host bits set"),
        ("github", {"owner_id": 11}, "must be set together"),
        ("github", {"repository_id": 22}, "must be set together"),
        ("security", {"permissions_boundary": "AdministratorAccess"}, "must be none or the ARN of a managed policy"),
        ("security", {"role_path": "workloads"}, "must be / or a path between slashes"),
    ],
)
def test_a_wrong_setting_says_what_is_wrong(section: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        changed(load("dev"), section, **values)
