"""What a rehearsal takes where nothing else is chosen; without imports, because the help of the command shows it."""

DEFAULT_PHOTOS = 1000
"""Rendered photos from which a head learns to count about four test photos of five."""
DEFAULT_BACKBONE = "efficientnet_lite0"
DEFAULT_WEIGHTS = "packaged"
"""ImageNet weights that were installed with the project: a rehearsal downloads nothing, and still counts."""
