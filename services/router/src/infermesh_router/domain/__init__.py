"""Pure decisions: no I/O, no protobuf."""
