"""What the mesh saves at what quality: recorded prompts and outcomes replayed through it."""
