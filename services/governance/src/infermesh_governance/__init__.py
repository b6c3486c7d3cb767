"""Owns API keys and tenants and tells every service who may call."""
