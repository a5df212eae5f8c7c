"""From shards to batches of pixels: augmentation, decoding ahead of the reader, the source of a full training."""
