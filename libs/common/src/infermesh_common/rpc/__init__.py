"""Servers and clients on grpc.aio."""
