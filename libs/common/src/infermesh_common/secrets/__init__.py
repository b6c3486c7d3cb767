"""Secrets that resources refer to: from files, Kubernetes Secrets and Vault.

`Secrets` in `facade` is what code reads from. The client libraries of Kubernetes and Vault take
long to import: only functions import them, and only where a secret is to be had there.
"""
