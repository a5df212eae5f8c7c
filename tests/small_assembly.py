"""A cloud assembly that is written by hand, for tests of what is read from one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# Two metrics of our own, one of which an alarm names too; the endpoint's and AWS's are counted elsewhere or free.
DASHBOARD = {
    "Fn::Join": [
        "",
        [
            '{"widgets":[{"properties":{"region":"',
            {"Ref": "AWS::Region"},
            '","metrics":[["Binventory/Monitoring","Drift"],["Binventory/Monitoring","Photos","Endpoint","x"],'
            '["Binventory/Endpoint","Refused"],["AWS/SageMaker","Invocations"]]}}]}',
        ],
    ]
}


def write_assembly(folder: Path, **changes: Any) -> Path:
    """A cloud assembly as small as one can be: a pipeline with tokens and parameters, an endpoint, alarms, a key."""
    values = {"instance": "ml.m5.xlarge", "state": "off", "again": False, "region": "us-east-1", **changes}
    training = {
        "ResourceConfig": {
            "InstanceType": {"Get": "Parameters.TrainingInstanceType"},
            "InstanceCount": 1,
            "VolumeSizeInGB": 30,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200},
        "EnableManagedSpotTraining": True,
        "RoleArn": "TOKEN",
    }
    limits = {"MaxNumberOfTrainingJobs": {"Get": "Parameters.TuningJobs"}, "MaxParallelTrainingJobs": 2}
    cluster = {"InstanceType": "ml.c5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30}
    evaluate = {
        "ProcessingResources": {"ClusterConfig": cluster},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    }
    tune = {
        "HyperParameterTuningJobConfig": {"ResourceLimits": limits},
        "TrainingJobDefinition": training,
    }
    register = {"Name": "Register", "Type": "RegisterModel", "Arguments": {}}
    gate = {"IfSteps": [{"Name": "Evaluate", "Type": "Processing", "Arguments": evaluate}], "ElseSteps": [register]}
    definition = {
        "Parameters": [
            {"Name": "TrainingInstanceType", "Type": "String", "DefaultValue": values["instance"]},
            {"Name": "TuningJobs", "Type": "Integer", "DefaultValue": 7},
            {"Name": "LimitPerClass", "Type": "Integer", "DefaultValue": 100},
        ],
        "Steps": [
            {"Name": "Tune", "Type": "Tuning", "Arguments": tune},
            {"Name": "Gate", "Type": "Condition", "Arguments": gate},
        ],
    }
    before, after = json.dumps(definition).split("TOKEN")
    again: dict[str, Any] = {
        "Parameters": [],
        "Steps": [{"Name": "Evaluate", "Type": "Processing", "Arguments": evaluate}],
    }
    more_pipelines: dict[str, Any] = {}
    if values["again"]:
        second = {"PipelineDefinition": {"PipelineDefinitionBody": json.dumps(again)}}
        more_pipelines = {"Again": {"Type": "AWS::SageMaker::Pipeline", "Properties": second}}
    body = {"Fn::Join": ["", [before, {"Fn::GetAtt": ["Role", "Arn"]}, after]]}
    variant = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    resources = {
        "Pipeline": {
            "Type": "AWS::SageMaker::Pipeline",
            "Properties": {"PipelineDefinition": {"PipelineDefinitionBody": body}},
        },
        **more_pipelines,
        "Config": {"Type": "AWS::SageMaker::EndpointConfig", "Properties": {"ProductionVariants": [variant]}},
        "Scaling": {"Type": "AWS::ApplicationAutoScaling::ScalableTarget", "Properties": {"MaxCapacity": 3}},
        # AWS makes two alarms for the first one, and none for the second, which an alarm of the template starts.
        **{
            name: {"Type": "AWS::ApplicationAutoScaling::ScalingPolicy", "Properties": {"PolicyType": kind}}
            for name, kind in (("Tracking", "TargetTrackingScaling"), ("Steps", "StepScaling"))
        },
        "Latency": {"Type": "AWS::CloudWatch::Alarm", "Condition": "On", "Properties": {}},
        "Drift": {
            "Type": "AWS::CloudWatch::Alarm",
            "Properties": {"Namespace": "Binventory/Monitoring", "MetricName": "Drift"},
        },
        "Board": {"Type": "AWS::CloudWatch::Dashboard", "Properties": {"DashboardBody": DASHBOARD}},
        "Registry": {
            "Type": "AWS::EC2::VPCEndpoint",
            "Properties": {"VpcEndpointType": "Interface", "SubnetIds": [{"Ref": "A"}, {"Ref": "B"}]},
        },
        "Store": {"Type": "AWS::EC2::VPCEndpoint", "Properties": {"VpcEndpointType": "Gateway"}},
        "Nat": {"Type": "AWS::EC2::NatGateway", "Properties": {}},
        "Data": {
            "Type": "AWS::S3::Bucket",
            "Properties": {
                "LifecycleConfiguration": {
                    "Rules": [
                        {"ExpirationInDays": 3, "Prefix": "batch/", "Status": "Enabled"},
                        {"ExpirationInDays": 21, "Prefix": "executions/", "Status": "Enabled"},
                    ]
                }
            },
        },
        "Key": {"Type": "AWS::KMS::Key", "Properties": {}},
    }
    folder.mkdir()
    parameters = {"EndpointState": {"Type": "String", "Default": values["state"]}}
    outputs = {"BatchInstanceType": {"Value": "ml.c5.xlarge"}, "BatchInstanceCount": {"Value": "3"}}
    template = {"Parameters": parameters, "Resources": resources, "Outputs": outputs}
    (folder / "All.template.json").write_text(json.dumps(template))
    stack = {
        "type": "aws:cloudformation:stack",
        "environment": f"aws://unknown-account/{values['region']}",
        "properties": {
            "templateFile": "All.template.json",
            "stackName": "acme-bins-dev-all",
            "tags": {"environment": "dev"},
        },
    }
    (folder / "manifest.json").write_text(json.dumps({"artifacts": {"All": stack, "Tree": {"type": "cdk:tree"}}}))
    return folder
