"""Providers: one HTTP endpoint a Provider resource, and one dialect a protocol."""
