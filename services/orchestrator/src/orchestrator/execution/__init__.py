"""One task, from the first attempt to its result."""
