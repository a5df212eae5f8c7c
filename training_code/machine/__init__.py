"""What a training needs on an EC2 machine: its plan and steps, files in S3, and the notice that spot takes it back."""
