"""What the soak sends: good requests, hostile ones, and those that are no HTTP."""
