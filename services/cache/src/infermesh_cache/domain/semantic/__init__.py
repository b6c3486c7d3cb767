"""Whether an answer given to a similar question may be given again, and how sure that is."""
