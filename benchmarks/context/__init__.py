"""Whether turns that lean on their history are kept apart."""
