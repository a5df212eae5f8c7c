"""What a training needs on a machine of its own: what the machine is told, its exchange with S3, its steps."""
