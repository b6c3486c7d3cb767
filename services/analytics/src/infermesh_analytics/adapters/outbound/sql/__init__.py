"""The ledger in SQL: one code for SQLite and PostgreSQL."""
