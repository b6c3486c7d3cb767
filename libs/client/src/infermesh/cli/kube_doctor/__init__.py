"""`infermesh doctor --kube`: what is wrong with a mesh in a cluster. Reads, and changes nothing."""
