"""What connects the ledger to the world."""
