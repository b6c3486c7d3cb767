"""Which HTTP client the router calls providers with: the candidates, measured alike."""
