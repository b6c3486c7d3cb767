"""Resources: what operators declare, as YAML now and as custom resources in a cluster."""
