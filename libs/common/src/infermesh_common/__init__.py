"""What every InferMesh service is made of."""

__version__ = "0.1.0"
