"""Benchmarks: one package a gate, run by `make bench-<name>`."""
