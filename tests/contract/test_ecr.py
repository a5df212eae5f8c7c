"""Images in the local registry answer as the CDK CLI relies on: it builds an image only when this call fails."""

from __future__ import annotations

import pytest

from tests.contract.conftest import ClientFactory


def test_describing_a_missing_image_fails_and_a_pushed_one_is_found(client: ClientFactory) -> None:
    ecr = client("ecr")
    ecr.create_repository(repositoryName="photos")
    assert ecr.describe_images(repositoryName="photos")["imageDetails"] == []
    wanted = [{"imageTag": "first"}]
    with pytest.raises(ecr.exceptions.ImageNotFoundException, match="first"):
        ecr.describe_images(repositoryName="photos", imageIds=wanted)
    ecr.put_image(repositoryName="photos", imageManifest="{}", imageTag="first")
    assert [
        image["imageTags"] for image in ecr.describe_images(repositoryName="photos", imageIds=wanted)["imageDetails"]
    ]
    with pytest.raises(ecr.exceptions.RepositoryNotFoundException):
        ecr.describe_images(repositoryName="absent", imageIds=wanted)
