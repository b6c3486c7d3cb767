"""The embedding models beside each other."""
