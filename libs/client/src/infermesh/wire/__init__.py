"""Between the SDK's types and gRPC: channels, requests, responses, errors."""
