"""gRPC servicers and wire formats."""
