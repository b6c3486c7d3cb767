"""What an application and an operator do with the mesh."""
