"""Container images without a container engine: how they are built, kept, resolved and run."""
