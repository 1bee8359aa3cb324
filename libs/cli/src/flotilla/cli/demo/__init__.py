"""`make demo`: a fleet on this machine, a folder of documents through it, and what ran where."""
