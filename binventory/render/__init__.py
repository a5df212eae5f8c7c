"""Rendered bin photos: they replace the public bucket where there are no real photos."""

from binventory.render.bucket import Bucket, render_bucket
from binventory.render.picture import render_bin

__all__ = ["Bucket", "render_bin", "render_bucket"]
