"""What each hop costs: ours behind Envoy beside a bare echo behind the same Envoy."""
