"""What a lookup in the cache's tiers costs, by how much is stored."""
