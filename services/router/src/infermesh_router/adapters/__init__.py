"""The edges: protobuf and HTTP on the way in, other services and providers on the way out."""
