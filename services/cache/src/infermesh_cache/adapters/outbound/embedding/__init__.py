"""Models that turn texts into vectors. Their libraries are imported when a model is loaded, not
before: a mesh without a semantic tier must not grow by them."""
