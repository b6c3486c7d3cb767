"""A service that is nothing but the kit: for tests of settings and of a whole process."""
