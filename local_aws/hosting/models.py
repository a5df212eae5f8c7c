"""Models and endpoint configurations: what an endpoint runs."""

from __future__ import annotations

from local_aws.core import tags
from local_aws.core.context import Context
from local_aws.core.disks import refuse_volume_key
from local_aws.core.errors import not_local, validation
from local_aws.core.existence import require_model_data, require_network
from local_aws.core.listing import list_page
from local_aws.core.protocol import Document
from local_aws.core.wire import describe, summarise
from local_aws.hosting.model_registry import package_of
from local_aws.images.cache import check_manifest, image_by_digest, require_image

MODELS = "Model"
CONFIGS = "EndpointConfig"
_SERVERLESS_SECONDS = 180  # until the first healthy ping


def create_model(context: Context, request: Document) -> Document:
    """Create a model: a container and its artefact, or a model package."""
    name = request["ModelName"]
    containers = _containers(request)
    if len(containers) > 1:
        raise not_local("A model of several containers does not run locally", "give PrimaryContainer")
    if role := request.get("ExecutionRoleArn"):
        context.require_trust(role)
    require_network(context, request)
    for container in containers:
        _check_container(context, container)
    arn = context.arn("model", name)
    model = {key: value for key, value in request.items() if key != "Tags"}
    model |= {"ModelArn": arn, "CreationTime": context.now()}
    if not tags.store_new(context, MODELS, name, model, arn, request.get("Tags")):
        raise validation(f"Cannot create already existing model {arn}")
    return {"ModelArn": arn}


def describe_model(context: Context, request: Document) -> Document:
    """A model by name."""
    return describe("DescribeModel", model_of(context, request["ModelName"]))


def list_models(context: Context, request: Document) -> Document:
    """All models."""
    page = list_page(context.table(MODELS).all(), request, name="ModelName")
    return page.reply("Models", summarise("ListModels", "Models", page.documents))


def delete_model(context: Context, request: Document) -> Document:
    """Delete a model; endpoints that run it keep running."""
    model = model_of(context, request["ModelName"])
    tags.delete(context, MODELS, model["ModelName"], model["ModelArn"])
    return {}


def create_endpoint_config(context: Context, request: Document) -> Document:
    """Create a configuration: the models of an endpoint, their instance counts and shares of the requests."""
    name = request["EndpointConfigName"]
    variants = request["ProductionVariants"]
    names = [variant["VariantName"] for variant in variants]
    if len(set(names)) != len(names):
        raise validation(f"Production variant names must be unique, got {', '.join(names)}")
    for variant in variants:
        _check_variant(context, variant)
    refuse_volume_key(request.get("KmsKeyId"), (variant.get("InstanceType") for variant in variants), "KmsKeyId")
    _check_async(request)
    _check_serverless(context, request)
    arn = context.arn("endpoint-config", name)
    config = {key: value for key, value in request.items() if key != "Tags"}
    config["ProductionVariants"] = [{"InitialVariantWeight": 1.0} | variant for variant in variants]
    config |= {"EndpointConfigArn": arn, "CreationTime": context.now()}
    if not tags.store_new(context, CONFIGS, name, config, arn, request.get("Tags")):
        raise validation(f"Cannot create already existing endpoint configuration {arn}")
    return {"EndpointConfigArn": arn}


def describe_endpoint_config(context: Context, request: Document) -> Document:
    """An endpoint configuration by name."""
    return describe("DescribeEndpointConfig", config_of(context, request["EndpointConfigName"]))


def list_endpoint_configs(context: Context, request: Document) -> Document:
    """All endpoint configurations."""
    page = list_page(context.table(CONFIGS).all(), request, name="EndpointConfigName")
    return page.reply("EndpointConfigs", summarise("ListEndpointConfigs", "EndpointConfigs", page.documents))


def delete_endpoint_config(context: Context, request: Document) -> Document:
    """Delete an endpoint configuration; endpoints that run it keep running."""
    config = config_of(context, request["EndpointConfigName"])
    tags.delete(context, CONFIGS, config["EndpointConfigName"], config["EndpointConfigArn"])
    return {}


def model_of(context: Context, name: str) -> Document:
    """A stored model; raises SageMaker's ValidationException when there is none."""
    model = context.table(MODELS).get(name)
    if model is None:
        raise validation(f'Could not find model "{context.arn("model", name)}".')
    return model


def config_of(context: Context, name: str) -> Document:
    """A stored endpoint configuration; raises SageMaker's ValidationException when there is none."""
    config = context.table(CONFIGS).get(name)
    if config is None:
        raise validation(f'Could not find endpoint configuration "{context.arn("endpoint-config", name)}".')
    return config


def plan_of(context: Context, config_name: str) -> Document:
    """All that an endpoint needs of a configuration, resolved now, so that a later deletion does not matter."""
    config = config_of(context, config_name)
    variants = []
    for variant in config["ProductionVariants"]:
        model = model_of(context, variant["ModelName"])
        container, package = container_of(context, model)
        _refuse_instance_type(context, package, variant.get("InstanceType"))
        variants.append(
            {
                "VariantName": variant["VariantName"],
                "Container": container,
                "ResolvedImage": image_by_digest(context, container["Image"]),
                "ModelPackage": package,
                "Role": model.get("ExecutionRoleArn"),
                "Count": variant.get("InitialInstanceCount", 1),
                "Weight": variant["InitialVariantWeight"],
                "StartupSeconds": _startup_seconds(variant),
                "ServerlessConfig": variant.get("ServerlessConfig"),
            }
        )
    plan = {"EndpointConfigName": config_name, "Variants": variants}
    if config.get("AsyncInferenceConfig"):
        plan["Async"] = config["AsyncInferenceConfig"]
    if _captures(config):
        plan["Capture"] = config["DataCaptureConfig"]
    return plan


