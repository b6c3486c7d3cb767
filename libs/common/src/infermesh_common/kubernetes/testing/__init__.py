"""An API server for tests, which fails as it is told to."""
