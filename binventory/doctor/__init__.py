"""What a deploy or a training needs, and what is missing."""
