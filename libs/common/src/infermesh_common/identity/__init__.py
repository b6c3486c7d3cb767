"""Who calls: verified in-process against the snapshot that governance pushes."""
