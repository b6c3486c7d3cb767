"""Pure decisions about keys and tenants: no input or output."""
