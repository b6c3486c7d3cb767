"""Builds the container images of the mesh: `python -m tools.images`."""