def container_of(context: Context, model: Document) -> tuple[Document, str | None]:
    """A stored model's container, completed from its model package, and the ARN of that package, if it has one."""
    return _resolve(context, _containers(model)[0])


def _startup_seconds(variant: Document) -> int:
    seconds = int(variant.get("ContainerStartupHealthCheckTimeoutInSeconds", 480))
    return min(seconds, _SERVERLESS_SECONDS) if variant.get("ServerlessConfig") else seconds


def _refuse_instance_type(context: Context, package: str | None, instance_type: str | None) -> None:
    """A package that lists instance types runs on these only."""
    if package is None or instance_type is None:
        return
    specification = package_of(context, package).get("InferenceSpecification", {})
    supported = specification.get("SupportedRealtimeInferenceInstanceTypes")
    if supported and instance_type not in supported:
        raise validation(
            f"Instance type {instance_type} is not supported by model package {package}: {', '.join(supported)}"
        )


def _containers(model: Document) -> list[Document]:
    primary, several = model.get("PrimaryContainer"), model.get("Containers")
    if bool(primary) == bool(several):
        raise validation("Give exactly one of PrimaryContainer and Containers")
    return [primary] if primary else list(several or [])


def _check_container(context: Context, container: Document) -> None:
    package_name = container.get("ModelPackageName")
    if not package_name:
        if not container.get("Image"):
            raise validation("A container needs an Image, or a ModelPackageName that has one")
        check_manifest(context, container["Image"])
        require_image(context, container["Image"])
        require_model_data(context, container)
        return
    package = package_of(context, package_name)
    approval = package.get("ModelApprovalStatus", "Approved")
    if len(package.get("InferenceSpecification", {}).get("Containers", [])) != 1:
        raise not_local(
            f"Model package {package['ModelPackageArn']} does not run locally", "give a package of one container"
        )
    own = sorted({"Image", "ModelDataSource", "ModelDataUrl"} & container.keys())
    if own:
        raise validation(f"A container with a ModelPackageName has the package's: leave out {', '.join(own)}")
    if approval != "Approved":
        raise validation(f"Model package {package['ModelPackageArn']} is {approval}; approve it before it is deployed")


def _check_variant(context: Context, variant: Document) -> None:
    name = variant["VariantName"]
    if not variant.get("ModelName"):
        raise not_local(f"Production variant {name}: inference components do not run locally", "give a ModelName")
    model_of(context, variant["ModelName"])
    if variant.get("ServerlessConfig"):
        if variant.get("InstanceType") or variant.get("InitialInstanceCount"):
            raise validation(
                f"Production variant {name} is serverless: it takes no InstanceType or InitialInstanceCount"
            )
    elif not (variant.get("InstanceType") and variant.get("InitialInstanceCount")):
        raise validation(f"Production variant {name} needs InstanceType and InitialInstanceCount, or ServerlessConfig")


def _check_async(request: Document) -> None:
    asynchronous = request.get("AsyncInferenceConfig")
    if not asynchronous:
        return
    if not asynchronous["OutputConfig"].get("S3OutputPath"):
        raise validation("AsyncInferenceConfig.OutputConfig needs an S3OutputPath")
    if any(variant.get("ServerlessConfig") for variant in request["ProductionVariants"]):
        raise validation("An endpoint cannot be both serverless and asynchronous")
    if _captures(request):
        raise validation("Data capture is not supported for asynchronous endpoints")


def _check_serverless(context: Context, request: Document) -> None:
    """Refuse what SageMaker excludes for serverless endpoints."""
    variants = request["ProductionVariants"]
    if not any(variant.get("ServerlessConfig") for variant in variants):
        return
    if len(variants) > 1:
        raise validation(f"A serverless endpoint has one production variant, got {len(variants)}")
    if _captures(request):
        raise validation("Data capture is not supported for serverless endpoints")
    for owner in (request, model_of(context, variants[0]["ModelName"])):
        for member in ("VpcConfig", "EnableNetworkIsolation"):
            if owner.get(member):
                what = owner.get("ModelName", "the configuration")
                raise validation(f"{member} of {what} is not supported for serverless endpoints: leave it out")


def _captures(config: Document) -> bool:
    """Whether a configuration captures data: AWS's default is that it does, if it says how."""
    return bool(config.get("DataCaptureConfig", {"EnableCapture": False}).get("EnableCapture", True))


def _resolve(context: Context, container: Document) -> tuple[Document, str | None]:
    if not container.get("ModelPackageName"):
        return container, None
    package = package_of(context, container["ModelPackageName"])
    packaged = package["InferenceSpecification"]["Containers"][0]
    environment = packaged.get("Environment", {}) | container.get("Environment", {})
    return packaged | {"Environment": environment}, package["ModelPackageArn"]
