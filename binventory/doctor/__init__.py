"""Checks what a deploy or a training needs, and names what is missing."""
