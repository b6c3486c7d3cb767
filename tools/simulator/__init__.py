"""A provider of models that answers, fails and counts as a script says."""
