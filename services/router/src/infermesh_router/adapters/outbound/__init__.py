"""Other services and providers."""
