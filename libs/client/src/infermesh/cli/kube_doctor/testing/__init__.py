"""Stand-ins for tests of the doctor."""
