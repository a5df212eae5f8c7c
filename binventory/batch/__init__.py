"""Whole prefixes of photos through Batch Transform: no endpoint, no photo on this computer."""
