"""What the scripts of all jobs share: the container, flags, archives, tensors on disk, fingerprints."""
