"""Pure decisions of the ledger: what an event is, what a query asks, what is exact."""
