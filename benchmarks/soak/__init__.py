"""Half an hour of load and faults, after which every request and every cent is accounted for."""
