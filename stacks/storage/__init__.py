"""The storage stack: buckets."""
