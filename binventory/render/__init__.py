"""Rendered bin photos: a stand-in for the public bucket where no real photos are at hand."""

from binventory.render.bucket import Bucket, render_bucket
from binventory.render.picture import render_bin

__all__ = ["Bucket", "render_bin", "render_bucket"]
