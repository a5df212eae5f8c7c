"""The SageMaker pipeline's definition, one file a step. The API names in it are checked against botocore in tests."""
