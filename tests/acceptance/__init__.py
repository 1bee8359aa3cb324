"""A package, so that the fleet which its tests share ends with them, and not with the run."""
