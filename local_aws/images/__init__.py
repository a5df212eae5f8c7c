"""Container images without a container engine: built, stored, found and run."""
